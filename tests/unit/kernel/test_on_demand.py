"""On-demand functions: trusted with nothing, and the same bits in training and in serving."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlake.definitions.typed_values import exact_value
from twinlake.errors import InputError
from twinlake.kernel.cells import to_column, to_python
from twinlake.kernel.on_demand import Computation, compute, compute_checked, first_failing_row
from twinlake.lake import arrays
from twinlake.lake.arrow_types import arrow_type
from twinlake.online import on_demand
from twinlake.online.reader import ERROR, NULL, PRESENT

INPUTS = {
    "f": "double",
    "i": "bigint",
    "m": "decimal(12,2)",
    "s": "string",
    "b": "boolean",
    "d": "date",
    "t": "timestamp",
}
OUTPUTS = {
    "ratio": "double",
    "single": "float",
    "whole": "bigint",
    "small": "smallint",
    "text": "string",
    "flag": "boolean",
    "day": "date",
    "at": "timestamp",
}


def everything(f: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ratio": np.exp(f["f"] / f["m"]) + f["i"],
        "single": f["f"] * 3,
        "whole": f["i"] * 2 + f["b"],
        "small": np.sign(f["i"]).astype(np.int16),
        "text": np.array([f"{s}!" for s in f["s"]], object),
        "flag": f["f"] > f["m"],
        "day": f["d"] + 1,
        "at": f["t"] - np.timedelta64(1, "us"),
    }


def computation(run: Callable[..., Any], **changes: Any) -> Computation:
    told: dict[str, Any] = {
        "view": "ratios",
        "function": run.__name__,
        "inputs": {"a": "double", "b": "double"},
        "outputs": {"r": "double"},
        "nulls": "skip",
        "run": run,
    }
    return Computation(**told | changes)


def computed(run: Callable[..., Any], rows: dict[str, list[Any]], **changes: Any) -> list[Any]:
    made = computation(run, **changes)
    columns = {name: to_column(rows[name], kind) for name, kind in made.inputs.items()}
    count = len(next(iter(rows.values())))
    (cells,) = compute_checked(made, columns, count)
    return to_python(cells.values, cells.valid, made.outputs["r"])


def ratio(f: Mapping[str, Any]) -> dict[str, Any]:
    return {"r": f["a"] / f["b"]}


CELLS = {
    "f": st.floats(allow_nan=False, allow_infinity=False),
    "i": st.integers(-(2**61), 2**61),
    "m": st.integers(-(10**12) + 1, 10**12 - 1).map(lambda units: Decimal(units).scaleb(-2)),
    "s": st.text(max_size=5),
    "b": st.booleans(),
    "d": st.dates(dt.date(1900, 1, 2), dt.date(2200, 1, 1)),
    "t": st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2200, 1, 1)).map(  # noqa: DTZ001
        lambda at: at.replace(tzinfo=dt.UTC)
    ),
}
# Most rows are whole: of one that lacks a cell nothing is computed.
ROWS = st.lists(
    st.builds(
        lambda row, lacking: row | dict.fromkeys(lacking),
        st.fixed_dictionaries(CELLS),
        st.sets(st.sampled_from(list(CELLS)), max_size=2) | st.just(set()),
    ),
    max_size=9,
)


def bits(value: Any) -> Any:
    return struct.pack("<d", value) if isinstance(value, float) else value


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_training_and_serving_give_the_same_bits(rows: list[dict[str, Any]]) -> None:
    made = computation(everything, inputs=INPUTS, outputs=OUTPUTS)
    batch = {n: pa.array([row[n] for row in rows], arrow_type(k)) for n, k in INPUTS.items()}
    columns = {name: arrays.kernel_column(cells) for name, cells in batch.items()}
    assert None not in columns.values()
    found = compute_checked(made, columns, len(rows))  # type: ignore[arg-type]
    trained = [
        arrays.arrow_column(cells.values, cells.valid, kind).to_pylist()
        for cells, kind in zip(found, OUTPUTS.values(), strict=True)
    ]
    for position, row in enumerate(rows):
        (served,) = on_demand.served(made, [row | {"m": exact_value("m", row["m"], INPUTS["m"])}])
        for number, name in enumerate(OUTPUTS):
            assert served[name].status == (NULL if served[name].value is None else PRESENT)
            assert bits(served[name].value) == bits(trained[number][position]), name


def test_a_row_that_lacks_an_input_is_not_shown_to_the_function() -> None:
    seen: list[Any] = []

    def looking(f: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(f["a"].tolist())
        return {"r": f["a"] * 0 + 7}

    assert computed(looking, {"a": [1.0, None, 3.0, 4.0], "b": [1.0, 2.0, None, 4.0]}) == [
        7.0, None, None, 7.0,
    ]  # fmt: skip
    assert seen[0] == [1.0, 4.0]
    assert computed(looking, {"a": [None], "b": [1.0]}) == [None]
    assert len(seen) == 3, "with no whole row the function is not called"


def test_a_view_may_ask_for_nulls() -> None:
    def filled(f: Mapping[str, Any]) -> dict[str, Any]:
        assert isinstance(f["a"], np.ma.MaskedArray)
        return {"r": np.ma.filled(f["a"], -1.0) + f["b"]}

    rows = {"a": [1.0, None, None], "b": [1.0, 2.0, None]}
    assert computed(filled, rows, nulls="pass") == [2.0, 1.0, None]


def test_what_is_no_number_becomes_null_without_a_warning() -> None:
    found = computed(ratio, {"a": [1.0, 0.0, -1.0, 6.0, -0.0], "b": [0.0, 0.0, 0.0, 2.0, 5.0]})
    assert found == [None, None, None, 3.0, 0.0]
    assert bits(found[4]) == bits(0.0)

    def never(f: Mapping[str, Any]) -> dict[str, Any]:
        return {"r": np.full(len(f["a"]), np.datetime64("NaT", "us"))}

    assert computed(never, {"a": [1.0], "b": [1.0]}, outputs={"r": "timestamp"}) == [None]


def test_a_data_frame_is_as_good_as_a_dictionary() -> None:
    def framed(f: Mapping[str, Any]) -> Any:
        frame = pd.DataFrame(f)
        return pd.DataFrame({"r": frame["a"] + frame["b"]})

    assert computed(framed, {"a": [1.0, None], "b": [2.0, 1.0]}) == [3.0, None]


def gives(value: Any) -> Callable[..., Any]:
    def given_value(_: Mapping[str, Any]) -> Any:
        return value

    return given_value


TWO = {"a": [1.0, 2.0], "b": [1.0, 2.0]}
WRONG = {
    "too few": ({"r": np.ones(1)}, "double", "array of shape (1,) for feature r, expected 2"),
    "one value": ({"r": 1.0}, "double", "gave one value for feature r"),
    "a table": ({"r": np.ones((2, 2))}, "double", "shape (2, 2)"),
    "other name": ({"x": np.ones(2)}, "double", "gave the columns x"),
    "one too many": ({"r": np.ones(2), "x": np.ones(2)}, "double", "gave the columns r, x"),
    "no mapping": (np.ones(2), "double", "AttributeError"),
    "nothing": (None, "double", "AttributeError"),
    "floats for whole numbers": ({"r": np.ones(2)}, "bigint", "gave float64 for feature r"),
    "too large": ({"r": np.array([1, 40_000])}, "smallint", "int64 from 1 to 40000"),
    "beyond 64 bits": ({"r": np.array([1, 2**63], np.uint64)}, "bigint", "uint64"),
    "text for numbers": ({"r": np.array(["1", "2"])}, "double", "gave <U1 for feature r"),
    "truth for numbers": ({"r": np.array([True, False])}, "double", "gave bool"),
    "objects": ({"r": np.array([1.0, None], object)}, "double", "objects (NoneType, float)"),
    "numbers for text": ({"r": np.array([1, "a"], object)}, "string", "objects (int, str)"),
    "half a letter": ({"r": np.array(["\ud800", "a"], object)}, "string", "is a string"),
    "times for days": ({"r": np.array(["2020-01-01T01", "NaT"], "M8[h]")}, "date", "datetime64[h]"),
    "nanoseconds": ({"r": np.array([1, 1000], "M8[ns]")}, "timestamp", "datetime64[ns]"),
    "far future": ({"r": np.array(["12000-01-01"] * 2, "M8[D]")}, "date", "is a date"),
    "list of text": ({"r": ["a", "b"]}, "double", "gave <U1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_than_declared_is_refused(name: str) -> None:
    value, kind, told = WRONG[name]
    with pytest.raises(InputError) as caught:
        computed(gives(value), TWO, outputs={"r": kind})
    assert "on-demand view ratios, function given_value: " in caught.value.message
    assert told in caught.value.message
    assert caught.value.hint


def mean_of_all(f: Mapping[str, Any]) -> dict[str, Any]:
    return {"r": f["a"] - f["a"].mean()}


def running(f: Mapping[str, Any]) -> dict[str, Any]:
    return {"r": np.cumsum(f["a"])}


def drawn(f: Mapping[str, Any]) -> dict[str, Any]:
    return {"r": np.random.default_rng().random(len(f["a"]))}


@pytest.mark.parametrize("run", [mean_of_all, running, drawn])
def test_a_row_must_not_depend_on_the_rows_beside_it(run: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match=r"feature r of a row is .* alone and .* beside other"):
        computed(run, {"a": [1.0, 2.0, 4.0], "b": [1.0, 1.0, 1.0]})


def picky(f: Mapping[str, Any]) -> dict[str, Any]:
    if (f["a"] == 13).any():
        raise ValueError("thirteen\n  is bad luck")
    return {"r": f["a"]}


def test_an_exception_names_view_function_and_first_row() -> None:
    made = computation(picky)
    cells = [1.0, 2.0, 3.0, 13.0, 4.0, 13.0, 5.0]
    columns = {name: to_column(cells, "double") for name in "ab"}
    with pytest.raises(InputError) as caught:
        compute(made, columns, len(cells))
    assert caught.value.message == (
        "on-demand view ratios, function picky: ValueError: thirteen is bad luck"
    )
    found = first_failing_row(made, columns, len(cells))
    assert found is not None
    assert found[0] == 3
    fine = {name: column.take(np.array([0, 1])) for name, column in columns.items()}
    assert first_failing_row(made, fine, 2) is None


def test_a_failure_spoils_no_other_answer() -> None:
    found = on_demand.served(computation(picky), [{"a": a, "b": 1.0} for a in (1.0, 13.0, None)])
    assert [one["r"].status for one in found] == [PRESENT, ERROR, NULL]
    assert [one["r"].value for one in found] == [1.0, None, None]
    assert "view ratios" in str(found[1]["r"].message)


def test_a_function_gets_copies() -> None:
    def spoiling(f: dict[str, Any]) -> dict[str, Any]:
        f["a"] += 1
        return {"r": f["a"]}

    made = computation(spoiling)
    columns = {name: to_column([1.0, 2.0], "double") for name in "ab"}
    for _ in range(2):
        (cells,) = compute(made, columns, 2)
        assert cells.values.tolist() == [2.0, 3.0]


FITTING: list[tuple[Any, str, Any]] = [
    (None, "double", None), (1, "double", 1.0), (2.5, "double", 2.5),
    (np.float64(2.5), "double", 2.5),
    (Decimal("0.1"), "double", 0.1), (7, "int", 7), (7.0, "int", 7), (np.int64(7), "bigint", 7),
    (2.5, "decimal(4,2)", Decimal("2.50")), (3, "decimal(4,2)", Decimal("3.00")),
    (0.1, "decimal(4,2)", Decimal("0.10")), (True, "boolean", True), ("a", "string", "a"),
    (dt.date(2020, 1, 1), "date", dt.date(2020, 1, 1)),
    (dt.datetime(2020, 1, 1), "timestamp", dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),  # noqa: DTZ001
]  # fmt: skip
UNFIT: list[tuple[Any, str]] = [
    (float("nan"), "double"), (float("inf"), "double"), (2**53 + 1, "double"), (True, "double"),
    ("1", "double"), (2.5, "int"), (2**31, "int"), (True, "int"), (float("nan"), "bigint"),
    (0.125, "decimal(4,2)"), (100, "decimal(4,2)"), (Decimal("NaN"), "decimal(4,2)"),
    (float("inf"), "decimal(4,2)"), (1, "boolean"), (1, "string"), (b"a", "string"),
    (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "date"), (dt.date(2020, 1, 1), "timestamp"),
    (Decimal("Infinity"), "int"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "read"), FITTING)
def test_a_request_field_is_read_as_its_type(value: Any, kind: str, read: Any) -> None:
    found = exact_value("x", value, kind)
    assert (type(found), found) == (type(read), read)


@pytest.mark.parametrize(("value", "kind"), UNFIT)
def test_a_request_field_that_says_something_else_is_refused(value: Any, kind: str) -> None:
    with pytest.raises(InputError, match=r"x=.* is no"):
        exact_value("x", value, kind)
