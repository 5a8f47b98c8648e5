"""Bad data: what is refused leaves all as it was; what is quarantined is counted, row by row."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from tests.bad_input import FEATURES, Case, Place, Result, assert_refused, call, table, tree
from twinlake.cli.context import Context
from twinlake.clock import now_us
from twinlake.flows.project import Project
from twinlake.lake import tables

PROGRAM = Path(sys.executable).parent / "twinlake"
Cells = dict[str, Any]
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
FINE: Cells = {
    "shopper_id": 1, "amount": 1.5, "pieces": 1, "price": Decimal("2.50"), "note": "fine",
    "ordered_at": dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC),
}  # fmt: skip
AHEAD = "event timestamp more than 1d ahead of its landing"
DAY_US = 86_400_000_000


def at(year: int, month: int = 5, day: int = 1) -> dt.datetime:
    return dt.datetime(year, month, day, 12, tzinfo=dt.UTC)


# Order, what is special about it, and why it is quarantined; None: it is accepted.
ROWS: list[tuple[str, Cells, str | None]] = [
    ("fine", {}, None),
    ("nulls", {"amount": None, "pieces": None, "price": None, "note": None}, None),
    ("nan", {"amount": float("nan")}, "amount: not a finite number"),
    ("infinity", {"amount": float("inf")}, "amount: not a finite number"),
    ("minus infinity", {"amount": float("-inf")}, "amount: not a finite number"),
    ("no key", {"shopper_id": None}, "shopper_id: a key must not be null"),
    ("no time", {"ordered_at": None}, "no event timestamp"),
    ("next century", {"ordered_at": at(2126)}, AHEAD),
    ("year 9999", {"ordered_at": at(9999)}, AHEAD),
    ("before 1970", {"ordered_at": at(1969), "shopper_id": 2}, None),
    ("1900", {"ordered_at": at(1900), "shopper_id": 3}, None),
    ("1899", {"ordered_at": at(1899)}, "event timestamp before 1900"),
    ("year 1", {"ordered_at": at(1)}, "event timestamp before 1900"),
    ("two reasons", {"shopper_id": None, "amount": float("nan")}, "not a finite number"),
    ("injection", {"note": "'); DROP TABLE orders; --", "shopper_id": 4}, None),
]
# Files of other units and zones: type of the time, its value, what it is then.
INSTANT = dt.datetime.fromisoformat("2024-05-02T12:00:00")  # as Spark gives it: without zone
TIMES: dict[str, tuple[pa.DataType, Any, dt.datetime]] = {
    "nanoseconds": (pa.timestamp("ns", "UTC"), 1_714_651_200_000_000_999, INSTANT),
    "nanoseconds before 1970": (
        pa.timestamp("ns", "UTC"), -1, dt.datetime.fromisoformat("1969-12-31T23:59:59.999999")
    ),
    "without zone": (pa.timestamp("us"), INSTANT, INSTANT),
    "nanoseconds without zone": (pa.timestamp("ns"), 1_714_651_200_000_000_000, INSTANT),
    "other zone": (pa.timestamp("us", "Asia/Tokyo"), at(2024, 5, 2), INSTANT),
    "milliseconds": (pa.timestamp("ms", "UTC"), at(2024, 5, 2), INSTANT),
}  # fmt: skip


def put(path: Path, rows: list[Cells], schema: pa.Schema = SCHEMA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


@pytest.fixture(scope="module")
def opened(spark: SparkSession) -> Iterator[None]:
    """Let the command use the lane's session instead of starting one of its own."""

    def open_project(context: Context) -> Project:
        return Project(
            context.settings(),
            environ=os.environ,
            now_us=now_us,
            tell=context.tell,
            sources=context.sources,
            spark=spark,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "open", open_project)
        yield


@dataclass(frozen=True)
class Shop:
    """A project that was applied and materialized, and what materialize answered."""

    place: Place
    answer: Result


def new_place(folder: Path, features: str = FEATURES) -> Place:
    place = Place(folder / "project", folder / "state")
    place.data.mkdir(parents=True)
    place.features.write_text(features, "utf-8")
    return place


