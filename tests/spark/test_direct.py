"""Events read straight from their files are those that Spark reads, or they are left to Spark."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.spark.benches import Bench
from tests.spark.test_streaming import SCHEMA, defined, payments
from twinlake.flows.project import Project
from twinlake.lake import events
from twinlake.lake.direct import PLACE, DirectFiles, direct_files

COLUMNS = ["tid", "card", "amount"]


def files_of(project: Project, version: int, columns: list[str]) -> DirectFiles | None:
    source = project.view("added").source
    path = project.places.events(source.name)
    return direct_files(project.spark, path, source, version, columns)


def taken_by_place(files: DirectFiles, whole: pa.Table) -> list[dict[str, object]]:
    """Take every other row by its place, each twice, and see that both are the same."""
    places = np.sort(whole.column(PLACE).to_numpy())[::2].repeat(2)
    found: dict[int, dict[str, object]] = {}
    for task in range(3):
        for which, rows in files.take(task, 3, COLUMNS, places):
            numbers = range(which.start, which.stop)
            found |= dict(zip(numbers, rows.to_pylist(), strict=True))
    assert all(found[number] == found[number + 1] for number in range(0, len(places), 2))
    return [found[number] for number in range(0, len(places), 2)]


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
        whole = pa.concat_tables(read)
        found = whole.select(COLUMNS).to_pylist()
        wanted = events.accepted(bench.spark, path, source, version).select(*COLUMNS).collect()
        assert sorted(map(str, found)) == sorted(str(row.asDict()) for row in wanted)
        assert taken_by_place(files, whole) == whole.sort_by(PLACE).select(COLUMNS).to_pylist()[::2]
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
