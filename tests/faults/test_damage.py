"""Damaged files are detected and named; none is passed over, and what can be mended is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.faults import small_lake
from tests.faults.conftest import Lake
from tests.faults.laws import State, active_files, check_complete
from tests.faults.test_kills import check_again
from twinlake.assurance.damage import find_damage, repair
from twinlake.errors import StateError, TwinlakeError
from twinlake.flows import training_sets
from twinlake.flows.applying import apply
from twinlake.flows.materializing import materialize
from twinlake.flows.reading import read_service

Damaging = Callable[[Path], None]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def cut_between_lines(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def scramble(file: Path) -> None:
    file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)


def remove(file: Path) -> None:
    file.unlink()


def without_sums(damaging: Damaging) -> Damaging:
    """Damage a file whose checksums did not come along, as after a copy to another disk."""

    def both(file: Path) -> None:
        damaging(file)
        file.with_name(f".{file.name}.crc").unlink(missing_ok=True)

    both.__name__ = f"{damaging.__name__} without sums"
    return both


def move_away(path: Path, state: State) -> None:
    path.rename(state.folder.with_name(f"{state.folder.name} moved away"))


def newest_commit(state: State) -> Path:
    return max((state.table() / "_delta_log").glob("*.json"))


def damaged_files(lake: Lake, state: State) -> list[Path]:
    with lake.open(state) as project:
        return [one.file for one in find_damage(project.places, project.settings.online_path)]


def work(lake: Lake, state: State) -> None:
    """Read every table: materialize what is new, else recompute what is there."""
    with lake.open(state) as project:
        materialize(project)
        training_sets.build(project, "forecast", lake.spine)


def refused(lake: Lake, state: State) -> TwinlakeError:
    with pytest.raises(TwinlakeError) as caught:
        work(lake, state)
    assert caught.value.exit_code == 3
    return caught.value


def test_nothing_is_damaged_in_what_runs_leave(lake: Lake) -> None:
    for name in ("applied", "first", "both", "once", "built"):
        assert damaged_files(lake, lake.state(name)) == []


COMMITS = [cut, cut_between_lines, empty, scramble, remove, without_sums(cut), without_sums(empty)]


@pytest.mark.parametrize("damaging", COMMITS, ids=lambda one: one.__name__)
def test_a_torn_newest_commit_is_never_taken_for_an_older_table(
    lake: Lake, damaging: Damaging
) -> None:
    state = lake.copy("both")
    file = newest_commit(state)
    damaging(file)
    assert damaged_files(lake, state) == [file]
    (state.folder / "landings" / "daily" / "unused").mkdir()
    kept = state.versions(), state.landings(), state.online()
    error = refused(lake, state)
    assert "doctor --lake" in str(error) or file.name in str(error), error
    assert (state.versions(), state.landings(), state.online()) == kept


def test_without_sums_a_commit_that_lost_whole_lines_still_lacks_rows(lake: Lake) -> None:
    """What the log alone cannot tell is told by what was landed."""
    state = lake.copy("both")
    file = newest_commit(state)
    without_sums(cut_between_lines)(file)
    assert damaged_files(lake, state) == [file]
    error = refused(lake, state)
    assert str(state.table()) in str(error), error


DATA = [cut, flip_a_bit, empty, scramble, remove, without_sums(cut), without_sums(flip_a_bit)]


@pytest.mark.parametrize("damaging", DATA, ids=lambda one: one.__name__)
def test_a_damaged_data_file_is_named_and_no_row_is_left_out(
    lake: Lake, damaging: Damaging
) -> None:
    state = lake.copy("first")
    file = max(active_files(state.table()), key=lambda one: one.stat().st_size)
    damaging(file)
    assert damaged_files(lake, state) == [file]
    error = refused(lake, state)
    assert file.name in str(error), error
    assert error.hint is not None
    assert "doctor --lake" in error.hint


def with_checkpoint(lake: Lake, spark: SparkSession) -> tuple[State, Path]:
    state = lake.copy("first")
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(  # type: ignore[union-attr]
        spark._jsparkSession, str(state.table())
    )
    log.checkpoint()
    log.clearCache()
    (found,) = (state.table() / "_delta_log").glob("*.checkpoint.parquet")
    assert damaged_files(lake, state) == []
    return state, found


@pytest.mark.parametrize("damaging", [cut, flip_a_bit, empty, remove], ids=lambda d: d.__name__)
def test_a_damaged_checkpoint_is_taken_away_because_all_commits_are_there(
    lake: Lake, spark: SparkSession, damaging: Damaging
) -> None:
    state, file = with_checkpoint(lake, spark)
    damaging(file)
    pointer = file.with_name("_last_checkpoint")
    assert set(damaged_files(lake, state)) == {pointer if damaging is remove else file}
    with lake.open(state) as project:
        gone = repair(find_damage(project.places, project.settings.online_path))
    assert pointer in gone
    assert damaged_files(lake, state) == []
    work(lake, state)
    check_again(lake, state, "again")


def test_a_checkpoint_that_is_needed_is_not_taken_away(lake: Lake, spark: SparkSession) -> None:
    state, file = with_checkpoint(lake, spark)
    for name in ("00000000000000000000.json", "00000000000000000000.crc"):
        (file.parent / name).unlink()
    assert damaged_files(lake, state) == []
    cut(file)
    with lake.open(state) as project:
        found = find_damage(project.places, project.settings.online_path)
        assert file in [one.file for one in found]
        assert repair(found) == []
    assert file.exists()
    assert str(state.table()) in str(refused(lake, state))


@pytest.mark.parametrize("content", ["", "{", '{"version": 7}'])
def test_a_wrong_pointer_to_the_newest_checkpoint_is_named(
    lake: Lake, spark: SparkSession, content: str
) -> None:
    state, file = with_checkpoint(lake, spark)
    pointer = file.with_name("_last_checkpoint")
    pointer.with_name("._last_checkpoint.crc").unlink(missing_ok=True)
    pointer.write_text(content)
    assert damaged_files(lake, state) == [pointer]
    with lake.open(state) as project:
        repair(find_damage(project.places, project.settings.online_path))
    assert damaged_files(lake, state) == []
    work(lake, state)
    check_again(lake, state, "again")


@pytest.mark.parametrize("folder", ["registry", "landings/daily", "publications/usage"])
@pytest.mark.parametrize("damaging", [cut, empty, scramble], ids=lambda one: one.__name__)
def test_a_torn_document_is_named(lake: Lake, folder: str, damaging: Damaging) -> None:
    state = lake.copy("first")
    (file,) = (state.folder / folder).glob("*.json")
    damaging(file)
    assert damaged_files(lake, state) == [file]
    error = refused(lake, state)
    assert isinstance(error, StateError)
    assert str(file) in error.message
    assert "backup" in str(error.hint)


@pytest.mark.parametrize("view", small_lake.VIEWS)
def test_a_damaged_view_is_made_anew_as_the_doctor_says(lake: Lake, view: str) -> None:
    state = lake.copy("both")
    table = state.table(view)
    cut(newest := max((table / "_delta_log").glob("*.json")))
    with lake.open(state) as project:
        (found,) = find_damage(project.places, project.settings.online_path)
    assert found.file == newest
    assert f"move {table} away" in found.fix
    move_away(table, state)
    with lake.open(state) as project:
        apply(project)
        materialize(project)
    check_again(lake, state, "again")


@pytest.mark.parametrize("damaging", [cut, scramble, empty], ids=lambda one: one.__name__)
def test_a_damaged_online_store_is_made_anew_as_the_doctor_says(
    lake: Lake, damaging: Damaging
) -> None:
    state = lake.copy("both")
    file = state.folder / "online.sqlite"
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaging(file)
    if damaging is not empty:  # an empty file is how a new store begins
        assert damaged_files(lake, state) == [file]
    with lake.open(state) as project, pytest.raises(StateError) as caught:
        read_service(project, "forecast", [{"meter": f"m{n:04}"} for n in range(small_lake.METERS)])
    assert str(file) in str(caught.value)
    move_away(file, state)
    with lake.open(state) as project:
        apply(project)
        materialize(project)
    check_again(lake, state, "again")


def test_the_command_lists_and_repairs(lake: Lake, spark: SparkSession) -> None:
    state, file = with_checkpoint(lake, spark)
    cut(file)
    looked = lake.run(state, "doctor", "--lake")
    assert looked.code == 3
    (told,) = looked.document["damaged"]
    assert told["file"] == str(file)
    assert "doctor --repair" in told["fix"]
    mended = lake.run(state, "doctor", "--repair")
    assert mended.code == 0
    assert str(file) in mended.document["repaired"]
    assert json.loads(lake.run(state, "doctor", "--lake").answer)["ok"]
    work(lake, state)
    check_complete(state, counts=small_lake.BOTH_COUNTS)