Run = Callable[..., Result]


@pytest.fixture
def run(
    opened: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    def run_it(place: Place, *command: str) -> Result:
        return call(place, command, monkeypatch, capsys)

    return run_it


_SHOPS: dict[str, Shop] = {}


@pytest.fixture
def shop(
    opened: None,
    tmp_path_factory: pytest.TempPathFactory,
    run: Run,
) -> Shop:
    """Made once; cases are refused, so it stays as it was."""
    if "shop" not in _SHOPS:
        place = new_place(tmp_path_factory.mktemp("my sh`op's"))
        put(place.data / "rows.parquet", [{"order_id": i} | FINE | c for i, c, _ in ROWS])
        for name, (kind, value, _) in TIMES.items():
            field = SCHEMA.get_field_index("ordered_at")
            schema = SCHEMA.set(field, pa.field("ordered_at", kind))
            row = {"order_id": name} | FINE | {"shopper_id": 5, "ordered_at": value}
            put(place.data / f"{name}.parquet", [row], schema)
        assert run(place, "--json", "apply").code == 0
        _SHOPS["shop"] = Shop(place, run(place, "--json", "materialize"))
    return _SHOPS["shop"]


@pytest.fixture
def refuse(shop: Shop, run: Run) -> Callable[[Case], None]:
    def refuse_it(case: Case) -> None:
        place = shop.place
        if case.edit is not None:
            place.edit(*case.edit)
        if case.make is not None:
            case.make(place)
        before = tree(place.state)
        try:
            assert_refused(case, run(place, "--json", *case.command))
        finally:
            place.features.write_text(FEATURES, "utf-8")
        assert tree(place.state) == before

    return refuse_it


def test_rows_that_do_not_fit_are_quarantined_and_counted(shop: Shop, spark: SparkSession) -> None:
    found = shop.answer
    assert found.code == 0, found.err
    accepted = sum(reason is None for *_, reason in ROWS) + len(TIMES)
    quarantined = len(ROWS) + len(TIMES) - accepted
    counted = found.document["sources"]["orders"]
    assert counted["read"] == len(ROWS) + len(TIMES)
    assert (counted["accepted"], counted["duplicate"]) == (accepted, 0)
    assert counted["quarantined"] == quarantined
    events = tables.read(spark, shop.place.state / "lake" / "events" / "orders")
    stored = {row.order_id: row for row in events.collect()}
    for name, _, reason in ROWS:
        reasons = stored[name]["_reasons"]
        assert (reasons is None) == (reason is None), name
        assert reason is None or any(reason in said for said in reasons)
    assert len(stored["two reasons"]["_reasons"]) == 2
    for name, (_, _, instant) in TIMES.items():
        assert stored[name]["ordered_at"] == instant, name


def spoilt(place: Place) -> None:
    """A Parquet file with a footer, some of whose pages are something else."""
    path = place.project / "spoilt" / "1.parquet"
    put(path, [{"order_id": f"spoilt {n}"} | FINE | {"amount": n / 7} for n in range(5_000)])
    content = bytearray(path.read_bytes())
    content[1_000 : len(content) // 2] = b"?" * (len(content) // 2 - 1_000)
    path.write_bytes(content)


def half_zipped(place: Place) -> None:
    """A gzip file that begins well and ends too early."""
    header = ",".join(SCHEMA.names)
    lines = [f"zipped{n},{n % 7},{n / 7},1,2.50,fine,2024-05-01" for n in range(20_000)]
    content = gzip.compress("\n".join([header, *lines]).encode())
    (place.project / "half.csv.gz").write_bytes(content[: len(content) // 2])


FILES = [
    Case("spoilt pages", ["--source", "orders={project}/spoilt", "materialize"],
         ["source orders: ", "/spoilt/1.parquet cannot be read to its end", "nothing was landed",
          "write it again"], make=spoilt),
    Case("half a gzip file", ["--source", "orders={project}/half.csv.gz", "materialize"],
         ["/half.csv.gz cannot be read to its end"], make=half_zipped),
]  # fmt: skip


@table(*FILES)
def test_files_that_break_midway_are_refused(case: Case, refuse: Callable[[Case], None]) -> None:
    refuse(case)


SPINE = pa.schema([("shopper_id", pa.int64()), ("event_timestamp", pa.timestamp("us", "UTC"))])
BUILD = ["training-set", "build", "ranking", "--spine"]


def spine(*rows: tuple[Any, Any], **types: pa.DataType) -> Callable[[Path], object]:
    """A spine of these keys and times."""
    schema = pa.schema([(f.name, types.get(f.name, f.type)) for f in SPINE])
    return lambda path: put(
        path, [dict(zip(SPINE.names, row, strict=True)) for row in rows], schema
    )


def columns(**cells: Any) -> Callable[[Path], object]:
    """A spine of one row with these cells beside."""
    row = {"shopper_id": [1], "event_timestamp": pa.array([at(2024, 5, 3)], SPINE[1].type)}
    return lambda path: pq.write_table(pa.table(row | cells), path)


def text(content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


FINE_SPINE = spine((1, at(2024, 5, 3)))


def cut(path: Path) -> None:
    FINE_SPINE(path)
    path.write_bytes(path.read_bytes()[:-200])


def of_spine(
    name: str, make: Callable[[Path], object], *told: str, file: str = "spine.parquet"
) -> Case:
    def write(place: Place) -> None:
        place.project.joinpath(file).unlink(missing_ok=True)
        make(place.project / file)

    return Case(name, [*BUILD, f"{{project}}/{file}"], ["spine", file, *told], make=write)


def of_csv(name: str, content: str, *told: str) -> Case:
    return of_spine(name, text(content), *told, file="spine.csv")


SPINES = [
    of_spine("no spine", lambda _: None, "there is no spine at", "give the path"),
    of_spine("empty file", text(b""), "is not a Parquet file", "a .csv file with a header"),
    of_spine("text in a Parquet file", text("shopper_id\n1\n"), "is not a Parquet file"),
    of_spine("half a Parquet file", cut, "is not a Parquet file"),
    of_spine("no rows", spine(), "has no rows", "give at least one"),
    of_spine("no key column", lambda path: put(path, [], pa.schema(list(SPINE)[1:])),
             "has no column 'shopper_id'", "its columns: event_timestamp"),
    of_spine("no time column", lambda path: put(path, [], pa.schema(list(SPINE)[:1])),
             "has no column 'event_timestamp'"),
    of_spine("null key", spine((1, at(2024)), (None, at(2024))),
             "1 rows of 2 whose shopper_id is null", "leave those rows out"),
    of_spine("null time", spine((1, None), (2, None)), "2 rows of 2 whose event_timestamp"),
    of_spine("text for a key", spine(("abc", at(2024)), ("7", at(2024)), shopper_id=pa.string()),
             "1 rows of 2 whose shopper_id is null or cannot be read as bigint"),
    of_spine("fraction for a key", spine((1.5, at(2024)), (2.0, at(2024)), shopper_id=pa.float64()),
             "1 rows of 2 whose shopper_id", "cannot be read as bigint"),
    of_spine("boolean for a key", spine((True, at(2024)), shopper_id=pa.bool_()),
             "column shopper_id", "is a boolean", "bigint"),
    of_spine("number for a time", spine((1, 1_714_651_200), event_timestamp=pa.int64()),
             "column event_timestamp", "is a bigint", "timestamp"),
    of_spine("text for a time", spine((1, "yesterday"), event_timestamp=pa.string()),
             "event_timestamp is null or cannot be read as timestamp"),
    of_spine("column named as a feature", columns(note=["x"]),
             "has columns that the service makes itself: note", "rename or drop"),
    of_spine("column named as a feature, in capitals", columns(NOTE=["x"]), "itself: NOTE"),
    of_spine("one column twice", columns(label=[1], Label=[2]), "label", "upper", "rename"),
    of_spine("column that Delta cannot hold", columns(**{"a label": [1]}), "'a label'",
             "letters, digits and underscores"),
    of_spine("column that injects", columns(**{"x` int) --": [1]}), "letters, digits"),
    of_csv("empty CSV", "", "is empty", "header"),
    of_csv("semicolons", "shopper_id;event_timestamp\n1;2024-05-01\n",
           "has no column 'shopper_id'", "shopper_id;event_timestamp"),
    of_csv("ragged CSV", "shopper_id,event_timestamp,y\n1,2024-05-01,2\n1,2024-05-01\n1,2024-05-01,"
           "2,3\n", "2 rows of 3 that have another number of fields than the header"),
    of_csv("CSV with text for a key", "shopper_id,event_timestamp\nabc,2024-05-01\n",
           "1 rows of 1 whose shopper_id"),
    of_csv("CSV with text for a time", "shopper_id,event_timestamp\n1,noon\n",
           "1 rows of 1 whose event_timestamp"),
    of_spine("folder without a spine", lambda path: path.mkdir(), "holds neither Parquet",
             "give", file="empty"),
]  # fmt: skip


@table(*SPINES)
def test_spines_are_refused(case: Case, refuse: Callable[[Case], None]) -> None:
    refuse(case)


# What is legal although it looks odd: rows, and the status that each gets.
LEGAL: dict[str, tuple[Callable[[Path], object], dict[str, int]]] = {
    "one key and time twice": (
        spine((1, at(2024, 5, 3)), (1, at(2024, 5, 3)), (1, at(2024, 5, 3))), {"present": 3}
    ),
    "before 1970": (spine((2, at(1969, 5, 2)), (2, at(1968))), {"present": 1, "missing": 1}),
    "far in the future": (spine((1, at(2200)), (4, at(9999))), {"expired": 2}),
    "nanoseconds": (
        spine((5, 1_714_651_200_000_000_999), (5, 1_714_651_199_999_999_999),
              event_timestamp=pa.timestamp("ns", "UTC")), {"present": 1, "expired": 1}
    ),
    "without zone": (
        spine((5, INSTANT), event_timestamp=pa.timestamp("us")), {"present": 1}
    ),
    "day": (spine((1, dt.date(2024, 5, 3)), event_timestamp=pa.date32()), {"present": 1}),
    "text": (
        spine(("1", "2024-05-03T12:00:00Z"), shopper_id=pa.string(), event_timestamp=pa.string()),
        {"present": 1},
    ),
    "narrower key": (spine((1, at(2024, 5, 3)), shopper_id=pa.int16()), {"present": 1}),
    "whole floats": (spine((1.0, at(2024, 5, 3)), shopper_id=pa.float64()), {"present": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_spines_that_look_odd_are_taken(shop: Shop, run: Run, name: str) -> None:
    make, statuses = LEGAL[name]
    path = shop.place.project / "odd.parquet"
    make(path)
    found = run(shop.place, "--json", *BUILD, str(path))
    assert found.code == 0, found.err
    assert found.document["rows"] == sum(statuses.values())
    counted = {k: n for k, n in found.document["features"]["last_amount"].items() if n}
    assert counted == statuses
    assert "no row" not in found.err


def test_a_spine_older_than_all_data_is_built_and_said(shop: Shop, run: Run) -> None:
    path = shop.place.project / "old.parquet"
    spine((1, at(1850)), (4, at(1899)))(path)
    found = run(shop.place, "--json", *BUILD, str(path))
    assert found.code == 0, found.err
    assert found.document["features"]["last_amount"]["missing"] == 2
    assert (
        "view totals has a row for none of the spine's rows: they end at 1899-05-01T12:00:00Z, "
        "the first event of source orders is of 1900-05-01T12:00:00Z"
    ) in found.err
    again = run(shop.place, "--json", *BUILD, str(path))
    assert again.document["built"] is False
    assert "for none of the spine's rows" in again.err


def test_keys_that_no_source_knows_are_said(shop: Shop, run: Run) -> None:
    path = shop.place.project / "strangers.parquet"
    spine((77, at(2024, 5, 3)))(path)
    found = run(shop.place, "--json", *BUILD, str(path))
    assert found.code == 0
    assert "for none of the spine's rows: none of their keys was seen before them" in found.err


APPLY = ["apply"]
EVENT_ID = '    event_id="order_id",'


def sql(name: str, declared: str, *told: str) -> Case:
    return Case(name, APPLY, told, edit=(EVENT_ID, f"{EVENT_ID}\n    {declared},"))


EXPRESSIONS = [
    sql("condition that is no SQL", 'where="amount >"', "source orders, where", "Spark SQL"),
    sql("condition on an unknown column", 'where="amuont > 1"', "orders, where", "amuont"),
    sql("condition that is a number", 'where="amount"', "source orders, where", "mend"),
    sql("condition that injects", 'where="1 = 1); DROP TABLE orders; --"', "orders, where"),
    sql("condition with a second statement", 'where="true; DROP TABLE orders"', "orders, where"),
    sql("column that is no SQL", 'with_columns={"x": Derived("int", "1 +")}', "with_columns"),
    sql("column of an unknown function", 'with_columns={"x": Derived("int", "gauss(1)")}',
        "orders, with_columns", "gauss"),
    sql("two at once", 'where="a b c", expectations=[Expectation('
        '"expect_column_values_to_match_regex", column="ordered_at", regex="(")]', "source orders"),
]  # fmt: skip


@table(*EXPRESSIONS)
def test_expressions_are_refused(case: Case, refuse: Callable[[Case], None]) -> None:
    refuse(case)


MUCH = 2**62
HUGE = "x" * 600_000


def test_what_fits_no_number_and_no_row_is_named_and_can_be_mended(
    tmp_path: Path, run: Run
) -> None:
    place = new_place(tmp_path)
    big: Cells = {"shopper_id": 7, "note": HUGE}
    rows: list[Cells] = [
        {"pieces": MUCH},
        {"pieces": MUCH, "ordered_at": at(2024, 5, 2)},
        big,
        {"shopper_id": 8},
    ]
    put(place.data / "1.parquet", [{"order_id": f"{n}"} | FINE | r for n, r in enumerate(rows)])
    assert run(place, "apply").code == 0

    # In a process of its own, to hear all that Spark says about it.
    done = subprocess.run(
        [PROGRAM, "-C", place.project, "--state", place.state, "--json", "materialize"],
        env={**os.environ, "TWINLAKE_DRIVER_MEMORY": "1g", "TWINLAKE_SPARK_MASTER": "local[2]"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    case = Case("row above 1 MB", [], ["view totals is not published", "key (7,)", "1,200,",
                "at most 1,000,000 fit", "split the view"])  # fmt: skip
    assert_refused(case, Result(done.returncode, done.stdout, done.stderr))
    assert all(line.startswith(("[", "twinlake: ", "Hint: ")) for line in done.stderr.splitlines())
    never = run(place, "get", "ranking", "shopper_id=8")
    assert (never.code, "never published" in never.err) == (3, True)
    again = run(place, "--json", "materialize")
    assert (again.code, again.document["error"]) == (2, json.loads(done.stdout)["error"])

    text = FEATURES.replace('        Column("note"),\n', "")
    place.features.write_text(text)
    assert run(place, "apply").code == 0
    done_now = run(place, "--json", "materialize")
    assert done_now.code == 0, done_now.err
    assert done_now.document["views"]["totals"]["online_rows"] == 3
    found = run(place, "--json", "get", "ranking", "shopper_id=1").document["features"]
    assert {name: (one["value"], one["status"]) for name, one in found.items()} == {
        "last_amount": (1.5, "present"),
        "pieces_7d": (None, "overflow"),
    }
    assert run(place, "parity", "--all").code == 0

    derived = 'with_columns={"many": Derived("double", "pieces")},'
    text = text.replace(EVENT_ID, f"{EVENT_ID}\n    {derived}")
    text = text.replace('"sum", "pieces"', '"sum", "many"')
    place.features.write_text(text)
    assert run(place, "apply").code == 0
    found = run(place, "--json", "get", "ranking", "shopper_id=1")
    assert found.document["features"]["pieces_7d"]["value"] == float(2 * MUCH)
    assert run(place, "parity", "--all").code == 0
