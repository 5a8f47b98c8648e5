"""Files of a source that are not what they should be: told before Spark starts, with their path."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bad_input import FEATURES, Case, Make, Place, table
from tests.unit.bad_input.conftest import Refuse, Run

MATERIALIZE = ["materialize"]
HEADER = "order_id,shopper_id,amount,pieces,price,note,ordered_at\n"
LINE = "o1,1,1.5,1,2.50,fine,2024-05-01T12:00:00Z\n"
CSV = ('Files("data")', 'Files("data", format="csv")')
SCHEMA = pa.schema(
    [
        ("order_id", pa.string()),
        ("shopper_id", pa.int64()),
        ("amount", pa.float64()),
        ("pieces", pa.int64()),
        ("price", pa.decimal128(6, 2)),
        ("note", pa.string()),
        ("ordered_at", pa.timestamp("us", "UTC")),
    ]
)


def parquet(
    path: Path, schema: pa.Schema = SCHEMA, change: Callable[[bytes], bytes] | None = None
) -> None:
    pq.write_table(schema.empty_table(), path)
    if change is not None:
        path.write_bytes(change(path.read_bytes()))


def typed(**types: pa.DataType) -> Make:
    """A Parquet file in which some columns have other types; None leaves one out."""
    fields = [(f.name, types.get(f.name, f.type)) for f in SCHEMA]
    schema = pa.schema([(name, kind) for name, kind in fields if kind is not None])
    return lambda place: parquet(place.data / "1.parquet", schema)


def put(name: str, content: bytes | str = b"") -> Make:
    data = content.encode() if isinstance(content, str) else content

    def write(place: Place) -> None:
        (place.data / name).write_bytes(data)

    return write


def second(place: Place) -> None:
    parquet(place.data / "1.parquet")
    put("2.parquet", "no")(place)


def cut(place: Place) -> None:
    parquet(place.data / "1.parquet", change=lambda content: content[: len(content) // 2])


def file(name: str, make: Make, *told: str) -> Case:
    return Case(name, MATERIALIZE, ["source orders", *told], make=make)


def csv_file(name: str, file_name: str, content: bytes | str, *told: str) -> Case:
    command = ["--source", f"orders={{data}}/{file_name}", "materialize"]
    return Case(name, command, ["source orders", *told], make=put(file_name, content))


PARQUET = [
    file("no folder", lambda place: place.data.rmdir(), "there is nothing at", "--source orders="),
    file("empty folder", lambda _: None, "data holds no parquet file", ".parquet or .pq"),
    file("empty file", put("1.parquet"), "1.parquet is not a Parquet file", "write it again"),
    file("text in a Parquet file", put("1.parquet", HEADER + LINE), "is not a Parquet file"),
    file("half a Parquet file", cut, "1.parquet is not a Parquet file", "write it again"),
    file("missing column", typed(note=None), "1.parquet has no column note", "its columns: order"),
    file("misspelt column", lambda place: parquet(
         place.data / "1.parquet", pa.schema([("Order_id", pa.string()), *list(SCHEMA)[1:]])),
         "has no column order_id", "its columns: Order_id"),
    file("text for a number", typed(shopper_id=pa.string()), "column shopper_id of", "is a string",
         "declares bigint", "change the declared type"),
    file("fraction for a whole number", typed(pieces=pa.float64()), "is a double"),
    file("64 bits, unsigned", typed(pieces=pa.uint64()), "column pieces", "is a uint64"),
    file("number for a time", typed(ordered_at=pa.int64()), "column ordered_at", "is a int64",
         "declares timestamp"),
    file("wider decimal", typed(price=pa.decimal128(12, 2)), "column price", "decimal128(12, 2)",
         "declares decimal(6,2)"),
    file("list for a text", typed(note=pa.list_(pa.string())), "column note", "list<"),
    file("the second of two files", second, "2.parquet is not a Parquet file"),
    file("a Delta table", lambda place: (place.data / "_delta_log").mkdir(),
         "is a Delta table", "point Files(...) at those"),
    Case("path that is not there", ["--source", "orders={data}/none", "materialize"],
         ["there is nothing at", "data/none", "--source orders=PATH"]),
]  # fmt: skip
TEXT = [
    csv_file("empty CSV", "1.csv", "", "1.csv is empty",
             "begin with a header line"),
    csv_file("blank CSV", "1.csv", "\n\n", "1.csv is empty"),
    csv_file("missing CSV column", "1.csv", "order_id,amount\no1,1\n", "has no column shopper_id"),
    csv_file("semicolons", "1.csv", (HEADER + LINE).replace(",", ";"), "has no column order_id",
             "separated by commas"),
    csv_file("Parquet in a CSV file", "1.csv", b"PAR1\x15\x04\x15", "1.csv", "is not a CSV file"),
    csv_file("empty gz", "1.csv.gz", gzip.compress(b""), "1.csv.gz is empty"),
    csv_file("no gz", "1.csv.gz", HEADER + LINE, "1.csv.gz is not a gzip file"),
    csv_file("half a gz", "1.csv.gz", gzip.compress((HEADER + LINE).encode())[:20],
             "1.csv.gz is not a gzip file"),
    csv_file("missing gz column", "1.csv.gz", gzip.compress(b"order_id\no1\n"), "has no column"),
]  # fmt: skip


@table(*PARQUET, *TEXT)
def test_files_are_refused(case: Case, refuse: Refuse) -> None:
    refuse(case)


def test_what_is_not_read_of_a_folder_is_said(place: Place, run: Run) -> None:
    parquet(place.data / "1.parquet")
    put("2.csv", HEADER + LINE)(place)
    put("README.md", "about")(place)
    found = run("--json", "plan")
    assert found.code == 0
    assert "source orders reads parquet: 1 other data file in " in found.err
    assert "2.csv" in found.err
    assert "README" not in found.err
    place.features.write_text(FEATURES.replace(*CSV))
    assert "1.parquet" in run("plan").err
