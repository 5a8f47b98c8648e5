"""Random readings of every type, views of every function over them, and the oracle's reading."""

from __future__ import annotations

import datetime as dt
import random
import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tests.spark.benches import Bench, Cells
from tests.spark.oracle import Event, Feature, View
from twinlake.definitions.times import DAY_US, to_datetime, to_us
from twinlake.lake import events, tables

HOUR_US = 3_600_000_000
START_US = to_us(dt.datetime(2014, 1, 1, tzinfo=dt.UTC))
DAYS = 40
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("k", pa.string()),
        ("g", pa.int32()),
        ("at", pa.timestamp("us", "UTC")),
        ("made", pa.timestamp("us", "UTC")),
        ("i", pa.int32()),
        ("m", pa.decimal128(12, 2)),
        ("f", pa.float32()),
        ("d", pa.float64()),
        ("s", pa.string()),
        ("day", pa.date32()),
        ("ts", pa.timestamp("us", "UTC")),
        ("b", pa.bool_()),
    ]
)
TYPES = (
    "id bigint, k string, g int, at timestamp, made timestamp, i int, m decimal(12,2), f float, "
    "d double, s string, day date, ts timestamp, b boolean"
)
COLUMNS = ("i", "m", "f", "d", "s", "day", "ts", "b")
FUNCTIONS = ("count", "sum", "mean", "min", "max", "stddev", "first", "last")
NUMBERS = ("i", "m", "f", "d")


def _features(windows: dict[str, int], columns: Sequence[str]) -> list[Feature]:
    made = [Feature(f"rows_{w}", None, "count", us) for w, us in windows.items()]
    for column in columns:
        for function in FUNCTIONS:
            if column in NUMBERS or function in {"count", "first", "last"}:
                made += [
                    Feature(f"{function}_{column}_{w}", column, function, us)
                    for w, us in windows.items()
                ]
    return made


VIEWS = {
    "tiled": View(
        _features({"1d": DAY_US, "7d": 7 * DAY_US}, ("i", "m", "f", "d", "s")),
        hop_us=DAY_US,
        ttl_us=10 * DAY_US,
    ),
    "exact": View(
        [*_features({"5h": 5 * HOUR_US, "30h": 30 * HOUR_US}, ("d", "m", "day")), Feature("i", "i")]
    ),
    "plain": View([Feature(name, name) for name in COLUMNS], ttl_us=3 * DAY_US),
}


def _declared(name: str, view: View, where: str = "readings") -> str:
    listed = ", ".join(
        f"Column({f.column!r}, {f.name!r})"
        if f.function is None
        else f"Aggregate({f.function!r}, {f.column!r}, "
        f"windows={{{f.name!r}: '{f.window_us // HOUR_US}h'}})"
        for f in view.features
    )
    hop = "" if view.hop_us is None else f", hop='{view.hop_us // HOUR_US}h'"
    ttl = "" if view.ttl_us is None else f", ttl='{view.ttl_us // HOUR_US}h'"
    return (
        f"{name} = FeatureView({name!r}, entity=meter, source={where}, "
        f"features=[{listed}], max_events_per_key=10_000{hop}{ttl})\n"
    )


def definitions(*views: str) -> str:
    """Give a project of these views; all by default."""
    return f"""
meter = Entity("meter", join_keys={{"k": "string", "g": "int"}})
readings = Source(
    "readings", schema={TYPES!r}, event_timestamp="at", event_id="id", known="made",
    batch=Files("in"),
)
""" + "".join(_declared(name, VIEWS[name]) for name in views or VIEWS)


def _double(draw: random.Random) -> float:
    return draw.choice(
        [
            draw.uniform(-1, 1),
            draw.uniform(-1e16, 1e16),
            draw.uniform(0, 1) * 2.0 ** draw.randrange(-300, 60),
            draw.choice([0.0, -0.0, 1e16, -1e16, 0.1, 1e-16]),
        ]
    )


def _float(draw: random.Random) -> float:
    value: float = struct.unpack("<f", struct.pack("<f", draw.uniform(-1e6, 1e6)))[0]
    return value


def random_rows(draw: random.Random, keys: int, per_key: int, late: float = 0.05) -> list[Cells]:
    """Readings of ``keys`` meters: ties of time, nulls, hop edges, and a share of late ones."""
    rows: list[Cells] = []
    for key in range(keys):
        for _ in range(draw.randrange(1, 2 * per_key)):
            unit = draw.choice([DAY_US, HOUR_US, HOUR_US, 1])
            at_us = START_US + draw.randrange(DAYS * DAY_US // unit) * unit
            known_us = at_us - draw.choice([0, 0, HOUR_US])
            if draw.random() < late:
                known_us = at_us + draw.randrange(5 * DAY_US)
            cells: Cells = {
                "i": draw.choice([draw.randrange(-9, 9), 2**31 - 1, -(2**31)]),
                "m": Decimal(draw.randrange(-(10**12) + 1, 10**12)).scaleb(-2),
                "f": _float(draw),
                "d": _double(draw),
                "s": draw.choice(["", "a", "ä\U0001f600", "line\nbreak"]),
                "day": dt.date(2014, 1, 1) + dt.timedelta(days=draw.randrange(-(10**4), 10**4)),
                "ts": to_datetime(draw.randrange(-(10**15), 2 * 10**15)),
                "b": draw.random() < 0.5,
            }
            rows.append(
                {
                    "id": len(rows),
                    # The same text with another number, and the other way round, is another key.
                    "k": f"k{key // 2}",
                    "g": key % 2,
                    "at": to_datetime(at_us),
                    "made": to_datetime(known_us),
                }
                | {name: None if draw.random() < 0.15 else cell for name, cell in cells.items()}
            )
    return rows


Known = dict[tuple[str, int], list[Event]]
Sequences = dict[tuple[int, int], Event]


def known_events(bench: Bench, rows: Sequence[Cells]) -> tuple[Known, Sequences]:
    """Give the rows as the oracle takes them, by key and by ingest sequence.

    What comes from the tables is only what cannot be known otherwise: the row hash, which breaks
    ties, and the sequence.
    """
    stored = tables.read(bench.spark, bench.project.places.events("readings"))
    marks = {
        r.id: ((r._hash_a, r._hash_b), (r._version, r._row))
        for r in stored.where(stored["_verdict"] == events.ACCEPTED)
        .select("id", "_hash_a", "_hash_b", "_version", "_row")
        .collect()
    }
    by_key: Known = {}
    by_sequence: Sequences = {}
    for row in rows:
        if row["id"] not in marks:
            continue
        tie, sequence = marks[row["id"]]
        event = Event(
            (row["k"], row["g"]),
            to_us(row["at"]),
            to_us(row["made"]),
            tie,
            {name: _as_stored(row[name]) for name in COLUMNS},
        )
        by_key.setdefault(event.key, []).append(event)
        by_sequence[sequence] = event
    return by_key, by_sequence


def _as_stored(cell: Any) -> Any:
    if isinstance(cell, float):
        return cell + 0.0  # -0.0 is 0.0
    return to_us(cell) if isinstance(cell, dt.datetime) else cell


def plain_cell(cell: Any) -> Any:
    """Bring a served or stored cell into the oracle's form: times in microseconds."""
    return to_us(cell) if isinstance(cell, dt.datetime) else cell
