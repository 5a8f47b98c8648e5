"""Events read straight from their files are those that Spark reads, or they are left to Spark."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.spark.benches import Bench
from tests.spark.test_streaming import SCHEMA, defined, payments
from twinlake.flows.project import Project
from twinlake.lake import events
from twinlake.lake.direct import DirectFiles, direct_files
from twinlake.lake.fetching import FOUND_A, FOUND_B, _Pointers

COLUMNS = ["tid", "card", "amount"]


def files_of(project: Project, version: int, columns: list[str]) -> DirectFiles | None:
    source = project.view("added").source
    path = project.places.events(source.name)
    return direct_files(project.spark, path, source, version, columns)


def test_files_say_what_the_table_says(bench: Bench) -> None:
    more = """
plainly = Source("plainly", schema="tid string, card bigint, amount decimal(12,2), at timestamp",
    event_timestamp="at", event_id="tid", batch=Files("in"))
added = FeatureView("added", entity=card, source=plainly, features=[Column("amount", "newest")])
"""
    defined(bench, more=more)
    rows = payments(random.Random(31), 60)
    for number in (0, 1):
        bench.put(str(number), rows[30 * number : 30 * number + 40], SCHEMA)
        bench.materialize("added")
    source = bench.project.view("added").source
    path = bench.project.places.events("plainly")
    newest = bench.project.landings("plainly").all()[-1].version
    for version in (newest, newest - 1):
        files = files_of(bench.project, version, COLUMNS)
        assert files is not None
        read = [table for task in range(3) for table in files.read(task, 3, COLUMNS)]
        found = pa.concat_tables([table.select(COLUMNS) for table in read]).to_pylist()
        wanted = events.accepted(bench.spark, path, source, version).select(*COLUMNS).collect()
        assert sorted(map(str, found)) == sorted(str(row.asDict()) for row in wanted)
    assert files_of(bench.project, newest, ["derived"]) is None
    bench.spark.sql(
        f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"
    )
    assert files_of(bench.project, newest, COLUMNS) is None


def test_a_source_with_a_filter_is_left_to_spark(bench: Bench) -> None:
    defined(bench)
    bench.put("all", payments(random.Random(32), 5), SCHEMA)
    bench.materialize()
    source = bench.project.view("activity").source
    path: Path = bench.project.places.events(source.name)
    assert direct_files(bench.spark, path, source, 2**60, COLUMNS) is None


HASHES = st.tuples(st.sampled_from([-(2**63), -5, 0, 7, 2**63 - 1]), st.integers(0, 2))


@given(
    wanted=st.lists(st.none() | HASHES, min_size=1, max_size=20),
    rows=st.lists(HASHES, max_size=20, unique=True),
)
def test_pointers_find_what_a_loop_finds(
    wanted: list[tuple[int, int] | None], rows: list[tuple[int, int]]
) -> None:
    answers = pa.table(
        {
            f"{FOUND_A}0": pa.array([w and w[0] for w in wanted], pa.int64()),
            f"{FOUND_B}0": pa.array([w[1] if w else 9 for w in wanted], pa.int64()),
        }
    )
    pointers = _Pointers.of(answers)
    distinct = {w for w in wanted if w is not None}
    if len({half for half, _ in distinct}) < len(distinct):
        assert pointers is None  # one half does not tell them apart
        return
    assert pointers is not None
    hash_a = pa.array([row[0] for row in rows], pa.int64())
    row, slot = pointers.find(hash_a, np.array([row[1] for row in rows], np.int64))
    found = sorted(zip(row.tolist(), slot.tolist(), strict=True))
    assert found == sorted(
        (number, place)
        for number, one in enumerate(rows)
        for place, asked in enumerate(wanted)
        if asked == one
    )
