"""What loan_approval says of an applicant: a debt, an old report, an unknown area."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinlake.testing.feature_test import FeatureTest

EXAMPLE = Path(__file__).parents[3] / "spark_jobs" / "examples" / "loan_approval"
WHO, WHERE = "19630621_4278", 76104
REPORTS = """
dob_ssn        credit_card_due  mortgage_due  student_loan_due  vehicle_loan_due  event_timestamp   created_timestamp
19630621_4278  3000             200000        1000              500               2020-01-01 00:00  2020-01-01 00:00
19630621_4278  3500             190000        -                 400               2021-01-01 00:00  2021-02-01 00:00
19450101_6358  1                2             3                 4                 2021-01-01 00:00  2021-01-01 00:00
"""  # noqa: E501 (a table)
AREAS = """
zipcode  city        state  population  event_timestamp   created_timestamp
76104    FORT WORTH  TX     10534       2017-01-01 12:00  2017-01-01 12:00
"""


@pytest.fixture
def feature_test() -> FeatureTest:
    return FeatureTest(EXAMPLE)


def test_a_loan_adds_to_what_is_due(feature_test: FeatureTest) -> None:
    applicant = feature_test("total_debt_calc", REPORTS)
    applicant.at("2020-06-01", dob_ssn=WHO, loan_amnt=35_000).equals(total_debt_due=239_500.0)
    # The newer report does not say what is due for studies, so nobody knows the whole.
    applicant.at("2021-03-01", dob_ssn=WHO, loan_amnt=35_000).equals(total_debt_due=None)


def test_a_report_counts_from_when_it_was_known(feature_test: FeatureTest) -> None:
    applicant = feature_test("credit_history", REPORTS)
    applicant.at("2021-01-15", dob_ssn=WHO).equals(credit_card_due=3000)
    applicant.at("2021-02-01", dob_ssn=WHO).equals(credit_card_due=3500, student_loan_due=None)
    applicant.at("2021-02-01", dob_ssn="19990101_0001").has_status(credit_card_due="missing")


def test_what_is_older_than_ninety_days_says_so(feature_test: FeatureTest) -> None:
    applicant = feature_test("credit_history_90d", REPORTS)
    applicant.at("2020-03-31", dob_ssn=WHO).has_status(credit_card_due="present")
    applicant.at("2020-04-01", dob_ssn=WHO).has_status(credit_card_due="expired")


def test_an_area_keeps_its_own_words(feature_test: FeatureTest) -> None:
    area = feature_test("zipcode_features", AREAS)
    area.at("2021-08-26", zipcode=WHERE).equals(city="FORT WORTH", state="TX", population=10_534)
    area.at("2026-12-31", zipcode=WHERE).has_status(state="expired")
