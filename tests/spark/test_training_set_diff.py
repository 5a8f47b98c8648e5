"""Two training sets compared: what a plain comparison of their rows says, and what made them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from tests.bad_input import Place, call
from tests.spark import meters
from tests.spark.benches import Bench, Cells, collected
from tests.spark.oracle import bits
from twinlake.cli.context import Context
from twinlake.definitions.times import MAX_US
from twinlake.errors import InputError
from twinlake.flows import comparing, training_sets
from twinlake.flows.comparing import Compared
from twinlake.flows.landing import land_files
from twinlake.flows.training_sets import TrainingSet
from twinlake.lake import differences, tables
from twinlake.models.content import row_hashes

SERVICES = """
forecast = FeatureService("forecast", features=[usage])
slim = FeatureService("slim", features=[usage.select("kwh", "days_5d")])
"""
LONGER = meters.DEFINITIONS.replace('"wh_3d": "3d"', '"wh_3d": "4d"')
SPINE_SCHEMA = pa.schema(
    [("meter", pa.string()), ("event_timestamp", pa.timestamp("us", "UTC")), ("y", pa.float64())]
)


def spine_rows() -> list[Cells]:
    draw = random.Random(5)
    return [
        {
            "meter": f"m{draw.randrange(9)}",
            "event_timestamp": meters.day(draw.uniform(0, 9)),
            "y": draw.choice([None, math.nan, 1.5]),
        }
        for _ in range(40)
    ]


ROWS = spine_rows()
# Row 0 three times here and once there; 5 rows here alone, 3 there alone.
SPINE_A = [*ROWS[:35], ROWS[0], ROWS[0]]
SPINE_B = ROWS[5:38] + ROWS[:1]


@dataclass(frozen=True)
class Sets:
    bench: Bench
    a: TrainingSet
    b: TrainingSet
    slim: TrainingSet
    longer: TrainingSet

    def compare(self, one: TrainingSet, other: TrainingSet) -> Compared:
        return comparing.compare(self.bench.project, one.name, other.name)

    def rows(self, of: TrainingSet) -> list[Cells]:
        return collected(tables.read(self.bench.spark, of.path, of.version))


@pytest.fixture(scope="module")
def sets(module_bench: Callable[[], Bench]) -> Sets:
    bench = module_bench().define(meters.DEFINITIONS + SERVICES).apply()
    everything = meters.rows_of(range(9))
    bench.put("first", [row for row in everything if row["id"] % 4], meters.SCHEMA)
    land_files(bench.project, bench.project.definitions.sources["daily"], MAX_US)
    paths = {}
    for name, rows in {"a": SPINE_A, "b": SPINE_B}.items():
        paths[name] = bench.folder / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=SPINE_SCHEMA), paths[name])
    a = training_sets.build(bench.project, "forecast", paths["a"])
    # What comes now is older than most rows of the spine, and changes their features.
    bench.put("second", [row for row in everything if not row["id"] % 4], meters.SCHEMA)
    land_files(bench.project, bench.project.definitions.sources["daily"], MAX_US)
    b = training_sets.build(bench.project, "forecast", paths["b"])
    slim = training_sets.build(bench.project, "slim", paths["b"])
    bench.define(LONGER + SERVICES).apply()
    longer = training_sets.build(bench.project, "forecast", paths["b"])
    return Sets(bench, a, b, slim, longer)


def naive(a: list[Cells], b: list[Cells], identity: Sequence[str]) -> dict[str, Any]:
    """The same with dictionaries, all rows at hand."""

    def key(row: Cells) -> Any:
        return tuple(bits(row[name]) for name in identity)

    columns = [name for name in a[0] if name in b[0] and name not in identity]

    def shared(chosen: Sequence[str]) -> int:
        of_a, of_b = (
            Counter((key(row), *(bits(row[name]) for name in chosen)) for row in rows)
            for rows in (a, b)
        )
        return (of_a & of_b).total()

    met = shared([])
    cells = {name: met - shared([name]) for name in columns}
    return {"met": met, "equal": shared(columns), "cells": cells}


def check(sets: Sets, one: TrainingSet, other: TrainingSet) -> Compared:
    a, b = sets.rows(one), sets.rows(other)
    found, expected = sets.compare(one, other), naive(a, b, ["meter", "event_timestamp", "y"])
    assert (found.found.met, found.found.equal) == (expected["met"], expected["equal"])
    assert dict(found.found.cells) == expected["cells"]
    assert found.found.only_a == len(a) - expected["met"]
    assert found.found.only_b == len(b) - expected["met"]
    return found


def test_rows_and_cells_are_those_of_a_plain_comparison(sets: Sets) -> None:
    found = check(sets, sets.a, sets.b)
    # 30 rows are in both, and row 0 once; of its other two the first set has them alone.
    assert (found.found.met, found.found.only_a, found.found.only_b) == (31, 6, 3)
    assert [one.times for one in found.only_a if one.times > 1] == [2]
    assert {(one.row["meter"], one.row["event_timestamp"]) for one in found.only_b} == {
        (row["meter"], row["event_timestamp"].replace(tzinfo=None)) for row in ROWS[35:38]
    }
    assert found.found.cells["wh_3d"] > 0
    for shown in found.unequal:
        assert shown.cells
        assert all(bits(x) != bits(y) for x, y in shown.cells.values())
    assert not found.same
    assert not found.same_content


def test_what_they_were_made_from_is_named(sets: Sets) -> None:
    origins = {one.what: (one.a, one.b) for one in sets.compare(sets.a, sets.b).origins}
    assert origins.keys() == {
        "spine path", "spine fingerprint", "events daily, version", "events daily, sequence",
    }  # fmt: skip
    assert origins["events daily, sequence"] == (
        sets.a.receipt.tables[0].sequence,
        sets.b.receipt.tables[0].sequence,
    )
    found = check(sets, sets.b, sets.longer)
    origins = {one.what: (one.a, one.b) for one in found.origins}
    assert origins.keys() == {"definition", "view usage"}
    assert {name for name, count in found.found.cells.items() if count} == {"wh_3d"}
    assert (found.found.only_a, found.found.only_b) == (0, 0)


def test_features_that_one_alone_has_are_named(sets: Sets) -> None:
    found = check(sets, sets.b, sets.slim)
    assert (found.columns_only_a, found.columns_only_b) == (["wh_3d"], [])
    assert found.found.equal == found.found.met == len(SPINE_B)
    assert not found.same_content
    assert sets.compare(sets.slim, sets.b).columns_only_b == ["wh_3d"]


def test_a_set_does_not_differ_from_itself(sets: Sets) -> None:
    found = check(sets, sets.a, sets.a)
    assert found.same
    assert not any(found.found.cells.values())
    with pytest.raises(InputError, match="no training set named 'none'"):
        comparing.compare(sets.bench.project, sets.a.name, "none")


def test_the_command_shows_it_and_its_exit_code_says_it(
    sets: Sets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Context, "open", lambda _: sets.bench.open())
    place = Place(sets.bench.root, sets.bench.folder / "state")
    a, b = sets.a.name, sets.b.name
    told = call(place, ["training-set", "diff", a, b, "--json"], monkeypatch, capsys)
    assert told.code == 1
    document = told.document
    assert (document["same"], document["same_content"]) == (False, False)
    counts = {"a": 37, "b": 34, "only_a": 6, "only_b": 3, "in_both": 31}
    assert counts.items() <= document["rows"].items()
    assert document["features"].keys() == {"kwh", "wh_3d", "days_5d"}
    assert document["marks"].keys() == {"usage__status", "usage__event_timestamp"}
    shown = call(place, ["training-set", "diff", a, b], monkeypatch, capsys)
    assert (shown.code, shown.out.splitlines()[-1]) == (1, "they differ")
    for part in ("events daily, sequence", "wh_3d", f"only in {a}, the first 5"):
        assert part in shown.out
    same = call(place, ["training-set", "diff", a, a], monkeypatch, capsys)
    assert (same.code, same.out.splitlines()[-1]) == (0, "no difference")


def test_parts_of_any_number_and_damaged_duplicates_come_to_the_same(
    spark: SparkSession, tmp_path: Path
) -> None:
    draw = random.Random(11)

    def rows() -> list[Cells]:
        return [
            {
                "k": draw.choice(["a", "b", None]),
                "t": draw.randrange(3),
                "x": draw.choice([None, 0.0, math.nan, 1.0]),
                "z": draw.choice(["", "ä", None]),
            }
            for _ in range(60)
        ]

    schema = "k string, t bigint, x double, z string"
    both = [rows(), rows()]
    a, b = (spark.createDataFrame(some, schema) for some in both)
    expected = naive(both[0], both[1], ["k", "t"])
    for parts in (1, 4):
        found = differences.compare(
            a, b, ["k", "t"], ["x", "z"], row_hashes, parts=parts, examples=2
        )
        assert (found.met, found.equal, found.cells) == (
            expected["met"], expected["equal"], expected["cells"],
        )  # fmt: skip
        assert len(found.first_unequal) == 2
    fetched = differences.rows_of(a, ["k", "t"], found.first_unequal, row_hashes)
    for one, some in fetched.items():
        keys = {(row["k"], row["t"]) for row in some}
        assert len(keys) == 1
        assert one.times > 0
