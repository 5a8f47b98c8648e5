"""Two at once: two materialize, and OPTIMIZE and VACUUM beside one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from tests.faults import small_lake
from tests.faults.conftest import Lake
from tests.faults.laws import State, active_files, check_complete, log_of
from tests.faults.processes import no_process_left, wait_for
from tests.faults.test_kills import check_again
from twinlake.flows import training_sets
from twinlake.flows.materializing import materialize
from twinlake.lake import maintenance

DAYS_KEPT = 7


def test_the_second_lander_is_refused_and_the_first_completes(lake: Lake) -> None:
    state = lake.copy("first")
    with no_process_left() as started:
        first = lake.start(state, "materialize", TWINLAKE_CRASH_POINT="landing.committed:stop")
        started.append(first)
        first.wait_until_stopped()
        second = lake.run(state, "materialize")
        assert second.code == 3
        assert "another process is the lander of daily" in second.message
        assert "wait for it to end" in second.message
        first.go_on()
        assert first.wait().code == 0
    check_again(lake, state, "again")


def test_two_views_are_published_by_two_at_once(lake: Lake) -> None:
    state = lake.copy("first")
    with no_process_left() as started:
        first = lake.start(
            state, "materialize", "newest", TWINLAKE_CRASH_POINT="publishing.online_written:stop"
        )
        started.append(first)
        first.wait_until_stopped()
        same = lake.run(state, "materialize", "newest")
        assert same.code == 3
        assert "another process is the publisher of newest" in same.message
        other = lake.run(state, "materialize", "usage")
        assert other.code == 0, other.told
        assert other.document["views"]["usage"]["online_rows"] == small_lake.METERS
        first.go_on()
        assert first.wait().code == 0
    check_again(lake, state, "again")


def test_two_started_in_one_moment_do_the_work_once(lake: Lake) -> None:
    state = lake.copy("first")
    with no_process_left() as started:
        started += [lake.start(state, "materialize"), lake.start(state, "materialize")]
        ended = [one.wait() for one in started]
    assert {one.code for one in ended} <= {0, 3}
    for one in ended:
        assert (one.code == 0) != ("another process" in one.message), one.told
    assert lake.run(state, "materialize").code == 0
    check_again(lake, state, "again")


@contextmanager
def maintained(spark: SparkSession, tables: list[Path]) -> Iterator[Callable[[], int]]:
    """Run OPTIMIZE and VACUUM over tables until the body is done; tells it of rounds done."""
    done = threading.Event()
    rounds: list[int] = []
    failed: list[BaseException] = []

    def keep_on() -> None:
        try:
            while not done.is_set():
                for table in tables:
                    maintenance.optimize(spark, table)
                    maintenance.vacuum(spark, table, DAYS_KEPT)
                rounds.append(1)
        except BaseException as error:
            failed.append(error)

    def rounds_done() -> int:
        assert not failed, failed
        return len(rounds)

    worker = threading.Thread(target=keep_on)
    worker.start()
    try:
        yield rounds_done
    finally:
        done.set()
        worker.join()
    assert not failed, failed


def operations(table: Path) -> list[str]:
    return [actions[0]["commitInfo"]["operation"] for actions in log_of(table).values()]


def test_optimize_and_vacuum_beside_materialize_and_training_sets(
    lake: Lake, spark: SparkSession
) -> None:
    state = lake.copy("first")
    tables = [state.table(), *(state.table(view) for view in small_lake.VIEWS)]
    with maintained(spark, tables) as rounds_done:
        ended = lake.run(state, "materialize")
        assert ended.code == 0, ended.told
        with lake.open(state) as project:
            built = training_sets.build(project, "forecast", lake.spine)
        seen = rounds_done()
        wait_for(lambda: rounds_done() > seen + 1, "a whole round over what was written")
    assert "OPTIMIZE" in operations(state.table())
    check_complete(state, counts=small_lake.BOTH_COUNTS)
    assert built.receipt.content == lake.content
    _check_after_deleting_what_is_not_needed(lake, spark, state, tables)
    check_again(lake, state, "again")


def _check_after_deleting_what_is_not_needed(
    lake: Lake, spark: SparkSession, state: State, tables: list[Path]
) -> None:
    """The files that OPTIMIZE replaced are gone for good; the same set is built from the rest."""
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    try:
        for table in tables:
            maintenance.vacuum(spark, table, 0)
            assert set(table.rglob("*.parquet")) == set(active_files(table))
    finally:
        spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")
    with lake.open(state) as project:
        (name,) = training_sets.names(project)
        receipt = project.places.receipts / f"{name}.json"
        receipt.unlink()
        (project.places.training_set(name)).rename(state.folder / "scratch" / "moved away")
        again = training_sets.build(project, "forecast", lake.spine)
        assert again.built
        assert (again.name, again.receipt.content) == (name, lake.content)


def test_many_maintained_tables_do_not_hide_an_interrupted_publication(
    lake: Lake, spark: SparkSession
) -> None:
    """A dozen versions of OPTIMIZE and VACUUM lie on top of the commit that must be found."""
    state = lake.copy("first")
    killed = lake.start(state, "materialize", TWINLAKE_CRASH_POINT="publishing.rows_appended")
    assert killed.wait().code < 0
    for _ in range(6):
        spark.sql(f"VACUUM delta.`{state.table('newest')}`").collect()
    assert len(log_of(state.table("newest"))) > 12
    with lake.open(state) as project:
        materialize(project)
    check_again(lake, state, "again")
