"""What cannot be given is overflow everywhere: training sets, tables, reads and parity."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.spark.benches import Bench, Cells, collected
from twinlake.definitions.times import to_datetime
from twinlake.flows import checking, training_sets
from twinlake.flows.reading import read_service
from twinlake.lake import tables
from twinlake.online import reader

MINUTE_US = 60_000_000
START_US = 1_400_000_000_000_000
MOST, SHORT_US, LONG_US = 3, 10 * MINUTE_US, 60 * MINUTE_US
MUCH = 2**62
SCHEMA = pa.schema(
    [
        ("tid", pa.int64()),
        ("card", pa.int64()),
        ("points", pa.int64()),
        ("at", pa.timestamp("us", "UTC")),
        ("made", pa.timestamp("us", "UTC")),
    ]
)
DEFINITIONS = f"""
card = Entity("card", join_keys={{"card": "bigint"}})
payments = Source(
    "payments", schema="tid bigint, card bigint, points bigint, at timestamp, made timestamp",
    event_timestamp="at", event_id="tid", known="made", batch=Files("in"),
)
recent = FeatureView(
    "recent", entity=card, source=payments, max_events_per_key={MOST},
    features=[Column("points", name="last_points"),
              Aggregate("count", windows={{"n_10m": "10m", "n_1h": "1h"}}),
              Aggregate("sum", "points", windows={{"sum_10m": "10m", "sum_1h": "1h"}}),
              Aggregate("first", "points", windows={{"first_1h": "1h"}})],
)
fraud = FeatureService("fraud", features=[recent])
last = FeatureService("last", features=[recent.select("last_points")])
"""
FEATURES = ["last_points", "n_10m", "n_1h", "sum_10m", "sum_1h", "first_1h"]
OVER = "overflow"


def drawn(draw: random.Random) -> list[Cells]:
    rows: list[Cells] = []
    for card in range(20):
        for _ in range(draw.choice([1, 3, 6, 40])):
            at_us = START_US + draw.randrange(90) * MINUTE_US
            rows.append(
                {
                    "tid": len(rows),
                    "card": card,
                    "points": draw.choice([None, 1, 2, MUCH if card % 4 == 0 else 3]),
                    "at": at_us,
                    "made": at_us + draw.choice([0, 0, 0, 7 * MINUTE_US]),
                }
            )
    return rows


ROWS = drawn(random.Random(11))


def oracle(card: int, t: int, rows: list[Cells] = ROWS) -> list[Any]:
    """The features as of a moment, ``OVER`` where they cannot be given; in plain Python."""
    seen = [r for r in rows if r["card"] == card and r["at"] <= t and r["made"] <= t]
    if not seen:
        return [None] * len(FEATURES)
    held = [[r for r in seen if r["at"] > t - window] for window in (SHORT_US, LONG_US)]
    counts = [len(rows) for rows in held]
    sums: list[Any] = []
    for rows_held in held:
        cells = [r["points"] for r in rows_held if r["points"] is not None]
        total = sum(cells) if cells else None
        sums.append(OVER if total is not None and total >= 2**63 else total)
    found = [None, *counts, *sums, None]
    for place, window in ((1, 0), (2, 1), (3, 0), (4, 1)):
        if counts[window] > MOST:
            found[place] = OVER
    if counts[1] > MOST:
        found[5] = OVER
    return found


def told(value: Any) -> Any:
    return None if value == OVER else value


@pytest.fixture(scope="module")
def bench(module_bench: Callable[[], Bench]) -> Bench:
    """Materialized in two steps, so that the second goes on from what the first left."""
    made = module_bench().define(DEFINITIONS)
    order = sorted(ROWS, key=lambda row: row["made"])
    for name, rows in (("1", order[: len(order) // 2]), ("2", order[len(order) // 2 :])):
        times = [
            row | {"at": to_datetime(row["at"]), "made": to_datetime(row["made"])} for row in rows
        ]
        made.put(name, times, SCHEMA)
        made.apply().materialize()
    return made


def built(bench: Bench, service: str, asked: list[tuple[int, int]]) -> tuple[Any, list[Cells]]:
    path = bench.folder / f"spine-{service}.parquet"
    rows = [
        {"card": card, "event_timestamp": to_datetime(at_us), "number": number}
        for number, (card, at_us) in enumerate(asked)
    ]
    kinds = [("card", pa.int64()), ("event_timestamp", pa.timestamp("us", "UTC"))]
    schema = pa.schema([*kinds, ("number", pa.int64())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    made = training_sets.build(bench.project, service, Path(path))
    found = collected(tables.read(bench.spark, made.path, made.version))
    return made, sorted(found, key=lambda row: row["number"])


def test_a_training_set_says_and_counts_what_overflows(bench: Bench) -> None:
    draw = random.Random(2)
    asked = [(draw.randrange(21), START_US + draw.randrange(200) * MINUTE_US) for _ in range(400)]
    made, found = built(bench, "fraud", asked)
    wanted = [oracle(*question) for question in asked]
    for row, values in zip(found, wanted, strict=True):
        over = [n for n, v in zip(FEATURES, values, strict=True) if v == OVER]
        assert [row[name] for name in FEATURES[1:5]] == [told(value) for value in values[1:5]]
        assert (row["recent__overflow"] or "") == ",".join(over)
        assert row["first_1h"] is None or "first_1h" not in over
    for position, name in enumerate(FEATURES):
        counts = made.receipt.statuses[name]
        assert counts[OVER] == sum(values[position] == OVER for values in wanted)
        assert sum(counts.values()) == len(asked)
    for name in FEATURES[1:]:
        assert made.receipt.statuses[name][OVER] > 10
    plain, rows = built(bench, "last", asked)
    assert "recent__overflow" not in plain.receipt.columns
    assert OVER not in plain.receipt.statuses["last_points"]
    assert [row["last_points"] for row in rows] == [row["last_points"] for row in found]


def test_feature_rows_are_empty_where_a_value_cannot_be_given(bench: Bench) -> None:
    rows = bench.feature_rows("recent")
    assert len(rows) == len(ROWS)
    empty = sum(row["n_1h"] is None for row in rows)
    assert 0 < empty < len(rows)


def test_reads_say_overflow_until_the_window_holds_few_enough(bench: Bench) -> None:
    cards = range(21)
    seen: set[str] = set()
    for minutes in (97, 101, 110, 130, 150, 158):
        at_us = START_US + minutes * MINUTE_US
        at = to_datetime(at_us).isoformat()
        answers = read_service(bench.project, "fraud", [{"card": card} for card in cards], at)
        for card, answer in zip(cards, answers, strict=True):
            expected = oracle(card, at_us)
            known = card < 20
            for name, value in list(zip(FEATURES, expected, strict=True))[1:5]:
                one = answer.features[name]
                status = OVER if value == OVER else "null" if value is None else "present"
                assert (one.value, one.status) == (told(value), status if known else "missing")
                seen.add(one.status)
    assert seen == {"present", "null", "missing", OVER}


def test_a_state_holds_no_more_rows_than_the_bound(bench: Bench) -> None:
    rows = bench.online("recent")
    assert len(rows) == 20
    many = [row for (card,), row in rows.items() if sum(r["card"] == card for r in ROWS) == 40]
    # The newest rows, one more than the bound, and what was known late: not forty.
    assert many
    assert all(len(row.state) < 96 + 20 * (MOST + 1 + 8) for row in many)


def test_parity_knows_overflow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    view = bench.project.view("recent")
    for as_of in (None, to_datetime(START_US + 101 * MINUTE_US).isoformat()):
        verdict = checking.check_parity(bench.project, [view], None, as_of)
        assert (verdict.keys, verdict.mismatches) == (20, 0), verdict.differences[:3]
    # A reader that gave null instead would be found.
    monkeypatch.setattr(reader, "OVERFLOW", "null")
    assert checking.check_parity(bench.project, [view], None).mismatches > 10
