"""Every type comes back as it was written, bit for bit; what does not fit is refused whole."""

from __future__ import annotations

import itertools
import math
import struct
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.online_store.samples import METERS, meter
from twinlake.errors import InputError
from twinlake.online.store import OnlineRow, OnlineStore, OnlineTable

TINY = 5e-324
GOOD: dict[str, list[Any]] = {
    "string": [
        "x",
        "a\x00b",
        "\x00",
        "ÅÅ e\u0301 \U0001f600",
        "'; --\"",
        " ",
        "1",
        "1.0",
        "x" * 70_000,
    ],
    "boolean": [True, False],
    "tinyint": [-128, 0, 127],
    "smallint": [-(2**15), 2**15 - 1],
    "int": [-(2**31), 2**31 - 1],
    "bigint": [-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1],
    "float": [0.5, -1.5, 2.0**-149, 3.4028234663852886e38, 16777216.0, math.inf],
    "double": [
        *(0.0, 0.1, TINY, -TINY, 2.2250738585072011e-308, 1.7976931348623157e308, 1e15, 3.0),
        *(9007199254740993.0, -math.inf, math.pi, float(2**63)),
    ],
    "decimal(12,2)": [Decimal("12.50"), Decimal("-9999999999.99"), Decimal("0.01"), Decimal(0)],
    "decimal(38,0)": [Decimal(10**38 - 1), Decimal(-(10**38) + 1)],
    "decimal(38,38)": [Decimal("0." + "9" * 38), Decimal("-1E-38")],
    "date": [date(1, 1, 1), date(1969, 12, 31), date(2014, 2, 28), date(9999, 12, 31)],
    "timestamp": [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2014, 2, 28, 1, 2, 3, 4, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    "binary": [b"x", b"\x00", b"\x00\xff" * 40_000, b"text"],
}
EMPTY: dict[str, list[Any]] = {"string": [""], "binary": [b""]}
BAD: dict[str, list[Any]] = {
    "string": [1, b"x", "\ud800", "x\udfff"],
    "boolean": [1, 0, "true", 1.0],
    "tinyint": [128, -129, True, 1.0, "1"],
    "smallint": [2**15, -(2**15) - 1],
    "int": [2**31, -(2**31) - 1, Decimal(1)],
    "bigint": [2**63, -(2**63) - 1, True, "1"],
    "float": [math.nan, 0.1, 1e300, 1, "1"],
    "double": [math.nan, 1, True, "1", Decimal("1.5"), b"1"],
    "decimal(12,2)": [
        Decimal("0.001"),
        Decimal("1e10"),
        Decimal("NaN"),
        Decimal("Infinity"),
        1.5,
        1,
    ],
    "decimal(38,38)": [Decimal(1)],
    "date": [datetime(2014, 2, 28, tzinfo=UTC), "2014-02-28", 1],
    "timestamp": [
        datetime(2014, 2, 28),  # noqa: DTZ001 (without zone on purpose)
        date(2014, 2, 28),
        1,
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
    "binary": ["x", bytearray(b"x"), memoryview(b"x"), 1],
}


def bits(value: object) -> object:
    return struct.pack(">d", value) if isinstance(value, float) else value


def cases(values: dict[str, list[Any]]) -> list[Any]:
    return [pytest.param(kind, given, id=kind) for kind, given in values.items()]


@pytest.mark.parametrize(("kind", "values"), cases(GOOD))
def test_feature_comes_back_exactly(store: OnlineStore, kind: str, values: list[Any]) -> None:
    table = OnlineTable("typed", (("k", "int"),), (("x", kind), ("y", kind), ("z", kind)))
    store.create(table)
    values = [*values, *EMPTY.get(kind, [])]
    rows = [
        OnlineRow((number,), (value, None, value), -1, 0, None, b"", 0)
        for number, value in enumerate(values)
    ]
    store.write(table, rows)
    found = store.read(table, [row.key for row in rows])
    assert found == rows
    for row, value in zip(found, values, strict=True):
        assert row is not None
        assert type(row.values[0]) is type(value)
        assert bits(row.values[0]) == bits(value)
    assert sorted(store.scan(table), key=lambda row: row.key) == rows
    # Each value replaces each other one, also where they are equal in some other sense.
    for write_us, row in enumerate(reversed(rows), 1):
        last = OnlineRow((0,), row.values, 1, 1, 1, b"", write_us)
        store.write(table, [last])
        assert store.read(table, [(0,)]) == [last]


@pytest.mark.parametrize(
    ("kind", "values"), cases({k: v for k, v in GOOD.items() if k not in ("float", "double")})
)
def test_key_comes_back_exactly(store: OnlineStore, kind: str, values: list[Any]) -> None:
    if kind == "string":
        values = values[:-1]  # 70,000 characters are too long for a Cassandra key
    if kind == "binary":
        values = [value for value in values if len(value) < 65_536]
    for name, keys in (("one", (("k", kind),)), ("two", (("k", kind), ("l", kind)))):
        table = OnlineTable(name, keys, (("n", "int"),))
        store.create(table)
        rows = [
            OnlineRow((value,) * len(keys), (number,), 0, 0, None, b"", 0)
            for number, value in enumerate(values)
        ]
        store.write(table, rows)
        assert store.read(table, [row.key for row in rows]) == rows
        assert sorted(store.scan(table), key=lambda row: row.values) == rows
        store.delete(table, [row.key for row in rows], 1)
        assert store.count(table) == 0


@pytest.mark.parametrize(("kind", "values"), cases(BAD))
def test_value_that_does_not_fit_is_refused(store: OnlineStore, kind: str, values: list) -> None:
    good = GOOD[kind][0]
    for features in ((("x", kind),), (("x", kind), ("y", kind)), (("x", kind), ("s", "string"))):
        table = OnlineTable(f"typed{len(features)}{features[-1][0]}", (("k", "int"),), features)
        store.create(table)
        for value in values:
            rest = {"y": (good,), "s": ("s",), "x": ()}[features[-1][0]]
            row = OnlineRow((7,), (value, *rest), 0, 0, None, b"", 0)
            with pytest.raises(InputError, match=r"key \(7,\): feature x"):
                store.write(table, [OnlineRow((6,), (None, *rest), 0, 0, None, b"", 0), row])
        assert store.count(table) == 0


def test_decimals_that_are_equal_are_one_key(store: OnlineStore) -> None:
    table = OnlineTable("amounts", (("k", "decimal(5,2)"),), (("x", "decimal(5,2)"),))
    store.create(table)
    store.write(table, [OnlineRow((Decimal("1.5"),), (Decimal("-0"),), 0, 0, None, b"", 1)])
    (row,) = store.read(table, [(Decimal("1.50"),)])
    assert row is not None
    assert str(row.key[0]) == "1.50"
    assert str(row.values[0]) == "0.00"


def test_moments_in_other_zones_are_the_same_moment(store: OnlineStore) -> None:
    table = OnlineTable("moments", (("k", "timestamp"),), (("x", "timestamp"),))
    store.create(table)
    here = datetime(2020, 1, 1, 3, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    store.write(table, [OnlineRow((here,), (here,), 0, 0, None, b"", 1)])
    (row,) = store.read(table, [(here.astimezone(UTC),)])
    assert row is not None
    assert row.values[0] == here
    assert row.values[0].utcoffset() == timedelta(0)


def test_sign_of_zero_is_not_kept_but_zero_is(store: OnlineStore) -> None:
    store.write(METERS, [OnlineRow(("a",), (-0.0, 0, ""), 0, 0, None, b"", 1)])
    (row,) = store.read(METERS, [("a",)])
    assert row is not None
    assert row.values == (0.0, 0, "")


def test_infinities_of_both_signs_are_no_nan(store: OnlineStore) -> None:
    table = OnlineTable("many", (("k", "int"),), tuple((f"f{n}", "double") for n in range(5)))
    store.create(table)
    row = OnlineRow((1,), (math.inf, None, -math.inf, 1e308, 1e308), 0, 0, None, b"", 1)
    store.write(table, [row])
    assert store.read(table, [(1,)]) == [row]


@pytest.mark.parametrize("values", [(), (1.0,), (1.0, 1, "x", None)])
def test_wrong_number_of_values(store: OnlineStore, values: tuple) -> None:
    with pytest.raises(InputError, match="3 features"):
        store.write(METERS, [OnlineRow(("a",), values, 0, 0, None, b"", 1)])


@pytest.mark.parametrize("state", [b"", b"\x00" * 10, b"x" * 900_000])
def test_state_of_any_size(store: OnlineStore, state: bytes) -> None:
    row = OnlineRow(("a",), (1.0, 1, "x"), -(2**63), 2**63 - 1, -1, state, 1)
    store.write(METERS, [row, meter("b", 1)])
    assert store.read(METERS, [("a",)]) == [row]


@pytest.mark.parametrize("field", ["event_us", "known_us", "valid_until_us", "state"])
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.5, "1", True])
def test_system_cells_that_do_not_fit(store: OnlineStore, field: str, value: object) -> None:
    cells: dict[str, Any] = {"event_us": 0, "known_us": 0, "valid_until_us": 0, "state": b""}
    row = OnlineRow(("a",), (None, None, None), write_us=1, **{**cells, field: value})
    with pytest.raises(InputError, match="time"):
        store.write(METERS, [row])
    assert store.count(METERS) == 0


PAIR_KEYS = (("region", "string"), ("number", "bigint"), ("code", "binary"))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "boolean": st.booleans(),
    "tinyint": st.integers(-128, 127),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "decimal(20,6)": st.decimals(-(10**14) + 1, 10**14 - 1, places=6),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "binary": st.binary(),
}
MOMENTS = itertools.count(1)  # a purge need not let a write of the same moment count again
KEY = st.tuples(st.text(min_size=1), st.integers(-(2**63), 2**63 - 1), st.binary())
ROW = st.tuples(KEY, st.tuples(*(st.none() | values for values in VALUES.values())), st.binary())


@given(st.lists(ROW, max_size=5, unique_by=lambda row: row[0]))
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_row_comes_back(store: OnlineStore, drawn: list[tuple]) -> None:
    features = tuple((f"x{number}", kind) for number, kind in enumerate(VALUES))
    table = OnlineTable("anything", PAIR_KEYS, features)
    store.create(table)
    store.purge(table, [row.key for row in store.scan(table)])
    moment = next(MOMENTS)
    rows = [OnlineRow(key, values, 1, 2, 3, state, moment) for key, values, state in drawn]
    store.write(table, rows)
    assert store.read(table, [row.key for row in rows]) == rows
    assert {row.key: row for row in store.scan(table)} == {row.key: row for row in rows}
