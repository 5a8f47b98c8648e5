"""Every kind of damage is found and named; only what is spare is taken away.

Tables are written by hand here, file by file; tests/faults damages those that Delta wrote.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinlake.assurance.damage import Damage, find_damage, repair
from twinlake.registry.documents import Documents
from twinlake.registry.places import Places

Damaging = Callable[[Path], None]
STEP = 512


def write_sums(file: Path) -> None:
    content = file.read_bytes()
    sums = (zlib.crc32(content[i : i + STEP]) for i in range(0, len(content), STEP))
    body = b"".join(one.to_bytes(4, "big") for one in sums)
    head = b"crc\0" + STEP.to_bytes(4, "big")
    file.with_name(f".{file.name}.crc").write_bytes(head + body)


def write_table(table: Path, commits: int, checkpoint: int | None = None) -> None:
    """A table with a file of 2,000 rows in each commit."""
    log = table / "_delta_log"
    log.mkdir(parents=True)
    adds = []
    for number in range(commits):
        data = table / f"part {number}.parquet"
        rows = {"n": pa.array(range(number, number + 2_000)), "x": pa.array([number / 7] * 2_000)}
        pq.write_table(pa.table(rows), data, write_page_checksum=True, use_dictionary=False)
        write_sums(data)
        adds.append({"path": f"part%20{number}.parquet", "size": data.stat().st_size})
        actions = [{"commitInfo": {"inCommitTimestamp": number}}, {"add": adds[-1]}]
        commit = log / f"{number:020d}.json"
        commit.write_text("".join(json.dumps(action) + "\n" for action in actions))
        write_sums(commit)
        (log / f"{number:020d}.crc").write_text(json.dumps({"numFiles": number + 1}))
    if checkpoint is not None:
        file = log / f"{checkpoint:020d}.checkpoint.parquet"
        pq.write_table(pa.table({"add": pa.array(adds[: checkpoint + 1])}), file)
        write_sums(file)
        (log / "_last_checkpoint").write_text(json.dumps({"version": checkpoint}))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "state")
    write_table(made.events("daily"), 4, checkpoint=2)
    write_table(made.view("usage__12345678"), 2)
    for number in (1, 2, 3):
        Documents(made.state / "registry").create(number, {"format": 1})
    Documents(made.state / "landings" / "daily").create(3, {"read": 0})
    with closing(sqlite3.connect(made.state / "online.sqlite")) as opened, opened:
        opened.execute("CREATE TABLE t (a TEXT PRIMARY KEY)")
        opened.executemany("INSERT INTO t VALUES (?)", [(f"{n:01000}",) for n in range(50)])
    return made


def look(places: Places) -> list[Damage]:
    return find_damage(places, places.state / "online.sqlite")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)


def drop_last_line(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def forget_sums(file: Path) -> None:
    file.with_name(f".{file.name}.crc").unlink()


COMMIT = "_delta_log/00000000000000000003.json"
EARLY = "_delta_log/00000000000000000001.json"
CHECKPOINT = "_delta_log/00000000000000000002.checkpoint.parquet"


def test_a_whole_state_is_whole(places: Places) -> None:
    assert look(places) == []
    assert find_damage(Places(places.state / "nothing"), None) == []


@pytest.mark.parametrize("sums", [True, False], ids=["sums", "no sums"])
@pytest.mark.parametrize(
    ("name", "damaging"),
    [
        *((COMMIT, one) for one in (cut, empty, Path.unlink)),
        *((EARLY, one) for one in (cut, empty, Path.unlink)),
        *(("part 3.parquet", one) for one in (cut, flip, empty, Path.unlink)),
        *(("part 0.parquet", one) for one in (cut, flip, empty, Path.unlink)),
    ],
)
def test_a_damaged_file_of_a_table_is_named(
    places: Places, name: str, damaging: Damaging, *, sums: bool
) -> None:
    file = places.events("daily") / name
    if not sums:
        forget_sums(file)
    damaging(file)
    (found,) = look(places)
    assert found.file == file
    assert "backup" in found.fix
    assert repair([found]) == []


@pytest.mark.parametrize(
    ("sums", "told"), [(True, "checksums"), (False, "3 data files, its summary tells of 4")]
)
def test_a_commit_that_lost_a_line_is_told(places: Places, *, sums: bool, told: str) -> None:
    file = places.events("daily") / COMMIT
    drop_last_line(file)
    if not sums:
        forget_sums(file)
    (found,) = look(places)
    assert (found.file, found.shortcuts) == (file, ())
    assert told in found.found


@pytest.mark.parametrize("damaging", [cut, flip, empty])
def test_a_damaged_checkpoint_goes_where_all_commits_are_there(
    places: Places, damaging: Damaging
) -> None:
    file = places.events("daily") / CHECKPOINT
    damaging(file)
    (found,) = look(places)
    assert found.file == file
    assert repair([found]) == [
        file,
        file.with_name("_last_checkpoint"),
        file.with_name(f".{file.name}.crc"),
    ]
    assert look(places) == []


def test_a_newest_commit_that_left_no_trace_is_told_by_what_was_landed(places: Places) -> None:
    log = places.events("daily") / "_delta_log"
    for end in ("json", "crc"):
        (log / f"{3:020d}.{end}").unlink()
    (found,) = look(places)
    assert found.file == places.events("daily") / COMMIT
    assert "written down as 3" in found.found


@pytest.mark.parametrize("missing", [0, 1])
def test_a_damaged_checkpoint_stays_where_a_commit_is_missing(places: Places, missing: int) -> None:
    file = places.events("daily") / CHECKPOINT
    cut(file)
    (file.parent / f"{missing:020d}.json").unlink()
    (file.parent / f"{missing:020d}.crc").unlink()
    found = look(places)
    assert file in [one.file for one in found]
    assert repair(found) == []
    assert file.is_file()


def test_commits_before_a_checkpoint_may_be_gone(places: Places) -> None:
    log = places.events("daily") / "_delta_log"
    for number in (0, 1):
        for end in ("json", "crc"):
            (log / f"{number:020d}.{end}").unlink()
    assert look(places) == []
    # The files of those commits are known by the checkpoint.
    flip(places.events("daily") / "part 0.parquet")
    assert [one.file.name for one in look(places)] == ["part 0.parquet"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 9}'])
def test_a_pointer_to_no_checkpoint_is_taken_away(places: Places, content: str) -> None:
    pointer = places.events("daily") / "_delta_log" / "_last_checkpoint"
    pointer.write_text(content)
    (found,) = look(places)
    assert found.file == pointer
    assert repair([found]) == [pointer]
    assert look(places) == []


def test_a_view_is_made_anew_and_not_restored(places: Places) -> None:
    table = places.view("usage__12345678")
    cut(table / EARLY)
    (found,) = look(places)
    assert f"move {table} away, then run `twinlake apply`" in found.fix


@pytest.mark.parametrize("damaging", [cut, empty, Path.unlink])
def test_documents_are_looked_at(places: Places, damaging: Damaging) -> None:
    file = places.state / "registry" / f"{2:020d}.json"
    damaging(file)
    (found,) = look(places)
    assert found.file == file


@pytest.mark.parametrize("damaging", [cut, lambda file: file.write_bytes(b"x" * 5_000)])
def test_a_damaged_online_store_is_named(places: Places, damaging: Damaging) -> None:
    file = places.state / "online.sqlite"
    damaging(file)
    (found,) = look(places)
    assert found.file == file
    assert "made of the events" in found.fix
