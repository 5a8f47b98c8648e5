"""Maintenance: what differs online is named and mended, and nothing that is needed is lost."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from delta.exceptions import ConcurrentDeleteReadException
from pyspark.sql import SparkSession

from tests.spark import meters
from tests.spark.benches import NOW_US, Bench
from tests.spark.test_streaming import VIEWS, defined, line, payments, send
from twinlake.definitions.times import ALWAYS
from twinlake.errors import InputError, StateError
from twinlake.flows import applying, checking, maintaining, publishing, streaming, training_sets
from twinlake.flows.maintaining import Maintained, Work
from twinlake.flows.project import online_table, view_table
from twinlake.flows.reconciling import Reconciled
from twinlake.lake import maintenance, publication
from twinlake.models.receipts import Receipt, SpinePin, TablePin
from twinlake.online.store import OnlineTable

KEYS = 10
LOOK, REPAIR = Work(reconcile=True), Work(repair=True)
SYSTEM = "tl_event_us, tl_known_us, tl_valid_until_us, tl_write_us, tl_deleted"
COLUMNS = f"{SYSTEM}, kwh, wh_3d, days_5d, tl_state"
# What is done to the row of which meter, and in what it differs then.
DAMAGE = {
    "m0": ("UPDATE {table} SET wh_3d = wh_3d + 1", "wh_3d"),
    "m1": ("UPDATE {table} SET days_5d = NULL", "days_5d"),
    "m2": ("UPDATE {table} SET kwh = 9e999", "kwh"),
    "m3": ("UPDATE {table} SET tl_state = x'00'", "tl_state"),
    "m4": ("UPDATE {table} SET tl_valid_until_us = NULL", "tl_valid_until_us"),
    "m5": ("UPDATE {table} SET tl_event_us = tl_event_us - 1", "tl_event_us"),
}


@pytest.fixture(scope="module")
def original(module_bench: Callable[[], Bench]) -> Bench:
    """Two publications, so that rows reflect different versions: m9 was seen in the first only."""
    bench = module_bench().define(meters.DEFINITIONS + meters.SERVICE).apply()
    for number, days in enumerate((range(6), range(6, 8))):
        rows = [r for r in meters.rows_of(days, KEYS) if number == 0 or r["meter"] != "m9"]
        bench.put(str(number), rows, meters.SCHEMA)
        bench.materialize()
    bench.project.store.close()
    bench.project._store = None
    return bench


@pytest.fixture
def copied(original: Bench, tmp_path: Path, spark: SparkSession) -> Iterator[Bench]:
    """A copy of the project, to be damaged and mended."""
    shutil.copytree(original.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("project"))
    with Bench(tmp_path / "copy", spark) as bench:
        shutil.copy(original.root / "features.py", bench.root)
        yield bench


def maintain(bench: Bench, work: Work, *views: str) -> Maintained:
    return maintaining.maintain(bench.project, views, work)


def only(done: Maintained) -> Reconciled:
    (found,) = done.views
    return found


def parity(bench: Bench) -> int:
    views = list(bench.project.applied().definitions.views.values())
    return checking.check_parity(bench.project, views, None).mismatches


def execute(bench: Bench, view: str, statement: str, *arguments: Any) -> None:
    table = view_table(bench.project.view(view))
    with sqlite3.connect(bench.folder / "state" / "online.sqlite") as connection:
        done = connection.execute(statement.format(table=f'"{table}"'), arguments)
        assert done.rowcount == 1
    connection.close()


def flip_state(bench: Bench, meter: str) -> None:
    """Change the last number that a state holds: a value, not the header."""
    table = view_table(bench.project.view("usage"))
    (row,) = [row for row in bench.online("usage").values() if row.key == (meter,)]
    changed = bytearray(row.state)
    changed[-1] ^= 1
    with sqlite3.connect(bench.folder / "state" / "online.sqlite") as connection:
        connection.execute(
            f'UPDATE "{table}" SET tl_state = ? WHERE meter = ?', (bytes(changed), meter)
        )
    connection.close()


def keep_back(bench: Bench, meter: str) -> None:
    """Put the row as of the first publication in its place: the second one's write was lost."""
    project = bench.project
    view, path = project.view("usage"), project.places.events("daily")
    first = project.landings("daily").all()[0]
    folding = publishing.folding_of(project, view, 0, first.version, first.landed_us or 0)
    folded = publication.online_rows(bench.spark, path, view, folding, 2)
    rows = [row for row in publication.rows_at_driver(folded, view) if row.key == (meter,)]
    project.store.purge(online_table(view), [(meter,)])
    publishing.write_online(project, view, iter(rows), folding.version_us)


