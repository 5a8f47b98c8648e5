"""What a stream noted of how far it is, damaged, gone, or older than its events."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.faults.streamed import Streamed
from tests.spark.test_streaming import VIEWS, defined
from twinlake.errors import StateError
from twinlake.lake.checkpoints import Checkpoint

Damage = Callable[[Path], Path]


def newest(folder: Path) -> Path:
    return max((f for f in folder.iterdir() if f.name.isdigit()), key=lambda f: int(f.name))


def checksum_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.crc")


def emptied(part: str) -> Damage:
    """Leave nothing in the newest file, as a power cut does; its checksum is gone too."""

    def damage(checkpoint: Path) -> Path:
        file = newest(checkpoint / part)
        checksum_of(file).unlink(missing_ok=True)
        file.write_bytes(b"")
        return file

    return damage


def cut(part: str, *, keeps_checksum: bool) -> Damage:
    """Leave the first half of the newest file."""

    def damage(checkpoint: Path) -> Path:
        file = newest(checkpoint / part)
        content = file.read_bytes()
        if not keeps_checksum:
            checksum_of(file).unlink(missing_ok=True)
        file.write_bytes(content[: len(content) // 2])
        return file

    return damage


def without_last_line(part: str) -> Damage:
    """Leave the newest file without its last line, so that what is there can be read."""

    def damage(checkpoint: Path) -> Path:
        file = newest(checkpoint / part)
        checksum_of(file).unlink(missing_ok=True)
        file.write_text("\n".join(file.read_text().splitlines()[:-1]))
        return file

    return damage


def removed(part: str, *, with_commit: bool = False) -> Damage:
    """Take the newest file away, and the commit of the same number where that is asked for."""

    def damage(checkpoint: Path) -> Path:
        file = newest(checkpoint / part)
        for one in [file, checkpoint / "commits" / file.name] if with_commit else [file]:
            checksum_of(one).unlink(missing_ok=True)
            one.unlink()
        return file

    return damage


REFUSED: dict[str, tuple[Damage, str]] = {
    "offsets empty": (emptied("offsets"), "is damaged"),
    "offsets cut": (cut("offsets", keeps_checksum=False), "is damaged"),
    "offsets cut, checksum kept": (cut("offsets", keeps_checksum=True), "is damaged"),
    "offsets without last line": (without_last_line("offsets"), "is damaged"),
    "offsets gone": (removed("offsets"), "ends at batch 0, but batch 1 of this stream was landed"),
    "offsets and commit gone": (removed("offsets", with_commit=True), "ends at batch 0"),
    "commit empty": (emptied("commits"), "is damaged"),
    "commit cut": (cut("commits", keeps_checksum=False), "is damaged"),
    "files empty": (emptied("sources/0"), "is damaged"),
}


@pytest.fixture
def streamed(spark: SparkSession, tmp_path: Path) -> Iterator[Streamed]:
    with Streamed(tmp_path, spark) as made:
        made.draw(31, 90)
        defined(made)
        yield made


def checkpoint_of(streamed: Streamed) -> Path:
    return streamed.folder / "state" / "streams" / "payments" / "checkpoint"


def test_one_that_is_of_no_use_is_refused_by_name_and_can_be_left_behind(
    streamed: Streamed,
) -> None:
    checkpoint, whole = checkpoint_of(streamed), streamed.folder / "whole"
    for _ in range(2):
        streamed.send(30)
        streamed.take_in()
    checkpoint.rename(whole)
    streamed.send(30)
    for name, (damage, told) in REFUSED.items():
        shutil.rmtree(checkpoint, ignore_errors=True)
        shutil.copytree(whole, checkpoint)
        file = damage(checkpoint)
        with pytest.raises(StateError) as refused:
            Checkpoint(checkpoint, "").refuse_unusable(1)
        assert told in refused.value.message, name
        assert str(file if told == "is damaged" else checkpoint) in refused.value.message, name
    ended = streamed.run("stream", *VIEWS, "--once")
    assert ended.code == 3, ended.told
    assert len(streamed.events("payments", "tid")) == 60
    assert f"remove {checkpoint} and start again" in ended.message
    shutil.rmtree(checkpoint)
    ended = streamed.run("stream", *VIEWS, "--once")
    assert ended.code == 0, ended.told
    counted = ended.document["sources"]["payments"]
    assert (counted["read"], counted["quarantined"]) == (90, 0)
    streamed.check(again=60)


def test_an_older_copy_is_refused(streamed: Streamed) -> None:
    """Its next batch has the number of one that was landed, and would be left out."""
    checkpoint, older = checkpoint_of(streamed), streamed.folder / "older"
    streamed.send(30)
    streamed.take_in()
    shutil.copytree(checkpoint, older)
    streamed.send(30)
    streamed.take_in()
    shutil.rmtree(checkpoint)
    older.rename(checkpoint)
    streamed.send(30)
    with pytest.raises(StateError, match="or it is an older copy"):
        streamed.take_in()
    shutil.rmtree(checkpoint)
    assert streamed.take_in().read == 90
    streamed.check(again=60)


@pytest.mark.parametrize("gone", ["newest", "all"])
def test_without_commits_a_batch_that_was_landed_is_not_landed_again(
    streamed: Streamed, gone: str
) -> None:
    commits = checkpoint_of(streamed) / "commits"
    for _ in range(2):
        streamed.send(30)
        streamed.take_in()
    if gone == "newest":
        removed("commits")(commits.parent)
    else:
        shutil.rmtree(commits)
    streamed.send(30)
    assert streamed.take_in().read == 30
    streamed.check()
