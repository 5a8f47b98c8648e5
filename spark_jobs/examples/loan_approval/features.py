"""Loan approval: what is known of an applicant and of where they live, when they ask for a loan.

Entities, views and features carry the names of the original system. Its training set was joined
without a held-out part, its windows of loading depended on the time to live, and an applicant whom
nobody knew was judged like any other; here every value says why it is what it is.
"""

from typing import Any

from twinlake import (
    Clock,
    Column,
    Entity,
    Expectation,
    FeatureService,
    FeatureView,
    Files,
    Model,
    Request,
    Source,
    on_demand,
)

DATA = "../../../bootstrap/data/loan_approval"

# The newest loan is of 25 August 2021; reads answer as of the day after.
clock = Clock("2021-08-26")

zipcode = Entity("zipcode", join_keys={"zipcode": "bigint"}, description="A postal area.")

dob_ssn = Entity(
    "dob_ssn",
    join_keys={"dob_ssn": "string"},
    description="An applicant: date of birth and the last digits of a number, 19630621_4278.",
)

zipcodes = Source(
    "zipcodes",
    schema=(
        "zipcode bigint, city string, state string, location_type string, "
        "tax_returns_filed bigint, population bigint, total_wages bigint, "
        "event_timestamp timestamp, created_timestamp timestamp"
    ),
    event_timestamp="event_timestamp",
    event_id=("zipcode", "event_timestamp"),
    known="created_timestamp",
    batch=Files(f"{DATA}/zipcode_features.parquet"),
    expectations=[
        Expectation("expect_column_values_to_not_be_null", column="zipcode"),
        Expectation(
            "expect_column_values_to_be_between", column="zipcode", min_value=1, max_value=99_999
        ),
        Expectation("expect_column_values_to_be_between", column="population", min_value=0),
    ],
    description="One row per postal area and survey.",
)

credit_reports = Source(
    "credit_reports",
    schema=(
        "dob_ssn string, credit_card_due bigint, mortgage_due bigint, student_loan_due bigint, "
        "vehicle_loan_due bigint, hard_pulls bigint, missed_payments_2y bigint, "
        "missed_payments_1y bigint, missed_payments_6m bigint, bankruptcies bigint, "
        "event_timestamp timestamp, created_timestamp timestamp"
    ),
    event_timestamp="event_timestamp",
    event_id=("dob_ssn", "event_timestamp"),
    known="created_timestamp",
    batch=Files(f"{DATA}/credit_history.parquet"),
    expectations=[
        Expectation("expect_column_values_to_not_be_null", column="dob_ssn"),
        Expectation(
            "expect_column_values_to_match_regex", column="dob_ssn", regex=r"^[0-9]{8}_[0-9]{4}$"
        ),
        Expectation("expect_column_values_to_be_between", column="credit_card_due", min_value=0),
        Expectation("expect_column_values_to_be_between", column="mortgage_due", min_value=0),
    ],
    description="One row per applicant and credit report; most of them tell a part only.",
)


def of_area(name: str, ttl: str) -> FeatureView:
    """Describe a postal area, for as long as a survey counts."""
    return FeatureView(
        name,
        entity=zipcode,
        source=zipcodes,
        ttl=ttl,
        features=[
            Column("city"),
            Column("state"),
            Column("location_type"),
            Column("tax_returns_filed"),
            Column("population"),
            Column("total_wages"),
        ],
        description=f"A postal area as surveyed at most {ttl} ago.",
    )


def of_applicant(name: str, ttl: str) -> FeatureView:
    """Describe an applicant's credit, for as long as a report counts."""
    return FeatureView(
        name,
        entity=dob_ssn,
        source=credit_reports,
        ttl=ttl,
        features=[
            Column("credit_card_due"),
            Column("mortgage_due"),
            Column("student_loan_due"),
            Column("vehicle_loan_due"),
            Column("hard_pulls"),
            Column("missed_payments_2y"),
            Column("missed_payments_1y"),
            Column("missed_payments_6m"),
            Column("bankruptcies"),
        ],
        description=f"An applicant's credit as reported at most {ttl} ago.",
    )


zipcode_features = of_area("zipcode_features", "3650d")
credit_history = of_applicant("credit_history", "3650d")
# Ninety days, as in the tutorials that the original came from: by 2021 all of it has expired, and
# says so instead of passing for nulls.
zipcode_features_90d = of_area("zipcode_features_90d", "90d")
credit_history_90d = of_applicant("credit_history_90d", "90d")


@on_demand(
    inputs=[
        credit_history.select(
            "credit_card_due", "mortgage_due", "student_loan_due", "vehicle_loan_due"
        ),
        Request(loan_amnt="bigint"),
    ],
    outputs={"total_debt_due": "double"},
    nulls="skip",  # a debt that nobody reported is not known to be zero, and neither is the sum
)
def total_debt_calc(f: dict[str, Any]) -> dict[str, Any]:
    """What the applicant would owe with this loan."""
    debts = f["credit_card_due"] + f["mortgage_due"] + f["student_loan_due"] + f["vehicle_loan_due"]
    return {"total_debt_due": debts + f["loan_amnt"]}


loan_features = FeatureService(
    "loan_features",
    features=[zipcode_features, credit_history, total_debt_calc],
    description="Everything that is known of an application.",
)

loan_features_90d = FeatureService(
    "loan_features_90d",
    features=[zipcode_features_90d, credit_history_90d],
    description="The same with a time to live that the data has long outlived.",
)

loan_approval = Model(
    "loan_approval",
    service=loan_features,
    label="loan_status",
    spine_features=[
        "person_age",
        "person_income",
        "person_home_ownership",
        "person_emp_length",
        "loan_intent",
        "loan_amnt",
        "loan_int_rate",
    ],
    parameters={"objective": "binary:logistic", "max_depth": 5, "eta": 0.1},
    rounds=200,
    threshold=0.5,
    decisions=("Loan approved!", "Loan rejected!"),
    description="Gives the probability that a loan is not paid back.",
)
