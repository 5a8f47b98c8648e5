"""The order-free hash: what must not change it, and what must."""

from __future__ import annotations

import datetime as dt
import math
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlake.errors import InputError
from twinlake.models.content import (
    EMPTY,
    SLICE_ROWS,
    PartialHash,
    combine,
    content_hash,
    digest,
    partial_hash,
)

SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "count": pa.int64(),
        "mean": pa.float64(),
        "at": pa.timestamp("us", tz="UTC"),
        "flag": pa.bool_(),
        "amount": pa.decimal128(12, 2),
        "day": pa.date32(),
        "raw": pa.binary(),
    }
)
COLUMNS = SCHEMA.names

cells = {
    "key": st.text(max_size=3),
    "count": st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
    "mean": st.floats(),
    "at": st.datetimes(timezones=st.just(dt.UTC)),
    "flag": st.booleans(),
    "amount": st.decimals(-10_000_000, 10_000_000, places=2),
    "day": st.dates(),
    "raw": st.binary(max_size=3),
}
row = st.fixed_dictionaries({name: st.none() | cell for name, cell in cells.items()})


def batch(rows: list[dict[str, object]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def hash_of(column: pa.Array) -> str:
    return content_hash([pa.record_batch({"x": column})], ["x"])


def canonical(value: object) -> object:
    """What a cell is to a reader who knows neither NaN payloads nor the sign of zero."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


@settings(max_examples=60, deadline=None)
@given(st.lists(row, max_size=12), st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_and_chunking_do_not_matter(
    rows: list[dict[str, object]], chance: random.Random, width: int
) -> None:
    expected = content_hash([batch(rows)], COLUMNS)
    shuffled = chance.sample(rows, len(rows))
    pieces = [batch(shuffled).slice(start, width) for start in range(0, len(rows), width)]
    columns = chance.sample(COLUMNS, len(COLUMNS))
    assert content_hash(pieces, columns) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(row, min_size=1, max_size=6), st.data())
def test_every_changed_cell_changes_it(rows: list[dict[str, object]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(COLUMNS))
    old = canonical(rows[place][name])
    new = data.draw((st.none() | cells[name]).filter(lambda value: canonical(value) != old))
    changed = [dict(one) for one in rows]
    changed[place][name] = new
    assert content_hash([batch(changed)], COLUMNS) != content_hash([batch(rows)], COLUMNS)


@settings(max_examples=60, deadline=None)
@given(row, row)
def test_cells_belong_to_their_row(one: dict[str, object], other: dict[str, object]) -> None:
    one, other = one | {"key": "a"}, other | {"key": "b"}
    swapped = [one | {"key": "b"}, other | {"key": "a"}]
    alike = all(canonical(one[name]) == canonical(other[name]) for name in COLUMNS[1:])
    equal = content_hash([batch(swapped)], COLUMNS) == content_hash([batch([one, other])], COLUMNS)
    assert equal == alike


def test_a_swap_between_rows_is_seen() -> None:
    rows = pa.record_batch({"key": ["a", "b"], "value": [1.0, 2.0]})
    swapped = pa.record_batch({"key": ["a", "b"], "value": [2.0, 1.0]})
    assert content_hash([rows], rows.schema.names) != content_hash([swapped], rows.schema.names)


def test_a_swap_between_columns_is_seen() -> None:
    rows = pa.record_batch({"a": [1, None], "b": [2, 3]})
    swapped = pa.record_batch({"a": [2, 3], "b": [1, None]})
    assert content_hash([rows], ["a", "b"]) != content_hash([swapped], ["a", "b"])


def test_duplicates_count() -> None:
    hashes = {hash_of(pa.array([7] * times)) for times in range(5)}
    assert len(hashes) == 5


def test_empty_values_are_different_values() -> None:
    doubles = {hash_of(pa.array([value], pa.float64())) for value in (None, float("nan"), 0.0)}
    strings = {hash_of(pa.array([value], pa.string())) for value in (None, "", "\0")}
    whole = {hash_of(pa.array([value], pa.int64())) for value in (None, 0, -1)}
    assert len(doubles) == len(strings) == len(whole) == 3


def test_null_is_null_whatever_lies_under_it() -> None:
    validity = pa.py_buffer(bytes([0b01]))
    under = [
        pa.Array.from_buffers(
            pa.int64(), 2, [validity, pa.py_buffer(np.array([5, hidden]).tobytes())]
        )
        for hidden in (0, 9)
    ]
    assert hash_of(under[0]) == hash_of(under[1]) == hash_of(pa.array([5, None]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([np.nan]), pa.array(np.array([0xFFF8000000000001], np.uint64).view(np.float64))),
        (pa.array([1.5, None], pa.float32()), pa.array([1.5, None], pa.float64())),
        (pa.array([-3, None], pa.int16()), pa.array([-3, None], pa.int64())),
        (pa.array(["a", "b"]), pa.array(["a", "b"]).dictionary_encode()),
        (pa.array(["a", None]), pa.array(["a", None], pa.large_string())),
        (
            pa.array([5_000], pa.timestamp("ns", "UTC")),
            pa.array([5], pa.timestamp("us", "Asia/Tokyo")),
        ),
    ],
)
def test_readers_that_mean_the_same_agree(one: pa.Array, other: pa.Array) -> None:
    assert hash_of(one) == hash_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array([1.0])),
        (pa.array([1]), pa.array([True])),
        (pa.array([5], pa.timestamp("us")), pa.array([5], pa.timestamp("us", "UTC"))),
        (pa.array(["a"]), pa.array([b"a"])),
        (pa.array([Decimal("1.1")]), pa.array([Decimal("1.10")])),
    ],
)
def test_kinds_are_told_apart(one: pa.Array, other: pa.Array) -> None:
    assert hash_of(one) != hash_of(other)


def test_workers_add_up_what_one_place_would_find() -> None:
    rows = 2 * SLICE_ROWS + 7
    chance = np.random.default_rng(1)
    whole = pa.record_batch({"n": chance.integers(0, 99, rows), "x": chance.normal(size=rows)})
    parts = [partial_hash(whole.slice(at, 10_001), ["n", "x"]) for at in range(0, rows, 10_001)]
    carried = [PartialHash.unpack(part.pack()) for part in reversed(parts)]
    total = combine([combine(carried[:2]), EMPTY, combine(carried[2:])])
    assert total == partial_hash(whole, ["n", "x"])
    assert total.rows == rows
    assert digest(total, ["x", "n"]) == content_hash([whole], ["n", "x"])


def test_lanes_are_independent_and_spread() -> None:
    parts = [partial_hash(pa.record_batch({"n": [number]}), ["n"]) for number in range(2_000)]
    for lane in ("hi", "lo"):
        values = np.array([getattr(part, lane) for part in parts], np.uint64)
        bits = np.unpackbits(values.view(np.uint8)).mean()
        assert len(set(values.tolist())) == len(parts)
        assert abs(bits - 0.5) < 0.01
    assert all(part.hi != part.lo for part in parts)


def test_the_hash_of_yesterday_is_the_hash_of_today() -> None:
    rows = [
        {
            "key": "MAC000002",
            "count": 48,
            "mean": 0.1543,
            "at": dt.datetime(2012, 10, 13, tzinfo=dt.UTC),
            "flag": True,
            "amount": Decimal("12.30"),
            "day": dt.date(2012, 10, 12),
            "raw": b"\0",
        },
        dict.fromkeys(COLUMNS),
    ]
    assert content_hash([batch(rows)], COLUMNS) == "0b59e5fbecdeb380c216e4cb4a7eb5e1"


def test_what_cannot_be_hashed_is_named() -> None:
    rows = pa.record_batch({"x": [[1]], "t": pa.array([1_001], pa.timestamp("ns"))})
    with pytest.raises(InputError, match="column x is of type list"):
        content_hash([rows], ["x"])
    with pytest.raises(InputError, match="column t has timestamps that are no whole microseconds"):
        content_hash([rows], ["t"])
    with pytest.raises(InputError, match="no column named 'y'"):
        content_hash([rows], ["y"])
    with pytest.raises(InputError, match="named twice"):
        content_hash([rows], ["x", "x"])


def test_workers_import_nothing_heavy_for_it() -> None:
    code = (
        "import sys, twinlake.models.content, twinlake.models.receipts, twinlake.models.recipe;"
        "print([m for m in ('xgboost', 'mlflow', 'pandas', 'pyspark') if m in sys.modules])"
    )
    package = Path(__file__).parents[3] / "spark_jobs"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "[]\n"