def content(bench: Bench, view: str = "usage") -> dict[Any, Any]:
    """Online rows without what depends on the version that they reflect."""
    return {
        key: (row.values, row.event_us, row.known_us, row.valid_until_us, row.state[48:])
        for key, row in bench.online(view).items()
    }


def test_what_was_changed_is_named_and_mended(copied: Bench) -> None:
    before = content(copied)
    assert len({row.state[40:48] for row in copied.online("usage").values()}) == 2
    for meter, (statement, _) in DAMAGE.items():
        execute(copied, "usage", f"{statement} WHERE meter = ?", meter)
    flip_state(copied, "m6")
    keep_back(copied, "m7")
    execute(copied, "usage", "DELETE FROM {table} WHERE meter = 'm8'")
    ghost = f"INSERT INTO {{table}} (meter, {COLUMNS}) SELECT 'ghost', {COLUMNS} FROM {{table}} "
    execute(copied, "usage", ghost + "WHERE meter = 'm9'")

    wanted = {(name,): ("different", what) for name, (_, what) in DAMAGE.items()}
    wanted |= {("m6",): ("different", "tl_state"), ("m7",): ("different", "newer events")}
    wanted |= {("m8",): ("missing", ""), ("ghost",): ("unknown", "")}
    found = only(maintain(copied, LOOK))
    assert {one.key: (one.kind, one.what) for one in found.first} == wanted
    assert found.differing == {"missing": 1, "different": 8, "unknown": 1}
    assert (found.rows, found.left, found.is_clean) == (KEYS, 10, False)

    found = only(maintain(copied, REPAIR))
    assert (found.repaired, found.left, found.is_clean) == (10, 0, True)
    assert content(copied) == before
    _check_order(copied, found)
    assert parity(copied) == 0
    _check_that_it_goes_on(copied)


def _check_order(bench: Bench, found: Reconciled) -> None:
    """Repaired rows carry the time of the empty batch's commit, the others the one they had."""
    landings = bench.project.landings("daily").all()
    assert [(each.read, each.version) for each in landings[2:]] == [(0, found.marker)]
    times = bench.write_times()["usage"]
    assert {time for key, time in times.items() if key != ("m9",)} == {landings[2].landed_us}
    assert times["m9",] == landings[0].landed_us


def _check_that_it_goes_on(bench: Bench) -> None:
    """A marker makes nothing due; what comes after it lands, counts and replaces repaired rows."""
    versions = bench.delta_versions()
    assert only(maintain(bench, REPAIR)).is_clean
    assert bench.delta_versions() == versions
    assert publishing.find_due(bench.project, bench.project.view("usage"), ALWAYS) is None
    bench.put("new", meters.rows_of(range(8, 9), KEYS), meters.SCHEMA)
    done = bench.materialize().publications["usage"]
    assert done is not None
    assert done.online_rows > 0
    assert not bench.materialize().changed
    landings = bench.project.landings("daily").all()
    assert sum(each.read for each in landings) == len(bench.events("daily"))
    assert parity(bench) == 0
    assert only(maintain(bench, LOOK)).is_clean


