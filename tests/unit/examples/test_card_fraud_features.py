"""What the features of card_fraud say of a card: a burst, a quiet hour, a first purchase."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from twinlake.definitions.loading import load
from twinlake.testing.feature_test import FeatureTest

EXAMPLE = Path(__file__).parents[3] / "spark_jobs" / "examples" / "card_fraud"
CARD = 4_000_000_000_000_001


@pytest.fixture
def feature_test() -> FeatureTest:
    return FeatureTest(EXAMPLE)


def purchases(*bought: tuple[str, str], card: int = CARD) -> list[dict[str, Any]]:
    return [{"cc_num": card, "amount": amount, "trans_ts": at} for at, amount in bought]


def test_a_burst_counts_from_one_to_ten(feature_test: FeatureTest) -> None:
    moments = [f"2022-01-01 00:{minute:02}:30" for minute in range(10)]
    card = feature_test("card_activity", purchases(*((at, "12.50") for at in moments)))
    for number, at in enumerate(moments, 1):
        card.at(at, cc_num=CARD).equals(num_trans_last_10m=number, avg_amt_last_10m="12.50")
    # The window is (t - 10m, t]: a purchase has left it ten minutes later, to the second.
    card.at("2022-01-01 00:10:29", cc_num=CARD).equals(num_trans_last_10m=10)
    card.at("2022-01-01 00:10:30", cc_num=CARD).equals(num_trans_last_10m=9)


def test_a_quiet_card_counts_nothing_and_then_expires(feature_test: FeatureTest) -> None:
    card = feature_test("card_activity", purchases(("2022-01-01", "5.00")))
    quiet = card.at("2022-01-01 01:00", cc_num=CARD)
    quiet.equals(num_trans_last_10m=0, avg_amt_last_10m=None).has_status(avg_amt_last_10m="null")
    card.at("2022-01-09", cc_num=CARD).has_status(num_trans_last_10m="present")
    card.at("2022-01-09 00:00:01", cc_num=CARD).has_status(num_trans_last_10m="expired")
    card.at("2022-01-01", cc_num=CARD + 1).has_status(num_trans_last_10m="missing")
    card.at("2021-12-31", cc_num=CARD).has_status(num_trans_last_10m="missing")


def test_ratios_compare_ten_minutes_with_a_week(feature_test: FeatureTest) -> None:
    card = feature_test(
        "fraud_features",
        purchases(
            ("2022-01-01 12:00", "10.00"),
            ("2022-01-03 12:00", "20.00"),
            ("2022-01-05 11:55", "60.00"),
            ("2022-01-05 12:00", "30.00"),
        ),
    )
    card.at("2022-01-05 12:00", cc_num=CARD, amount=30).equals(
        num_trans_last_10m=2,
        avg_amt_last_10m=45,
        num_trans_last_1w=4,
        avg_amt_last_1w=30,
        transaction_amount=30,
        amt_ratio1=1.5,
        amt_ratio2=1,
        count_ratio=0.5,
    )


def test_without_ten_minutes_and_a_week_there_are_no_ratios(feature_test: FeatureTest) -> None:
    card = feature_test("fraud_vector", purchases(("2022-01-01 12:00", "10.00")))
    stranger = card.at("2022-01-01 12:00", cc_num=CARD + 1, amount=7)
    stranger.equals(transaction_amount=7, amt_ratio1=None).has_status(count_ratio="null")
    card.at("2022-01-01 12:10", cc_num=CARD, amount=5).equals(amt_ratio2=None)
    card.at("2022-01-01 12:09:59", cc_num=CARD, amount=5).equals(amt_ratio2=0.5)


def test_what_is_no_purchase_is_quarantined(feature_test: FeatureTest) -> None:
    card = feature_test(
        "card_activity",
        [
            *purchases(
                ("2022-01-01", "0.00"), ("2022-01-01", "-3.00"), ("2022-01-01", "1000000.01")
            ),
            *purchases(("2022-01-01", "1.00"), card=5_000_000_000_000_000),
            *purchases(("2022-01-01 00:01", "1000000.00")),
        ],
    )
    assert card.verdicts == [*["quarantined"] * 4, "accepted"]
    card.at("2022-01-01 00:05", cc_num=CARD).equals(num_trans_last_10m=1, avg_amt_last_10m=1e6)


def test_more_purchases_than_a_card_may_have_are_not_counted(feature_test: FeatureTest) -> None:
    history = load(EXAMPLE).views["card_history"]
    assert history.max_events_per_key == 10_000
    moments = [f"2022-01-01 00:0{minute}" for minute in range(4)]
    bought = purchases(*((at, "1.00") for at in moments))
    card = feature_test(replace(history, max_events_per_key=3), bought)
    card.at(moments[2], cc_num=CARD).equals(num_trans_last_1w=3, avg_amt_last_1w=1)
    card.at(moments[3], cc_num=CARD).has_status(
        num_trans_last_1w="overflow", avg_amt_last_1w="overflow"
    )
    # A week later only three of them are left.
    card.at("2022-01-08", cc_num=CARD).equals(num_trans_last_1w=3)
