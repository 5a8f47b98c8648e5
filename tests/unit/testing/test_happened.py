"""Rows of a test: typed as their source's, and judged as the gate would."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pytest

from twinlake import Column, Derived, Entity, Expectation, FeatureView, Files, Source
from twinlake.errors import InputError
from twinlake.testing.happened import Happened, Rows, read_rows, table_rows

KINDS = {
    "i": "int", "x": "double", "f": "float", "m": "decimal(12,2)", "s": "string", "b": "boolean",
    "d": "date", "t": "timestamp", "raw": "binary",
}  # fmt: skip
SCHEMA = "k string, at timestamp, " + ", ".join(f"{n} {kind}" for n, kind in KINDS.items())
OWNER = Entity("owner", join_keys={"k": "string"})


def source(**changes: Any) -> Source:
    given: dict[str, Any] = {
        "name": "things",
        "schema": SCHEMA,
        "event_timestamp": "at",
        "batch": Files("things/"),
    }
    return Source(**(given | changes))


def read(rows: Rows, of: Source | None = None, where: Any = None) -> list[Happened]:
    of = of or source()
    return read_rows(of, rows, [FeatureView("v", OWNER, of, features=[Column("x")])], where)


def row(**cells: Any) -> dict[str, Any]:
    return {"k": "a", "at": "2022-01-01", **cells}


CELLS: list[tuple[str, Any, Any]] = [
    ("i", "7", 7), ("i", 7.0, 7), ("x", "7.5", 7.5), ("x", 3, 3.0),
    ("f", "0.1", 0.10000000149011612),
    ("m", "5.00", Decimal("5.00")), ("m", 5.1, Decimal("5.10")), ("s", "a b", "a b"), ("s", "", ""),
    ("b", "true", True), ("d", "2014-02-28", dt.date(2014, 2, 28)),
    ("t", "2022-01-01 10:00", dt.datetime(2022, 1, 1, 10, tzinfo=dt.UTC)),
    ("t", "2022-01-01T10:00+02:00", dt.datetime(2022, 1, 1, 8, tzinfo=dt.UTC)),
    ("t", dt.datetime(2022, 1, 1), dt.datetime(2022, 1, 1, tzinfo=dt.UTC)),  # noqa: DTZ001
    ("raw", b"\x00", b"\x00"), ("m", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "cell"), CELLS)
def test_a_cell_is_read_as_its_columns_type(name: str, given: Any, cell: Any) -> None:
    (found,) = read([row(**{name: given})])
    assert (type(found.cells[name]), found.cells[name]) == (type(cell), cell)


@pytest.mark.parametrize(
    ("name", "given"),
    [("i", "7.5"), ("i", 2**40), ("m", "5.001"), ("m", "x"), ("b", "yes"), ("d", "soon"), ("s", 5),
     ("raw", "text")],
)  # fmt: skip
def test_a_cell_of_another_type_is_refused_with_row_and_column(name: str, given: Any) -> None:
    with pytest.raises(InputError, match=f"row 2, {name}="):
        read([row(), row(**{name: given})])


def test_a_table_is_read_with_spaces_or_bars() -> None:
    spaced = """
        k  at                i  s
        a  2022-01-01 10:00  1  two words
        b  2022-01-02        -  -
    """
    barred = """
        | k | at               | i | s         |
        |---|------------------|---|-----------|
        | a | 2022-01-01 10:00 | 1 | two words |
        | b | 2022-01-02       | - | -         |
    """
    assert table_rows(spaced) == table_rows(barred)
    first, second = read(spaced)
    assert (first.cells["i"], first.cells["s"]) == (1, "two words")
    assert (second.cells["i"], second.cells["s"], second.cells["x"]) == (None, None, None)
    assert second.event_us == second.known_us == 1_641_081_600_000_000
    assert table_rows("") == [] == table_rows("k  at\n")


def test_a_line_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="row 2 of the table has 1 cells under 2 names: 'b'"):
        table_rows("k  at\na  2022-01-01\nb\n")


def test_an_unknown_column_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'at'"):
        read([{"k": "a", "att": "2022-01-01"}])


def test_what_lacks_key_or_time_or_is_no_number_is_quarantined() -> None:
    found = read(
        [
            row(),
            {"at": "2022-01-01"},
            {"k": "a"},
            row(at="1899-12-31"),
            row(x=math.nan),
            row(f="inf"),
            row(f=1e300),
        ]
    )
    assert [one.verdict for one in found] == ["accepted", *["quarantined"] * 6]
    assert [one.reason for one in found] == [
        "",
        "k: a key must not be null",
        "no event timestamp; no known timestamp",
        "event timestamp before 1900",
        "x: not a finite number",
        "f: not a finite number",
        "f: not a finite number",
    ]
    assert [one.takes_part for one in found] == [True, *[False] * 6]


def test_the_same_row_again_is_a_duplicate() -> None:
    assert [one.verdict for one in read([row(), row(), row(x=1)])] == [
        "accepted",
        "duplicate",
        "accepted",
    ]


def test_identities_are_given_where_no_row_has_one() -> None:
    named = source(event_id="s")
    assert [one.cells["s"] for one in read([row(), row()], named)] == ["row 1", "row 2"]
    assert [one.cells["i"] for one in read([row(), row()], source(event_id="i"))] == [1, 2]
    one, other = read([row(s="x"), row()], named)
    assert (one.verdict, other.verdict) == ("accepted", "quarantined")
    assert other.reason == "s: a key must not be null"
    pair = source(event_id=("k", "s"))
    assert [one.verdict for one in read([row(), row(s="x")], pair)] == ["quarantined", "accepted"]


def test_one_identity_for_two_contents_is_refused() -> None:
    named = source(event_id="s")
    assert [one.verdict for one in read([row(s="x"), row(s="x")], named)][1] == "duplicate"
    with pytest.raises(InputError, match=r"rows 1 and 2 .* identity s=x and other content"):
        read([row(s="x", i=1), row(s="x", i=2)], named)
    # What does not pass the gate claims no identity.
    nan, good = read([row(s="x", x=math.nan), row(s="x", x=1)], named)
    assert (nan.verdict, good.verdict) == ("quarantined", "accepted")


def test_expectations_quarantine_rows() -> None:
    positive = Expectation("expect_column_values_to_be_between", column="x", min_value=0)
    pattern = Expectation("expect_column_values_to_match_regex", column="s", regex="^a")
    found = read([row(x=-1), row(x=0, s="b")], source(expectations=[positive, pattern]))
    assert [one.verdict for one in found] == ["quarantined", "accepted"]
    assert found[0].reason == str(positive)


def test_derived_columns_come_with_the_rows() -> None:
    derived = source(
        with_columns={"end": Derived("timestamp", "date_add(d, 1)"), "y": Derived("int", "i + 1")},
        event_timestamp="end",
    )
    (found,) = read([{"k": "a", "end": "2022-01-02"}], derived)
    assert found.event_us == 1_641_081_600_000_000
    assert found.cells["y"] is None  # no view reads it
    with pytest.raises(InputError, match=r"row 2 has no end, .* date_add\(d, 1\)") as caught:
        read([{"k": "a", "end": None}, {"k": "a", "d": "2022-01-01"}], derived)
    assert "give end in the rows" in str(caught.value.hint)


def test_where_is_said_in_python() -> None:
    chosen = source(where="x > 0")
    with pytest.raises(InputError, match="only where x > 0, which Spark evaluates"):
        read([row(x=1)], chosen)
    found = read([row(x=1), row(x=-1)], chosen, lambda cells: cells["x"] > 0)
    assert [(one.verdict, one.takes_part) for one in found] == [
        ("accepted", True),
        ("accepted", False),
    ]
    assert read([], chosen) == []


def test_known_times_are_those_of_the_source() -> None:
    (found,) = read([row(t="2022-01-05")], source(known="t"))
    assert found.known_us == 1_641_340_800_000_000
    (found,) = read([row()], source(known="t"))
    assert found.reason == "no known timestamp"
    arrival = source(known="arrival")
    loaded, arrived = read([row(), row(_known_timestamp="2022-01-05")], arrival)
    assert loaded.known_us == loaded.event_us
    assert arrived.known_us == 1_641_340_800_000_000
    with pytest.raises(InputError, match="known at 'event', so _known_timestamp says nothing"):
        read([row(_known_timestamp="2022-01-05")])