def test_a_row_of_the_future_is_said_to_be_stuck(copied: Bench) -> None:
    change = "UPDATE {table} SET tl_write_us = ?, days_5d = 9 WHERE meter = 'm0'"
    execute(copied, "usage", change, NOW_US)
    execute(copied, "usage", "UPDATE {table} SET tl_write_us = ? WHERE meter = 'm1'", NOW_US)
    found = only(maintain(copied, REPAIR))
    assert {one.key: one.what for one in found.first} == {
        ("m0",): "days_5d, a write timestamp in the future",
        ("m1",): "a write timestamp in the future",
    }
    assert (found.repaired, found.left, found.stuck) == (0, 2, [("m0",), ("m1",)])
    assert not found.is_clean


def test_lost_events_are_not_repaired_from(copied: Bench) -> None:
    path = copied.project.places.events("daily")
    copied.spark.sql(f"DELETE FROM delta.`{path}` WHERE id = 7000").collect()
    with pytest.raises(StateError, match=r"rows, but .* were landed"):
        maintain(copied, REPAIR)


def test_beside_another_publisher_nothing_is_repaired(copied: Bench) -> None:
    execute(copied, "usage", "DELETE FROM {table} WHERE meter = 'm0'")
    before = copied.delta_versions()
    places = copied.project.places
    for office, name in (("publisher", "usage"), ("lander", "daily")):
        with (
            places.exclusively(office, name, "a job"),
            pytest.raises(StateError, match=f"another process is the {office} of {name}"),
        ):
            maintain(copied, REPAIR)
    assert copied.delta_versions() == before


def test_files_come_and_go_and_a_training_set_is_built_the_same(
    copied: Bench, tmp_path: Path
) -> None:
    spine = tmp_path / "spine.parquet"
    rows = [{"meter": f"m{n}", "event_timestamp": meters.day(7)} for n in range(KEYS)]
    instant = pa.timestamp("us", "UTC")
    schema = pa.schema([("meter", pa.string()), ("event_timestamp", instant)])
    copied.put("../../spine", rows, schema).rename(spine)
    built = training_sets.build(copied.project, "forecast", spine)
    execute(copied, "usage", "DELETE FROM {table} WHERE meter = 'm0'")
    with pytest.raises(InputError, match="fewer than 7 days") as refused:
        maintain(copied, Work(vacuum_days=6))
    assert maintenance.RETENTION_CHECK in str(refused.value.hint)
    copied.spark.conf.set(maintenance.RETENTION_CHECK, "false")
    try:
        done = maintain(copied, Work(repair=True, optimize=True, vacuum_days=0))
    finally:
        copied.spark.conf.unset(maintenance.RETENTION_CHECK)
    assert done.is_clean
    told = {one.table: (one.files, one.replaced, one.removed) for one in done.tables}
    assert told.keys() == {"events daily", "view usage"}
    for files, replaced, removed in told.values():
        assert files is not None
        assert 1 <= files <= 2
        assert replaced == removed
        assert replaced
    # The marker and the rewritten files make no other training set of it.
    assert not training_sets.build(copied.project, "forecast", spine).built
    (copied.project.places.receipts / f"{built.name}.json").unlink()
    built.path.rename(tmp_path / "moved away")
    again = training_sets.build(copied.project, "forecast", spine)
    assert (again.name, again.receipt.content) == (built.name, built.receipt.content)
    assert again.built
    assert parity(copied) == 0


def test_a_table_that_a_receipt_pins_by_its_version_is_not_vacuumed(copied: Bench) -> None:
    project = copied.project
    events = TablePin("daily", str(project.places.events("daily")), "1d", version=1)
    view = SpinePin(str(copied.view_path("usage")), "f" * 32, 0, "5e7", version=1)
    of_file = SpinePin(str(copied.view_path("usage")), "f" * 32, 0)
    project.places.receipts.mkdir()
    for name, tables, spine in (
        ("set_1", (replace(events, sequence=1),), of_file),
        ("set_2", (events,), of_file),
        ("set_3", (), view),
    ):
        made = Receipt(
            name, "s", "d", tables, spine, (), "c", 0, {}, "1", meters.START,
        )  # fmt: skip
        (project.places.receipts / f"{name}.json").write_text(made.to_json())
    done = maintain(copied, Work(vacuum_days=7))
    spared = {one.table: (one.spared_for, one.removed) for one in done.tables}
    assert spared == {"events daily": ("set_2", None), "view usage": ("set_3", None)}
    for name in ("set_2", "set_3"):
        (project.places.receipts / f"{name}.json").unlink()
    assert [one.spared_for for one in maintain(copied, Work(vacuum_days=7)).tables] == [None, None]


