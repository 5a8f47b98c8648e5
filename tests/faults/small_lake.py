"""A project small enough to be killed forty times: two views, two files, every kind of row.

The first file is plain history. The second brings new days, late rows that change what was
computed, repeated rows, and ids that come back with other bytes. Some 1,200 meters, because the
online store writes a thousand rows at a time and a kill must fall between two of them.
"""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.spark.oracle import Event, Feature, View, values
from twinlake.definitions.times import DAY_US, to_us

METERS = 1_200
START = dt.datetime(2014, 2, 1, tzinfo=dt.UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("meter", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("kwh", pa.float64()),
    ]
)
DEFINITIONS = """
from twinlake import Aggregate, Clock, Column, Entity, FeatureService, FeatureView, Files, Source

clock = Clock("data")
meter = Entity("meter", join_keys={"meter": "string"})
daily = Source(
    "daily", schema="id bigint, meter string, at timestamp, kwh double",
    event_timestamp="at", event_id="id", batch=Files("in"),
)
newest = FeatureView("newest", entity=meter, source=daily, ttl="30d", features=[Column("kwh")])
usage = FeatureView(
    "usage", entity=meter, source=daily, hop="1d", ttl="20d",
    features=[
        Aggregate("sum", "kwh", windows={"kwh_3d": "3d"}),
        Aggregate("count", windows={"days_5d": "5d"}),
    ],
)
forecast = FeatureService("forecast", features=[newest, usage])
"""
VIEWS = {
    "newest": View([Feature("kwh", "kwh")], ttl_us=30 * DAY_US),
    "usage": View(
        [
            Feature("kwh_3d", "kwh", "sum", 3 * DAY_US),
            Feature("days_5d", None, "count", 5 * DAY_US),
        ],
        hop_us=DAY_US,
        ttl_us=20 * DAY_US,
    ),
}
Cells = dict[str, Any]


def _reading(number: int, meter: int, draw: random.Random) -> Cells:
    return {
        "id": 10_000 * number + meter,
        "meter": f"m{meter:04}",
        "at": START + dt.timedelta(days=number + draw.random()),
        "kwh": draw.choice([None, draw.uniform(0, 30), 0.1]),
    }


def first_rows() -> list[Cells]:
    draw = random.Random(1)
    return [_reading(number, meter, draw) for number in (0, 1) for meter in range(METERS)]


def second_rows() -> list[Cells]:
    draw = random.Random(2)
    first = first_rows()
    new = [_reading(3, meter, draw) for meter in range(METERS - 20)]
    late = [
        {**first[m], "id": 90_000 + m, "at": START, "kwh": 3.25} for m in range(METERS - 30, METERS)
    ]
    repeated = [dict(row) for row in first[:25]] + [dict(row) for row in new[:5]]
    contrary = [{**row, "kwh": 99.5} for row in first[40:50]]
    return [*new, *late, *repeated, *contrary]


def accepted_rows(found: dict[int, float | None], *, one_batch: bool) -> list[Cells]:
    """What must have been accepted after both files: one row of each id, the one that came first.

    Within one batch no row comes first, and which of two contrary ones wins is decided by their
    hashes; there it is one of them.

    Args:
        found: What was accepted, by id; it only matters for contrary rows of one batch.
        one_batch: Both files were landed at once.
    """
    by_id: dict[int, Cells] = {}
    for row in [*first_rows(), *second_rows()]:
        wins = one_batch and row["kwh"] == found.get(row["id"])
        by_id[row["id"]] = row if wins else by_id.get(row["id"], row)
    return list(by_id.values())


# read, accepted, duplicate, quarantined
SECOND_COUNTS = (1_180 + 30 + 30 + 10, 1_180 + 30, 30, 10)
BOTH_COUNTS = (SECOND_COUNTS[0] + 2 * METERS, SECOND_COUNTS[1] + 2 * METERS, 30, 10)


def events_of(rows: list[Cells]) -> dict[str, list[Event]]:
    """Events by meter; no two of a meter have one time."""
    found: dict[str, list[Event]] = {}
    for row in rows:
        at_us = to_us(row["at"])
        event = Event((row["meter"],), at_us, at_us, (0, 0), {"kwh": row["kwh"]})
        found.setdefault(row["meter"], []).append(event)
    return found


def feature_rows_of(rows: list[Cells], view: str) -> set[tuple[Any, ...]]:
    """The feature rows that must be there, by a few lines of plain Python."""
    return {
        (meter, event.event_us, *values(events, event.event_us, 2**62, VIEWS[view]))
        for meter, events in events_of(rows).items()
        for event in events
    }


def online_rows_of(rows: list[Cells], view: str) -> dict[str, tuple[int, tuple[Any, ...]]]:
    """Of each meter its newest event and the values as of it."""
    newest = {
        meter: max(event.event_us for event in events) for meter, events in events_of(rows).items()
    }
    return {
        meter: (newest[meter], tuple(values(events, newest[meter], 2**62, VIEWS[view])))
        for meter, events in events_of(rows).items()
    }


def write_project(root: Path) -> None:
    (root / "in").mkdir(parents=True)
    (root / "features.py").write_text(DEFINITIONS)


def write_rows(path: Path, rows: list[Cells]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)


def write_spine(path: Path) -> None:
    moments = [START + dt.timedelta(days=number) for number in (1, 2, 5, 40)]
    rows = [
        {"meter": f"m{m:04}", "event_timestamp": at} for m in range(0, METERS, 7) for at in moments
    ]
    schema = pa.schema([("meter", pa.string()), ("event_timestamp", pa.timestamp("us", "UTC"))])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
