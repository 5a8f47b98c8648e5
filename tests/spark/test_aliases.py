"""One view joined twice under two names gives what two questions of the view itself give."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.spark import readings
from tests.spark.benches import Bench, Cells, collected
from twinlake.definitions.times import DAY_US, to_datetime
from twinlake.flows import leak_checking, reading, training_sets
from twinlake.lake import tables

ROWS = readings.random_rows(random.Random(8), keys=12, per_key=8, late=0.1)
# Sources interleave, so that workers answer in another order than the service lists.
SERVICES = """
others = Source(
    "others", schema="id bigint, k string, g int, at timestamp, price double",
    event_timestamp="at", event_id="id", batch=Files("others"),
)
prices = FeatureView("prices", entity=meter, source=others, hop="1d",
    features=[Aggregate("sum", "price", windows={"price_3d": "3d"})])
there = tiled.joined_as("there", k="other_k", g="other_g")
plain_there = plain.joined_as("plain_there", k="other_k", g="other_g")
once = FeatureService("once", features=[tiled.select("sum_d_7d", "max_i_1d"), plain.select("s")])
twice = FeatureService("twice", features=[
    tiled.select("sum_d_7d", "max_i_1d"),
    there.select("there_sum_d_7d", "there_max_i_1d"),
    prices,
    tiled.joined_as("again").select("again_count_s_1d"),
    plain.select("s"), plain_there.select("plain_there_s"),
])
plains = FeatureService("plains", features=[
    plain.select("s"), plain_there.select("plain_there_s"),
])
plain_once = FeatureService("plain_once", features=[plain.select("s")])
"""
OTHER_SCHEMA = pa.schema(
    [readings.SCHEMA.field(name) for name in ("id", "k", "g", "at")] + [("price", pa.float64())]
)
SPINE_SCHEMA = pa.schema(
    [("n", pa.int64()), ("event_timestamp", pa.timestamp("us", "UTC"))]
    + [(f"{side}{name}", kind) for side in ("", "other_") for name, kind in
       (("k", pa.string()), ("g", pa.int32()))]
)  # fmt: skip


def spine_rows(draw: random.Random) -> list[Cells]:
    def key(row: Cells) -> tuple[str, int]:
        return row["k"], row["g"]

    known = [*sorted({key(row) for row in ROWS}), ("nobody", 1)]
    rows = []
    for number in range(200):
        (k, g), (other_k, other_g) = draw.choice(known), draw.choice(known)
        at = to_datetime(readings.START_US + draw.randrange(0, 45 * 4) * DAY_US // 4)
        row = {"n": number, "event_timestamp": at, "k": k, "g": g}
        rows.append(row | {"other_k": other_k, "other_g": other_g})
    return rows


SPINE = spine_rows(random.Random(9))


@dataclass(frozen=True)
class Joined:
    bench: Bench
    built: dict[str, list[Cells]]
    statuses: dict[str, Any]


@pytest.fixture(scope="module")
def joined(module_bench: Callable[[], Bench]) -> Joined:
    bench = module_bench().define(readings.definitions("tiled", "plain") + SERVICES)
    bench.put("all", ROWS, readings.SCHEMA)
    priced = [{**{n: row[n] for n in ("id", "k", "g", "at")}, "price": row["d"]} for row in ROWS]
    bench.put("../others/all", priced, OTHER_SCHEMA)
    bench.apply()
    bench.materialize()
    turned = [
        row | {"k": row["other_k"], "g": row["other_g"], "other_k": row["k"], "other_g": row["g"]}
        for row in SPINE
    ]
    built, statuses = {}, {}
    for name, service, rows in (
        ("twice", "twice", SPINE),
        ("plains", "plains", SPINE),
        ("here", "once", SPINE),
        ("there", "once", turned),
        ("plain there", "plain_once", turned),
    ):
        file = bench.folder / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=SPINE_SCHEMA), file)
        made = training_sets.build(bench.project, service, file)
        frame = tables.read(bench.spark, made.path, made.version)
        built[name] = sorted(collected(frame), key=lambda row: row["n"])
        statuses[name] = made.receipt.statuses
    return Joined(bench, built, statuses)


@pytest.mark.parametrize(
    ("of", "feature", "other", "own"),
    [
        ("twice", "sum_d_7d", "here", "sum_d_7d"),
        ("twice", "there_sum_d_7d", "there", "sum_d_7d"),
        ("twice", "there_max_i_1d", "there", "max_i_1d"),
        ("twice", "s", "here", "s"),
        ("twice", "plain_there_s", "there", "s"),
        ("plains", "plain_there_s", "plain there", "s"),
    ],
)
def test_each_name_gives_what_the_view_itself_gives(
    joined: Joined, of: str, feature: str, other: str, own: str
) -> None:
    found = [row[feature] for row in joined.built[of]]
    assert found == [row[own] for row in joined.built[other]]
    assert joined.statuses[of][feature] == joined.statuses[other][own]
    assert len({repr(cell) for cell in found}) > 3


def test_status_and_matched_event_carry_the_other_name(joined: Joined) -> None:
    for row, here, there in zip(
        joined.built["twice"], joined.built["here"], joined.built["there"], strict=True
    ):
        for mark in ("status", "event_timestamp"):
            assert row[f"tiled__{mark}"] == here[f"tiled__{mark}"]
            assert row[f"there__{mark}"] == there[f"tiled__{mark}"]
            assert row[f"plain_there__{mark}"] == there[f"plain__{mark}"]


def test_both_are_served_from_the_one_table(joined: Joined) -> None:
    project = joined.bench.project
    rows = [{n: row[n] for n in ("k", "g", "other_k", "other_g")} for row in SPINE[:20]]
    asked = [{"k": row["other_k"], "g": row["other_g"]} for row in rows]
    twice = reading.read_service(project, "twice", rows)
    there = reading.read_service(project, "once", asked)
    for answer, other in zip(twice, there, strict=True):
        for feature in ("sum_d_7d", "max_i_1d"):
            assert answer.features[f"there_{feature}"] == other.features[feature]
        assert answer.features["plain_there_s"] == other.features["s"]
    assert {view.name for view in project.service("twice").views()} == {"tiled", "plain", "prices"}


def test_nothing_leaks_into_either(joined: Joined, tmp_path: Path) -> None:
    done = leak_checking.check_leaks(joined.bench.project, "twice", keys=2)
    assert not done.examined.leaks
    assert done.examined.planted
    assert not done.examined.untested