def test_tables_that_no_view_uses_are_dropped(copied: Bench) -> None:
    project = copied.project
    old = OnlineTable("usage__0ld", (("meter", "string"),), (("kwh", "double"),))
    project.store.create(old)
    shutil.copytree(copied.view_path("usage"), project.places.view("usage__0lder"))
    shown = [step.table for step in applying.plan(project).steps if hasattr(step, "table")]
    done = maintain(copied, Work(drop_old=True))
    assert done.dropped == shown == ["usage__0ld", "usage__0lder"]
    assert project.store.tables() == [view_table(project.view("usage"))]
    assert [path.name for path in project.places.views.iterdir()] == project.store.tables()
    assert done.views == []
    assert maintain(copied, Work(drop_old=True)).dropped == []
    assert parity(copied) == 0


class Rewritten:
    """A session in which other processes rewrite the same files at the same time, so often."""

    def __init__(self, spark: SparkSession, times: int) -> None:
        self._spark, self._left = spark, times

    def newSession(self) -> Rewritten:  # noqa: N802 (as Spark calls it)
        return self

    def sql(self, statement: str) -> Any:
        if statement.startswith("OPTIMIZE") and self._left:
            self._left -= 1
            raise ConcurrentDeleteReadException("files were rewritten", "")
        return self._spark.sql(statement)


def test_a_table_that_others_rewrite_is_tried_again(copied: Bench) -> None:
    path = copied.project.places.events("daily")
    twice: Any = Rewritten(copied.spark, 2)
    assert maintenance.optimize(twice, path).replaced > 0
    ever: Any = Rewritten(copied.spark, 9)
    with pytest.raises(StateError, match="another process rewrote files"):
        maintenance.optimize(ever, path)


def test_a_running_stream_lands_the_marker(bench: Bench) -> None:
    """Rows of a view that it publishes, and of one that a batch does, are mended beside it."""
    rows = payments(random.Random(71), 90)
    defined(bench)
    stopped, took = threading.Event(), threading.Semaphore(0)
    found: list[BaseException] = []

    def run() -> None:
        try:
            streaming.stream(
                bench.open(), ["activity"], stopped=stopped, after_batch=lambda *_: took.release()
            )
        except BaseException as error:
            found.append(error)
        took.release()

    worker = threading.Thread(target=run)
    worker.start()
    try:
        send(bench, "0", map(line, rows[:70]))
        assert took.acquire(timeout=300)
        assert not found
        bench.materialize("history")
        for view in VIEWS:
            execute(bench, view, "UPDATE {table} SET tl_state = x'00' WHERE card = 3")
            execute(bench, view, "DELETE FROM {table} WHERE card = 5")
        execute(bench, "activity", "UPDATE {table} SET newest = '1234567890123.45' WHERE card = 4")
        done = maintain(bench, Work(repair=True, optimize=True))
        assert [found.view for found in done.views] == list(VIEWS)
        for one, different in zip(done.views, (2, 1), strict=True):
            assert one.differing == {"missing": 1, "different": different, "unknown": 0}
            assert (one.repaired, one.left) == (1 + different, 0)
        assert [one.what for one in done.views[0].first if one.key == (4,)] == ["newest"]
        # Nothing is due after it, for those who wait for the stream to publish.
        assert not bench.materialize().changed
        send(bench, "1", map(line, rows[70:]))
        assert took.acquire(timeout=300)
    finally:
        stopped.set()
        worker.join(300)
    assert not worker.is_alive()
    assert not found, found
    bench.materialize()
    assert parity(bench) == 0
    landings = bench.project.landings("payments").all()
    assert sum(each.read for each in landings) == len(bench.events("payments"))
