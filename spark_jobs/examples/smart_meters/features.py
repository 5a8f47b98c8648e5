"""London's smart meters: what a home used over the last days, months and year.

Names and formulas of the fifteen ``energy_*`` features are those of the original system; its
windows had fixed dates and looked into the future, these slide and never do.
"""

from twinlake import (
    Aggregate,
    Clock,
    Column,
    Derived,
    Entity,
    Expectation,
    FeatureService,
    FeatureView,
    Files,
    Model,
    Source,
)

# The readings ended in February 2014; reads answer as of then.
clock = Clock("data")

household = Entity("household", join_keys={"household_id": "string"})

daily_energy = Source(
    "daily_energy",
    schema=(
        "household_id string, day date, energy_median double, energy_mean double, "
        "energy_max double, energy_count int, energy_std double, energy_sum double, "
        "energy_min double"
    ),
    # A row stands for a day, so it happened when the day was over.
    with_columns={"day_end": Derived("timestamp", "date_add(day, 1)")},
    event_timestamp="day_end",
    event_id=("household_id", "day"),
    known="event",
    batch=Files(
        "../../../bootstrap/data/smart_meters/daily_energy.parquet",
        also_named={"household_id": "LCLid"},  # as in the CSV files of the original
    ),
    expectations=[
        Expectation("expect_column_values_to_not_be_null", column="energy_sum"),
        # 48 half hours make a day; with fewer than 40 of them its sums say little.
        Expectation(
            "expect_column_values_to_be_between", column="energy_count", min_value=40, max_value=48
        ),
        Expectation("expect_column_values_to_be_between", column="energy_sum", min_value=0),
        Expectation(
            "expect_column_pair_values_a_to_be_greater_than_b",
            column_A="energy_max",
            column_B="energy_min",
            or_equal=True,
        ),
        # On the batch: in watt-hours instead of kWh, or with most days cut short, it must not land.
        Expectation(
            "expect_column_mean_to_be_between", column="energy_sum", min_value=0.5, max_value=100
        ),
        Expectation(
            "expect_column_values_to_be_between", column="energy_count", min_value=40, mostly=0.5
        ),
    ],
    description="One row per home and day: statistics of its half-hourly readings, in kWh.",
)


def last_months(name: str) -> dict[str, str]:
    """Name one feature per window of the original: 3 months, 6 months, 1 year."""
    return {f"{name}_3months": "91d", f"{name}_6months": "182d", f"{name}_1yr": "365d"}


household_energy = FeatureView(
    "household_energy",
    entity=household,
    source=daily_energy,
    ttl="400d",
    hop="1d",
    features=[
        Aggregate("sum", "energy_sum", windows=last_months("energy_sum")),
        Aggregate("sum", "energy_count", windows=last_months("energy_count")),
        Aggregate("max", "energy_max", windows=last_months("energy_max")),
        Aggregate("mean", "energy_mean", windows=last_months("energy_mean")),
        Aggregate("stddev", "energy_sum", windows=last_months("energy_stddev")),
    ],
    description="The fifteen features of the original system.",
)

household_recent = FeatureView(
    "household_recent",
    entity=household,
    source=daily_energy,
    ttl="60d",
    hop="1d",
    features=[
        Column("energy_sum"),
        Column("energy_max"),
        Column("energy_min"),
        Column("energy_std"),
        Aggregate("mean", "energy_sum", windows={"energy_mean_7d": "7d", "energy_mean_28d": "28d"}),
        # The first day of a window is the day that far back: yesterday, and the weekday to come.
        Aggregate(
            "first",
            "energy_sum",
            windows={"energy_first_2d": "2d", "energy_first_7d": "7d", "energy_first_14d": "14d"},
        ),
    ],
    description="The last days of a home.",
)

energy_forecast = FeatureService(
    "energy_forecast",
    features=[household_energy, household_recent],
    description="What the forecast of a home's next day is made from.",
)

next_day_energy = Model(
    "next_day_energy",
    service=energy_forecast,
    label="energy_sum_next_day",
    spine_features=["weekday"],
    baselines={"yesterday": "energy_sum", "mean_7d": "energy_mean_7d"},
    parameters={"eta": 0.1, "max_depth": 8, "min_child_weight": 50},
    rounds=100,
    description="Forecasts a home's energy_sum of the next day, in kWh.",
)
