"""The input files of a source: which there are, how many rows, and whether they fit the schema.

Reads file names and Parquet footers only, so a plan over a large folder costs little.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.errors import InputError

_SUFFIXES = {"parquet": (".parquet", ".pq"), "csv": (".csv", ".csv.gz")}
# Arrow types that can be read as a declared type without losing anything.
_READABLE: dict[str, tuple[str, ...]] = {
    "string": ("string", "large_string"),
    "boolean": ("bool",),
    "tinyint": ("int8",),
    "smallint": ("int8", "int16", "uint8"),
    "int": ("int8", "int16", "int32", "uint8", "uint16"),
    "bigint": ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"),
    "float": ("float", "halffloat"),
    "double": ("float", "double", "int8", "int16", "int32"),
    "date": ("date32[day]",),
    "binary": ("binary", "large_binary"),
}


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of a source.

    Attributes:
        path: Where it lies.
        size_bytes: Its size.
        modified_ns: When it was last written, in nanoseconds since the epoch.
        rows: How many rows it holds; None where only reading it would tell.
    """

    path: str
    size_bytes: int
    modified_ns: int
    rows: int | None

    @property
    def key(self) -> str:
        """What tells this state of the file from any other."""
        return f"{self.path}|{self.size_bytes}|{self.modified_ns}"


def format_at(location: Path, declared: str) -> str:
    """Tell the format of the files at a path.

    The name of a file says it; a folder without a file of the declared format may hold another.

    Args:
        location: A file or a folder.
        declared: What it is where neither says otherwise.
    """
    other = next(name for name in _SUFFIXES if name != declared)
    if location.is_dir():
        names = {path.name.lower() for path in location.rglob("*") if path.is_file()}
        if any(name.endswith(_SUFFIXES[declared]) for name in names):
            return declared
        return other if any(name.endswith(_SUFFIXES[other]) for name in names) else declared
    return other if location.name.lower().endswith(_SUFFIXES[other]) else declared


def names_in(source: Source, found: Collection[str]) -> dict[str, str]:
    """Tell under which name a file holds each column of a source.

    Args:
        source: The source.
        found: The columns of the file.

    Returns:
        Column to its name in the file; without the columns that the file lacks.
    """
    others = source.batch.also_named if source.batch else {}
    named = {}
    for column in raw_columns(source):
        for name in (column, others.get(column, column)):
            if name in found:
                named[column] = name
                break
    return named


def csv_header(path: Path) -> tuple[str, ...]:
    """Read the names in the first line of a CSV file, plain or compressed; empty without one.

    Raises:
        OSError: The file cannot be read, or is not compressed as its name says.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        first = io.BytesIO(stream.readline(1 << 20))
    # Some programs begin a file with a byte order mark, which is no part of the first name.
    lines = io.TextIOWrapper(first, encoding="utf-8-sig", errors="replace", newline="")
    return tuple(name.strip() for name in next(csv.reader(lines, skipinitialspace=True), []))


def has_files(location: Path, file_format: str) -> bool:
    """Tell whether there is a file of a format at a place, without a look into any."""
    if location.is_file():
        return True
    return any(name.name.lower().endswith(_SUFFIXES[file_format]) for name in location.rglob("*"))


def list_files(source: Source, location: Path, file_format: str) -> list[InputFile]:
    """List a source's files, ordered by path, after a look at each one's schema.

    Args:
        source: The source that they belong to.
        location: A file or a folder; a folder is searched in depth.
        file_format: ``parquet`` or ``csv``.

    Raises:
        InputError: There is no such file, none of the format, or one that is not what its name
            says or does not fit the source's schema.
    """
    if not location.exists():
        raise InputError(
            f"source {source.name}: there is nothing at {location}",
            hint=f"point it elsewhere with --source {source.name}=PATH",
        )
    if (location / "_delta_log").is_dir():
        raise InputError(
            f"source {source.name}: {location} is a Delta table, whose folder also holds files "
            "with rows that it deleted",
            hint="write the table's rows to Parquet files and point Files(...) at those",
        )
    suffixes = _SUFFIXES[file_format]
    if location.is_file():
        paths = [location]
    else:
        paths = sorted(
            p for p in location.rglob("*") if p.is_file() and p.name.lower().endswith(suffixes)
        )
    if not paths:
        raise InputError(
            f"source {source.name}: {location} holds no {file_format} file",
            hint=f"files must end in {' or '.join(suffixes)}",
        )
    return [_describe(source, path, file_format) for path in paths]


def other_files(location: Path, file_format: str) -> list[Path]:
    """List the data files of a folder that a source of this format does not read."""
    others = tuple(s for kind, names in _SUFFIXES.items() if kind != file_format for s in names)
    return sorted(p for p in location.rglob("*") if p.is_file() and p.name.endswith(others))


def _describe(source: Source, path: Path, file_format: str) -> InputFile:
    state = path.stat()
    rows: int | None = None
    if file_format == "parquet":
        rows = _check_parquet(source, path)
    else:
        _check_csv(source, path)
    return InputFile(str(path.resolve()), state.st_size, state.st_mtime_ns, rows)


def _check_parquet(source: Source, path: Path) -> int:
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"source {source.name}: {path} is not a Parquet file: {str(error).splitlines()[0]}",
            hint="write it again, or take it out of the folder",
        ) from error
    named = _require_columns(source, path, schema.names)
    types = raw_columns(source)
    for column, name in named.items():
        declared = types[column]
        found = schema.field(name).type
        if not _readable(declared, found):
            raise InputError(
                f"source {source.name}: column {name} of {path} is a {found}, "
                f"the source declares {declared}",
                hint="change the declared type, or write the file with that type",
            )
    return int(rows)


def _readable(declared: str, found: pa.DataType) -> bool:
    if declared == "timestamp":
        return bool(pa.types.is_timestamp(found))
    if declared.startswith("decimal("):
        return bool(pa.types.is_decimal(found)) and str(found).endswith(
            declared[7:].replace(",", ", ")
        )
    return str(found) in _READABLE[declared]


def _check_csv(source: Source, path: Path) -> None:
    try:
        if _is_binary(path):
            raise InputError(
                f"source {source.name}: {path} is not a CSV file: its first line is no text",
                hint="write it again, or take it out of the folder",
            )
        header = csv_header(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"source {source.name}: {path} is not a gzip file, or not a whole one: {error}",
            hint="write it again, or take it out of the folder",
        ) from error
    if not any(header):
        raise InputError(
            f"source {source.name}: {path} is empty", hint="it must begin with a header line"
        )
    if len(header) == 1 and re.search(r"[;\t|]", header[0]):
        raise InputError(
            f"source {source.name}: {path} has no column {', '.join(raw_columns(source))}",
            hint=f"its fields must be separated by commas; its first line: {header[0][:80]}",
        )
    _require_columns(source, path, header)


def _is_binary(path: Path) -> bool:
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
        line = file.readline(1 << 20)
    return line.startswith(b"PAR1") or b"\0" in line


def _require_columns(source: Source, path: Path, found: Sequence[str]) -> dict[str, str]:
    named = names_in(source, found)
    may_lack = source.batch.may_lack if source.batch else ()
    missing = [name for name in raw_columns(source) if name not in {*named, *may_lack}]
    if missing:
        raise InputError(
            f"source {source.name}: {path} has no column {', '.join(missing)}",
            hint=f"its columns: {', '.join(found)}; a column that older files do not have is named "
            "in Files(may_lack=[...])",
        )
    return named
