"""Look at every file of a project's state, name the damaged ones, mend what can be mended.

Reads files by itself, without Spark: Delta's log as JSON, data by the checksums beside it or page
by page. Nothing is mended but what is only a shortcut to something that is whole: a checkpoint of a
Delta log, once every commit that it sums up is proved to be there.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.assurance.delta_log import DeltaLog
from twinlake.errors import StateError
from twinlake.models.receipts import Receipt
from twinlake.registry.documents import Documents
from twinlake.registry.places import Places

REPAIR = "`twinlake doctor --repair` takes it away: every commit that it sums up is there"
_BACKUP = "restore it from a backup of the state folder"
_CRC_HEAD = 8  # "crc\0" and the bytes per sum, 4 each


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not as it was written.

    Attributes:
        file: Which.
        found: What is wrong with it.
        fix: What to do.
        shortcuts: Files whose removal mends it; nothing is lost with them.
    """

    file: Path
    found: str
    fix: str
    shortcuts: tuple[Path, ...] = ()


def find_damage(places: Places, online: Path | None) -> list[Damage]:
    """Look at everything below the state folder, and at the file of the online store."""
    found = [*_documents(places.state), *_receipts(places)]
    for log in sorted((places.state / "lake").rglob("_delta_log")):
        found += _table(places, log)
    if online is not None and online.exists():
        found += _sqlite(online)
    return found


def repair(damages: list[Damage]) -> list[Path]:
    """Take shortcuts away that are damaged; give what was taken away."""
    gone = []
    for path in dict.fromkeys(path for damage in damages for path in damage.shortcuts):
        if path.exists():
            path.unlink()
            gone.append(path)
    return gone


def _documents(state: Path) -> Iterator[Damage]:
    folders = {file.parent for name in ("registry", "landings", "publications")
               for file in (state / name).rglob("*.json")}  # fmt: skip
    for folder in sorted(folders):
        documents = Documents(folder)
        numbers = documents.numbers()
        for number in numbers:
            try:
                documents.read(number)
            except StateError as error:
                yield Damage(folder / f"{number:020d}.json", error.message, _BACKUP)
        if folder.name == "registry":
            for number in sorted(set(range(1, max(numbers) + 1)) - set(numbers)):
                yield Damage(folder / f"{number:020d}.json", "it is missing", _BACKUP)


def _receipts(places: Places) -> Iterator[Damage]:
    for file in sorted(places.receipts.glob("*.json")):
        try:
            Receipt.from_json(file.read_text(encoding="utf-8"))
        except (StateError, ValueError) as error:
            fix = "move it away and build the training set again: the same inputs give the same"
            yield Damage(file, str(error), fix)


def _table(places: Places, folder: Path) -> Iterator[Damage]:
    log = DeltaLog(folder)
    remedy = _remedy(places, log.table)
    newest = max(log.commits, default=-1)
    if log.table == places.events(log.table.name):
        landed = Documents(places.state / "landings" / log.table.name).numbers()
        if landed and landed[-1] > newest:
            problem = f"it is missing, and what it landed is written down as {landed[-1]}"
            yield Damage(log.commit_file(landed[-1]), problem, remedy)
    looked_at = {file: _parquet_problem(file) for file in log.checkpoint_files()}
    broken = {file: wrong for file, wrong in looked_at.items() if wrong}
    for number, problem in log.damaged_commits(sums_problem, broken).items():
        yield Damage(log.commit_file(number), problem, remedy)
    is_spare = log.is_whole_without(broken)
    fix = REPAIR if is_spare else remedy
    for file, problem in broken.items():
        yield Damage(file, problem, fix, _with_sums(file, log.pointer) if is_spare else ())
    if pointed := log.pointer_problem():
        yield Damage(log.pointer, pointed, fix, _with_sums(log.pointer) if is_spare else ())
    for file, size in log.active_files(broken).items():
        if wrong := _size_problem(file, size) or _parquet_problem(file):
            yield Damage(file, wrong, remedy)


def _remedy(places: Places, table: Path) -> str:
    if table.parent == places.views:
        return (
            f"the view is made of its events: move {table} away, then run `twinlake apply` and "
            "`twinlake materialize`"
        )
    if table == places.training_set(table.name):
        receipt = places.receipts / f"{table.name}.json"
        return f"move {table} and {receipt} away and build it again: the same inputs give the same"
    return f"{_BACKUP}; until then nothing reads or writes the table"


def _with_sums(*files: Path) -> tuple[Path, ...]:
    sums = (file.with_name(f".{file.name}.crc") for file in files)
    return (*files, *sums)


def _size_problem(file: Path, size: int) -> str | None:
    if not file.is_file():
        return "it is missing"
    found = file.stat().st_size
    return None if found == size else f"it has {found:,} bytes, {size:,} were written"


def _parquet_problem(file: Path) -> str | None:
    """Tell what is wrong with a Parquet file; every byte of it is looked at."""
    try:
        if (problem := sums_problem(file)) is not None:
            return problem
        if file.with_name(f".{file.name}.crc").is_file():
            pq.read_metadata(file)
        else:
            pq.ParquetFile(file, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        return f"it cannot be read as Parquet: {str(error).splitlines()[0]}"
    return None


def sums_problem(file: Path) -> str | None:
    """Compare a file with the checksums that Hadoop keeps beside it, where it does."""
    sums = file.with_name(f".{file.name}.crc")
    if not sums.is_file() or not file.is_file():
        return None
    wanted = sums.read_bytes()
    if len(wanted) < _CRC_HEAD or wanted[:4] != b"crc\0":
        return f"its checksums in {sums.name} cannot be read"
    step = int.from_bytes(wanted[4:_CRC_HEAD], "big")
    content = file.read_bytes()
    found = b"".join(
        zlib.crc32(content[start : start + step]).to_bytes(4, "big")
        for start in range(0, len(content), step)
    )
    if found == wanted[_CRC_HEAD:]:
        return None
    return "its content does not have the checksums that it was written with"


def _sqlite(file: Path) -> Iterator[Damage]:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            found = str(opened.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        fix = (
            f"the online rows are made of the events: move {file} and {file.name}-wal away, then "
            "run `twinlake apply` and `twinlake materialize`"
        )
        yield Damage(file, found, fix)
