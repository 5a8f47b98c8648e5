"""What the features of smart_meters say of a home: windows of whole days, and when they expire."""

from __future__ import annotations

import datetime as dt
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from twinlake.errors import InputError
from twinlake.testing.feature_test import FeatureTest

EXAMPLE = Path(__file__).parents[3] / "spark_jobs" / "examples" / "smart_meters"
HOME = "MAC000002"


@pytest.fixture
def feature_test() -> FeatureTest:
    return FeatureTest(EXAMPLE)


def days(first: str, *energy: float | None, **cells: Any) -> list[dict[str, Any]]:
    """Days one after another, each with its energy; a day is known when it is over."""
    start = dt.date.fromisoformat(first)
    return [
        {
            "household_id": HOME,
            "day": start + dt.timedelta(number),
            "day_end": str(start + dt.timedelta(number + 1)),
            "energy_sum": kwh,
            "energy_count": 48,
            **cells,
        }
        for number, kwh in enumerate(energy)
    ]


def test_the_last_days_of_a_home(feature_test: FeatureTest) -> None:
    home = feature_test("household_recent", days("2014-01-01", *map(float, range(1, 15))))
    # The 14th is over at midnight, and known then.
    home.at("2014-01-14 23:59", household_id=HOME).equals(energy_sum=13)
    midnight = home.at("2014-01-15", household_id=HOME)
    midnight.equals(
        energy_sum=14,
        energy_first_2d=13,
        energy_first_7d=8,
        energy_first_14d=1,
        energy_mean_7d=11,
        energy_mean_28d=7.5,
        energy_max=None,
    ).has_status(energy_max="null")
    # A hop of a day: until the next midnight a window holds the day that leaves it then.
    home.at("2014-01-15 23:59", household_id=HOME).equals(energy_first_2d=13, energy_mean_7d=11)
    home.at("2014-01-16", household_id=HOME).equals(energy_first_2d=14, energy_mean_7d=11.5)


def test_windows_of_months_let_days_go(feature_test: FeatureTest) -> None:
    home = feature_test("household_energy", days("2013-01-01", 1.0, 2.0, 4.0))
    home.at("2013-01-04", household_id=HOME).equals(
        energy_sum_3months=7,
        energy_count_1yr=144,
        energy_stddev_3months=sqrt(7 / 3),
    )
    # 91 days after its end the first day is no longer in the window, nor are the others later.
    home.at("2013-04-02 23:00", household_id=HOME).equals(energy_sum_3months=7)
    home.at("2013-04-03", household_id=HOME).equals(energy_sum_3months=6, energy_sum_6months=7)
    home.at("2013-04-05", household_id=HOME).equals(
        energy_sum_3months=None, energy_count_3months=None, energy_sum_1yr=7
    )


def test_a_home_that_fell_silent_expires(feature_test: FeatureTest) -> None:
    recent = feature_test("household_recent", days("2013-01-01", 1.0))
    recent.at("2013-03-03", household_id=HOME).equals(energy_sum=1, energy_mean_28d=None)
    recent.at("2013-03-03 00:00:01", household_id=HOME).has_status(energy_sum="expired")
    whole = feature_test("energy_forecast", days("2013-01-01", 1.0))
    whole.at("2013-03-04", household_id=HOME).has_status(
        energy_sum="expired", energy_sum_3months="present"
    )


def test_days_of_few_readings_are_quarantined(feature_test: FeatureTest) -> None:
    rows = [
        *days("2013-01-01", 1.0),
        *days("2013-01-02", 9.0, energy_count=39),
        *days("2013-01-03", None),
        *days("2013-01-04", 3.0, energy_max=0.1, energy_min=0.2),
    ]
    home = feature_test("household_energy", rows)
    assert home.verdicts == ["accepted", *["quarantined"] * 3]
    home.at("2013-01-05", household_id=HOME).equals(energy_sum_3months=1, energy_count_3months=48)


def test_the_end_of_a_day_is_given_with_it(feature_test: FeatureTest) -> None:
    with pytest.raises(InputError, match=r"row 1 has no day_end, .* date_add\(day, 1\)"):
        feature_test("household_energy", [{"household_id": HOME, "day": "2013-01-01"}])
