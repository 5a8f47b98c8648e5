"""A small project: daily readings of some meters, a view with a filter and a derived column."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from tests.spark.benches import Bench, Cells
from tests.spark.oracle import Event, Feature, View, values
from twinlake.definitions.times import DAY_US, to_us

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("meter", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("n", pa.int32()),
        ("kwh", pa.float64()),
    ]
)
DEFINITIONS = """
meter = Entity("meter", join_keys={"meter": "string"})
daily = Source(
    "daily", schema="id bigint, meter string, at timestamp, n int, kwh double",
    event_timestamp="at", event_id="id", batch=Files("in"),
    with_columns={"wh": Derived("double", "kwh * 1000")}, where="n >= 0",
)
usage = FeatureView(
    "usage", entity=meter, source=daily, hop="1d", ttl="20d",
    features=[
        Column("kwh"),
        Aggregate("sum", "wh", windows={"wh_3d": "3d"}),
        Aggregate("count", windows={"days_5d": "5d"}),
    ],
)
"""
SERVICE = 'forecast = FeatureService("forecast", features=[usage])\n'
VIEW = View(
    [
        Feature("kwh", "kwh"),
        Feature("wh_3d", "wh", "sum", 3 * DAY_US),
        Feature("days_5d", None, "count", 5 * DAY_US),
    ],
    hop_us=DAY_US,
    ttl_us=20 * DAY_US,
)
START = dt.datetime(2014, 2, 1, tzinfo=dt.UTC)


def day(number: float) -> dt.datetime:
    return START + dt.timedelta(days=number)


def day_us(number: float) -> int:
    return to_us(day(number))


def rows_of(days: Iterable[int], meters: int = 8, seed: int = 1) -> list[Cells]:
    """One reading per meter and day, some of which the view's source filters out."""
    draw = random.Random(seed)
    return [
        {
            "id": 1_000 * number + meter,
            "meter": f"m{meter}",
            "at": day(number + draw.random()),
            "n": draw.choice([-1, 0, 5, 48]) if meter else 48,
            "kwh": draw.choice([None, draw.uniform(0, 30), 0.1]),
        }
        for number in days
        for meter in range(meters)
    ]


def oracle_rows(rows: Sequence[Cells], view: View = VIEW) -> set[tuple[Any, ...]]:
    """The feature rows that a batch of rows comes to; times differ, so nothing ties."""
    events = [
        Event(
            (row["meter"],),
            to_us(row["at"]),
            to_us(row["at"]),
            (0, 0),
            {"kwh": row["kwh"], "wh": None if row["kwh"] is None else row["kwh"] * 1000},
        )
        for row in rows
        if row["n"] >= 0
    ]
    return {
        (
            event.key[0],
            event.event_us,
            *values([e for e in events if e.key == event.key], event.event_us, MAX, view),
        )
        for event in events
    }


MAX = 2**62


def stored_rows(bench: Bench, view: str = "usage") -> set[tuple[Any, ...]]:
    found = bench.feature_rows(view)
    names = ["meter", "event_timestamp", *(feature.name for feature in VIEW.features)]
    cells = {tuple(row[name] for name in names) for row in found}
    assert len(cells) == len(found)
    return cells
