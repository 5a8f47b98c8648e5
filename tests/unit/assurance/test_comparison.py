"""Parity's comparison: equal rows give no difference, and one changed cell is just that one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from tests.unit.assurance import naive
from tests.unit.assurance.naive import Happened
from twinlake.assurance.comparison import (
    EVENTS,
    MAX_EXAMPLES,
    OFFLINE,
    ONLINE,
    Comparison,
    compare,
    same,
)
from twinlake.assurance.recompute import Shape
from twinlake.definitions.views import Feature

AS_OF = 35
FEATURES = {
    "x": (Feature("x", "double", "x"), pa.float64()),
    "sum_20": (Feature("sum_20", "double", "x", "sum", 20), pa.float64()),
    "rows_20": (Feature("rows_20", "bigint", None, "count", 20), pa.int64()),
    "max_40": (Feature("max_40", "decimal(9,2)", "d", "max", 40), pa.decimal128(9, 2)),
    "s": (Feature("s", "string", "s"), pa.string()),
    "day": (Feature("day", "date", "day", "last", 20), pa.date32()),
    "seen": (Feature("seen", "timestamp", "seen"), pa.timestamp("us", "UTC")),
    "b": (Feature("b", "boolean", "b"), pa.bool_()),
}
SHAPE = Shape([feature for feature, _ in FEATURES.values()], {"d": 2}, 10, 30)
COLUMNS = {
    "x": pa.float64(), "d": pa.decimal128(9, 2), "s": pa.string(), "day": pa.date32(),
    "seen": pa.timestamp("us", "UTC"), "b": pa.bool_(),
}  # fmt: skip
SCHEMA = pa.schema(
    [("side", pa.int32()), ("id", pa.int64()), ("region", pa.string())]
    + [
        (name, pa.int64())
        for name in ("event_us", "known_us", "hash_a", "hash_b", "version", "row", "as_of_us")
    ]
    + [(f"c_{name}", kind) for name, kind in COLUMNS.items()]
    + [(f"{side}_{name}", kind) for name, (_, kind) in FEATURES.items() for side in "fs"]
    + [(f"t_{name}", pa.string()) for name in FEATURES]
    + [("is_valid", pa.bool_()), ("problem", pa.string())]
)
EVER = ((-100, 100),)
Row = dict[str, Any]


def happened(key: int) -> list[tuple[int, Happened]]:
    """The events of a key, each with its ingest version; one is late, two are at one time."""
    cells = {
        "x": 0.1 * key, "d": Decimal("1.25") * key, "s": f"home {key}", "day": date(2024, 1, key),
        "seen": datetime(2024, 1, key, tzinfo=UTC), "b": key % 2 == 0,
    }  # fmt: skip
    nothing = dict.fromkeys(cells)
    return [
        (1, Happened(3, 3, 1, cells)),
        (1, Happened(12, 12, 2, nothing)),
        (1, Happened(25, 25, 3, cells | {"x": 0.2})),
        (2, Happened(25, 25, 4, cells | {"x": 0.7, "s": None})),
        (2, Happened(8, 30, 5, cells | {"x": 5.5})),
    ]


def rows_of(key: int) -> list[Row]:
    """All three sides of a key, right in every cell."""
    base: Row = {"id": key, "region": f"r{key}"}
    events = happened(key)
    rows = []
    for number, (version, row) in enumerate(events):
        at = base | {
            "event_us": row.event_us,
            "known_us": row.known_us,
            "version": version,
            "row": number,
        }
        cells = {f"c_{name}": cell for name, cell in row.cells.items()}
        rows.append(at | cells | {"side": EVENTS, "hash_a": 0, "hash_b": row.tie})
        rows.append(
            at | values([e for _, e in events], row.event_us, row.known_us, "f") | {"side": OFFLINE}
        )
    all_rows = [row for _, row in events]
    newest_us = max(row.event_us for row in all_rows)
    served = values(all_rows, AS_OF, AS_OF, "f")
    rows.append(
        base
        | {"side": ONLINE, "event_us": newest_us, "known_us": 25, "version": 2, "as_of_us": AS_OF}
        | served
        | values(all_rows, newest_us, 1_000, "s")
        | {f"t_{name}": "null" if served[f"f_{name}"] is None else "present" for name in FEATURES}
    )
    return rows


def values(rows: list[Happened], as_of_us: int, known_us: int, side: str) -> Row:
    seen = naive.visible(rows, as_of_us, known_us)
    return {
        f"{side}_{name}": naive.value(feature, seen, as_of_us, 10)
        for name, (feature, _) in FEATURES.items()
    }


def report(
    rows: list[Row], *, version: int = 2, covered: Any = EVER, schema: pa.Schema = SCHEMA
) -> tuple[dict[str, Row], list[Row]]:
    """Compare rows in two batches; give the totals by check, and the differences."""
    batches = [
        pa.RecordBatch.from_pylist(part, schema=schema) for part in (rows[::2], [], rows[1::2])
    ]
    comparison = Comparison(("id", "region"), SHAPE, version, covered)
    (out,) = compare(iter(batches), comparison)
    lines = out.to_pylist()
    totals = {line["check"]: line for line in lines if line["key"] is None}
    return totals, [line for line in lines if line["key"] is not None]


def both() -> list[Row]:
    return rows_of(1) + rows_of(2)


def side_of(rows: list[Row], side: int, key: int = 2) -> list[Row]:
    return [row for row in rows if row["side"] == side and row["id"] == key]


def named(key: int) -> str:
    return json.dumps({"id": key, "region": f"r{key}"})


def mismatches(totals: dict[str, Row]) -> dict[str, int]:
    return {check: line["mismatches"] for check, line in totals.items() if line["mismatches"]}


def test_equal_sides_have_no_difference() -> None:
    totals, differences = report(both())
    assert differences == []
    assert mismatches(totals) == {}
    # Per key five offline rows and one online row, each of eight features and its time.
    assert [totals[check]["rows"] for check in ("offline", "stored", "served")] == [10, 2, 2]
    assert [totals[check]["cells"] for check in ("offline", "stored", "served")] == [90, 18, 16]
    nulls = sum(
        value is None
        for row in both()
        if row["side"] == OFFLINE
        for name, value in row.items()
        if name.startswith("f_")
    )
    assert totals["offline"]["nulls"] == nulls > 0


def test_no_rows_have_no_difference() -> None:
    for rows in ([], [row for row in both() if row["side"] == EVENTS and row["version"] > 2]):
        totals, differences = report(rows)
        assert (mismatches(totals), differences) == ({}, [])


OTHER: dict[str, Any] = {
    "x": math.nextafter(0.7, 1), "sum_20": 1e9, "rows_20": 77, "max_40": Decimal("2.51"),
    "s": "other", "day": date(1999, 1, 1), "seen": datetime(1999, 1, 1, tzinfo=UTC), "b": False,
}  # fmt: skip


def text(cell: Any) -> str:
    """How a report writes a cell; instants come back with the zone that Arrow gives them."""
    if isinstance(cell, datetime):
        return repr(cell.replace(tzinfo=ZoneInfo("UTC")))
    return "null" if cell is None else repr(cell)


PLACES = [
    ("f", OFFLINE, "offline"), ("s", ONLINE, "stored"), ("f", ONLINE, "served")
]  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize(("prefix", "side", "check"), PLACES)
def test_one_changed_cell_is_that_difference(name: str, prefix: str, side: int, check: str) -> None:
    rows = both()
    (*_, row) = side_of(rows, side) if side == ONLINE else side_of(rows, side)[:4]
    before = row[f"{prefix}_{name}"]
    for wrong in (OTHER[name], None if before is not None else OTHER[name]):
        row[f"{prefix}_{name}"] = wrong
        totals, (difference,) = report(rows)
        assert mismatches(totals) == {check: 1}
        assert (difference["check"], difference["key"]) == (check, named(2))
        assert difference["feature"] == name
        assert difference["at_us"] == (AS_OF if check == "served" else 25)
        assert difference["expected"] == text(before)
        assert difference["found"] == text(wrong)


@pytest.mark.parametrize("status", ["null", "missing", "expired", None])
def test_one_changed_status_is_that_difference(status: str | None) -> None:
    rows = both()
    side_of(rows, ONLINE)[0]["t_x"] = status
    totals, (difference,) = report(rows)
    assert mismatches(totals) == {"served": 1}
    assert totals["served"]["cells"] == 16
    assert (difference["feature"], difference["expected"]) == ("x", "'present'")
    assert difference["found"] == ("null" if status is None else repr(status))


@pytest.mark.parametrize(
    ("found", "equal"),
    [
        (0.3, True),
        (math.nextafter(0.3, 1), False),
        (math.nextafter(0.3, 0), False),
        (None, False),
        (Decimal("0.3"), False),
    ],
)
def test_a_double_is_equal_bit_by_bit(found: Any, *, equal: bool) -> None:
    assert same(0.3, found) is equal


def test_what_equals_in_python_may_still_differ() -> None:
    assert not same(0.0, -0.0)
    assert not same(1, 1.0)
    assert not same(1, True)
    assert same(math.inf, math.inf)
    assert same(None, None)
    assert not same(None, 0)
    assert same(Decimal("1.50"), Decimal("1.5"))


def test_a_missing_offline_row_is_named() -> None:
    rows = both()
    rows.remove(side_of(rows, OFFLINE)[1])
    totals, (difference,) = report(rows)
    assert mismatches(totals) == {"offline": 1}
    found = {name: difference[name] for name in ("key", "feature", "at_us", "expected", "found")}
    assert found == {
        "key": named(2), "feature": "(row)", "at_us": 12, "expected": "'a row'", "found": "'no row'"
    }  # fmt: skip


def test_an_offline_row_too_many_is_named() -> None:
    rows = both()
    rows.append(side_of(rows, OFFLINE)[1] | {"row": 99})
    totals, (difference,) = report(rows)
    assert mismatches(totals) == {"offline": 1}
    assert (difference["expected"], difference["found"]) == ("'no row'", "'a row'")


def test_an_offline_row_of_another_time_is_named() -> None:
    rows = both()
    side_of(rows, OFFLINE)[1]["event_us"] = 13
    totals, (difference,) = report(rows)
    assert mismatches(totals) == {"offline": 1}
    assert (difference["feature"], difference["expected"]) == ("event_timestamp", "12")


def test_rows_are_wanted_where_they_were_computed_only() -> None:
    rows = both()
    totals, differences = report(rows, covered=((0, 12),))
    # Two of three rows at 25, and with them what is online, are outside.
    assert mismatches(totals) == {"offline": 4}
    assert {difference["at_us"] for difference in differences} == {25}
    inside = [row for row in rows if row["side"] != OFFLINE or row["event_us"] <= 12]
    totals, differences = report(inside, covered=((0, 12),))
    assert (mismatches(totals), differences) == ({}, [])
    assert totals["offline"]["rows"] == 6
    assert report(inside, covered=((3, 12),))[1][0]["at_us"] == 3


def test_a_missing_online_row_is_named() -> None:
    rows = both()
    rows.remove(side_of(rows, ONLINE)[0])
    totals, (difference,) = report(rows)
    assert mismatches(totals) == {"stored": 1}
    assert (difference["key"], difference["found"]) == (named(2), "'no row'")


def test_an_online_row_without_events_is_named() -> None:
    unknown = {"side": ONLINE, "id": 2, "region": "r2", "version": 0, "as_of_us": 25}
    rows = [*rows_of(1), unknown | {"problem": "no event"}]
    totals, (difference,) = report(rows)
    assert mismatches(totals) == {"stored": 1}
    assert (difference["key"], difference["found"]) == (named(2), "'no event'")


def test_a_newest_time_that_differs_is_named() -> None:
    rows = both()
    side_of(rows, ONLINE)[0]["event_us"] = 24
    totals, (difference,) = report(rows)
    assert mismatches(totals) == {"stored": 1}
    assert (difference["feature"], difference["found"]) == ("event_timestamp", "24")


def test_a_row_is_compared_at_its_own_version() -> None:
    rows = both()
    for key in (1, 2):
        old = [row for version, row in happened(key) if version == 1]
        (online,) = side_of(rows, ONLINE, key)
        served = values(old, AS_OF, AS_OF, "f")
        statuses = {f"t_{n}": "null" if served[f"f_{n}"] is None else "present" for n in FEATURES}
        online |= {"version": 1} | values(old, 25, 1_000, "s") | served | statuses
    offline = [row for row in rows if row["side"] != OFFLINE or row["version"] == 1]
    for row in offline:
        if row["side"] == OFFLINE:
            old = [each for version, each in happened(row["id"]) if version == 1]
            row.update(values(old, row["event_us"], row["known_us"], "f"))
    totals, differences = report(offline, version=1)
    assert (mismatches(totals), differences) == ({}, [])
    # The same online rows are too old where version 2 was published.
    stale = [row for row in rows if row["side"] == ONLINE]
    totals, differences = report([*stale, *(row for row in both() if row["side"] != ONLINE)])
    assert mismatches(totals) == {"stored": 2}
    assert {(d["feature"], d["expected"], d["found"]) for d in differences} == {
        ("(version)", "2", "1")
    }


def test_columns_that_are_served_too_long_are_named() -> None:
    rows = both()
    (online,) = side_of(rows, ONLINE, 1)
    differing = {name for name in FEATURES if online[f"f_{name}"] != online[f"s_{name}"]}
    assert differing
    online["is_valid"] = True
    totals, differences = report(rows)
    assert mismatches(totals) == {"served": len(differing)}
    assert {d["feature"] for d in differences} == differing


def test_an_expired_row_has_no_values() -> None:
    rows = both()
    for online in (row for row in rows if row["side"] == ONLINE):
        online["as_of_us"] = 56
        online |= {f"f_{name}": None for name in FEATURES}
        online |= {f"t_{name}": "expired" for name in FEATURES}
    totals, differences = report(rows)
    assert (mismatches(totals), differences) == ({}, [])
    side_of(rows, ONLINE)[0]["f_rows_20"] = 0
    assert mismatches(report(rows)[0]) == {"served": 1}


def test_who_serves_knows_nothing_that_is_not_known_yet() -> None:
    row = Happened(5, 50, 1, happened(1)[0][1].cells)
    rows = [*rows_of(1)[:2], rows_of(1)[-1]]
    event, offline, online = rows
    event |= {"event_us": 5, "known_us": 50}
    offline |= {"event_us": 5, "known_us": 50} | values([row], 5, 50, "f")
    online |= {"event_us": 5, "known_us": 50, "version": 1, "as_of_us": 20}
    online |= {f"t_{name}": "missing" for name in FEATURES} | {
        f"f_{name}": None for name in FEATURES
    }
    online |= values([row], 5, 50, "s")
    totals, differences = report(rows, version=1)
    assert (mismatches(totals), differences) == ({}, [])


def test_all_differences_are_counted_and_the_first_are_kept() -> None:
    rows = [row for key in range(1, 13) for row in rows_of(key)]
    for row in rows:
        if row["side"] == OFFLINE:
            row["f_rows_20"] = -1
    totals, differences = report(rows)
    assert mismatches(totals) == {"offline": 60}
    assert len(differences) == MAX_EXAMPLES


def test_without_online_rows_only_the_offline_ones_are_compared() -> None:
    fields = [field for field in SCHEMA if field.name != "as_of_us"]
    rows = [row for row in both() if row["side"] != ONLINE]
    totals, differences = report(rows, schema=pa.schema(fields))
    assert (mismatches(totals), differences) == ({}, [])


def batches_of(rows: list[Row]) -> Iterator[pa.RecordBatch]:
    for row in rows:
        yield pa.RecordBatch.from_pylist([row], schema=SCHEMA)


def test_how_rows_are_cut_into_batches_does_not_matter() -> None:
    comparison = Comparison(("id", "region"), SHAPE, 2, EVER)
    (once,) = compare(iter([pa.RecordBatch.from_pylist(both(), schema=SCHEMA)]), comparison)
    (again,) = compare(batches_of(both()[::-1]), comparison)
    assert once.equals(again)
