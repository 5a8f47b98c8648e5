"""The files of a source: listed with their rows, and refused by name where they do not fit."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinlake import Files, Source
from twinlake.errors import InputError
from twinlake.registry.inputs import csv_header, format_at, list_files, names_in

SOURCE = Source(
    "orders",
    schema="id bigint, region string, amount double, price decimal(12,2), day date, at timestamp",
    event_timestamp="at",
    batch=Files("orders/"),
)
AT = datetime(2024, 5, 1, tzinfo=UTC)
COLUMNS: dict[str, pa.Array] = {
    "id": pa.array([1, 2], pa.int64()),
    "region": pa.array(["a", None]),
    "amount": pa.array([0.5, 1.5]),
    "price": pa.array([Decimal("1.25"), None], pa.decimal128(12, 2)),
    "day": pa.array([date(2024, 5, 1)] * 2),
    "at": pa.array([AT, AT], pa.timestamp("us", "UTC")),
}
HEADER = ",".join(COLUMNS)


def write(path: Path, without: str | None = None, **changes: pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: cells for name, cells in (COLUMNS | changes).items() if name != without}
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_files_are_listed_by_path_with_their_rows(tmp_path: Path) -> None:
    second = write(tmp_path / "b" / "part-1.snappy.parquet")
    first = write(tmp_path / "a.pq", more=pa.array([1, 2]))
    (tmp_path / "notes.txt").write_text("not data")
    (tmp_path / "b" / "_SUCCESS").touch()
    files = list_files(SOURCE, tmp_path, "parquet")
    assert [(file.path, file.rows) for file in files] == [(str(first), 2), (str(second), 2)]
    (alone,) = list_files(SOURCE, second, "parquet")
    assert alone == files[1]
    assert alone.size_bytes == second.stat().st_size


def test_a_file_that_changed_has_another_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    before = list_files(SOURCE, path, "parquet")[0].key
    assert list_files(SOURCE, path, "parquet")[0].key == before
    write(path, id=pa.array([1, 3], pa.int64()), more=pa.array(["x", "y"]))
    assert list_files(SOURCE, path, "parquet")[0].key != before


def test_a_file_without_rows_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    pq.write_table(pa.table(COLUMNS).slice(0, 0), path)
    assert [file.rows for file in list_files(SOURCE, path, "parquet")] == [0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": pa.array(["1", "2"])}, "column id of .* is a string, the source declares bigint"),
        ({"id": pa.array([1.0, 2.0])}, "column id of .* is a double"),
        ({"id": pa.array([1, 2], pa.uint64())}, "column id of .* is a uint64"),
        ({"amount": pa.array([1, 2], pa.int64())}, "column amount .* declares double"),
        ({"price": pa.array([1.5, 2.5])}, "column price .* declares decimal"),
        ({"price": pa.array([Decimal(1), None], pa.decimal128(12, 3))}, "is a decimal128"),
        ({"day": pa.array(["2024-05-01", None])}, "column day of .* is a string"),
        ({"at": pa.array(["now", "then"])}, "column at of .* declares timestamp"),
        ({"region": pa.array([b"a", None])}, "column region of .* is a binary"),
    ],
)
def test_a_column_of_another_type_is_named(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    write(tmp_path / "a.parquet")
    bad = write(tmp_path / "b.parquet", **change)
    with pytest.raises(InputError, match=told) as failure:
        list_files(SOURCE, tmp_path, "parquet")
    assert str(bad) in failure.value.message
    assert failure.value.message.startswith("source orders: ")


@pytest.mark.parametrize(
    "change",
    [
        {"id": pa.array([1, 2], pa.int16())},
        {"id": pa.array([1, 2], pa.uint32())},
        {"region": pa.array(["a", None], pa.large_string())},
        {"amount": pa.array([1.0, 2.0], pa.float32())},
        {"amount": pa.array([1, 2], pa.int32())},
        {"at": pa.array([AT, AT], pa.timestamp("ns"))},
        {"at": pa.array([AT, AT], pa.timestamp("ms", "UTC"))},
    ],
)
def test_types_that_lose_nothing_are_read(tmp_path: Path, change: dict[str, Any]) -> None:
    assert list_files(SOURCE, write(tmp_path / "a.parquet", **change), "parquet")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", without="price")
    with pytest.raises(InputError, match=r"a\.parquet has no column price") as failure:
        list_files(SOURCE, tmp_path, "parquet")
    assert "id, region, amount, day, at" in (failure.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"id,region\n1,a\n", b"PAR1" + b"\0" * 20 + b"PAR1"])
def test_what_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet is not a Parquet file") as failure:
        list_files(SOURCE, tmp_path, "parquet")
    assert failure.value.hint


def test_half_a_parquet_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"a\.parquet is not a Parquet file"):
        list_files(SOURCE, path, "parquet")


def test_csv_files_are_listed_by_their_header(tmp_path: Path) -> None:
    quoted = ", ".join(f'"{name}"' for name in reversed(COLUMNS))
    (tmp_path / "a.csv").write_text(f"{HEADER}\n1,a,0.5,1.25,2024-05-01,2024-05-01T00:00:00Z\n")
    (tmp_path / "b.csv").write_text(f"{quoted},more\r\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(HEADER.encode()))
    files = list_files(SOURCE, tmp_path, "csv")
    assert [(Path(file.path).name, file.rows) for file in files] == [
        ("a.csv", None),
        ("b.csv", None),
        ("c.csv.gz", None),
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty; it must begin with a header line"),
        (b"\n1,2\n", "is empty"),
        (HEADER.replace(",day", "").encode(), "has no column day"),
        (b"1,a,0.5,1.25,2024-05-01,now\n", "has no column id, region, amount, price, day, at"),
        (b"\xff\xfe\x00", "is not a CSV file"),
        (HEADER.replace("region", "area").encode(), "has no column region"),
    ],
)
def test_a_bad_csv_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as failure:
        list_files(SOURCE, tmp_path, "csv")
    said = f"{failure.value.message}; {failure.value.hint}"
    assert str(path) in said
    assert told in said


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    marked = b"\xef\xbb\xbf" + HEADER.encode() + b"\n"
    (tmp_path / "a.csv").write_bytes(marked)
    (tmp_path / "b.csv").write_bytes(b'\xef\xbb\xbf"id",' + HEADER.encode()[3:])
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(marked))
    assert len(list_files(SOURCE, tmp_path, "csv")) == 3
    assert {csv_header(path) for path in tmp_path.iterdir()} == {tuple(COLUMNS)}


def test_compressed_files_are_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(HEADER.replace(",day", "").encode()))
    with pytest.raises(InputError, match=r"a\.csv\.gz has no column day"):
        list_files(SOURCE, tmp_path, "csv")
    path.write_bytes(HEADER.encode())
    with pytest.raises(InputError, match=r"a\.csv\.gz is not a gzip file") as failure:
        list_files(SOURCE, tmp_path, "csv")
    assert "write it again" in (failure.value.hint or "")


def test_a_column_may_have_another_name_in_files(tmp_path: Path) -> None:
    other = replace(SOURCE, batch=Files("orders/", also_named={"region": "Area"}))
    write(tmp_path / "own.parquet")
    write(tmp_path / "other.parquet", without="region", Area=pa.array(["a", None]))
    assert len(list_files(other, tmp_path, "parquet")) == 2
    (tmp_path / "a.csv").write_text(HEADER.replace("region", "Area"))
    assert len(list_files(other, tmp_path, "csv")) == 1
    # Where a file has both, its own name counts.
    assert names_in(other, ["Area", "region"]) == {"region": "region"}
    assert names_in(other, ["Area", "id"]) == {"id": "id", "region": "Area"}
    with pytest.raises(InputError, match=r"other\.parquet has no column region"):
        list_files(SOURCE, tmp_path, "parquet")
    write(tmp_path / "bad.parquet", without="region", Area=pa.array([1, 2]))
    with pytest.raises(InputError, match=r"column Area of .*bad\.parquet is a int64"):
        list_files(other, tmp_path, "parquet")


def test_a_column_may_be_younger_than_a_file(tmp_path: Path) -> None:
    younger = replace(SOURCE, batch=Files("orders/", may_lack=["region"]))
    write(tmp_path / "old.parquet", without="region")
    write(tmp_path / "new.parquet")
    (tmp_path / "old.csv").write_text(HEADER.replace(",region", "").replace("region,", ""))
    assert len(list_files(younger, tmp_path, "parquet")) == 2
    assert len(list_files(younger, tmp_path, "csv")) == 1
    for name in ("parquet", "csv"):
        with pytest.raises(InputError, match=rf"old\.{name} has no column region") as failure:
            list_files(SOURCE, tmp_path, name)
        assert "may_lack" in (failure.value.hint or "")
    write(tmp_path / "bad.parquet", region=pa.array([1, 2]))
    with pytest.raises(InputError, match=r"column region of .*bad\.parquet is a int64"):
        list_files(younger, tmp_path, "parquet")


def test_what_lies_at_another_path_says_its_format(tmp_path: Path) -> None:
    folder, empty = tmp_path / "blocks", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    (folder / "block_0.CSV").touch()
    found = [format_at(folder, "parquet"), format_at(empty, "parquet"), format_at(empty, "csv")]
    assert found == ["csv", "parquet", "csv"]
    (folder / "a.pq").touch()
    assert (format_at(folder, "parquet"), format_at(folder, "csv")) == ("parquet", "csv")
    names = {"a.csv": "csv", "a.csv.gz": "csv", "a.parquet": "parquet", "a": "csv"}
    assert {name: format_at(tmp_path / name, "csv") for name in names} == names


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_a_folder_without_files_is_named(tmp_path: Path, file_format: str) -> None:
    with pytest.raises(InputError, match=f"holds no {file_format} file") as failure:
        list_files(SOURCE, tmp_path, file_format)
    assert f".{file_format}" in (failure.value.hint or "")
    with pytest.raises(InputError, match="there is nothing at") as failure:
        list_files(SOURCE, tmp_path / "nowhere", file_format)
    assert "--source orders=PATH" in (failure.value.hint or "")
