"""On-demand features: the user's function called with whole columns, and what it gave, checked.

Training, serving and the stream all come here, so a row gets the same bits everywhere. The function
is trusted with nothing: not with nulls, which it sees only if the view says so; not with the
number, type or finiteness of what it gives back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinlake.definitions.on_demand import PASSED, OnDemandView
from twinlake.definitions.resolution import on_demand_inputs, on_demand_outputs
from twinlake.definitions.times import DAY_US, SECOND_US
from twinlake.definitions.types import FLOAT_TYPES, INTEGER_BITS, decimal_scale
from twinlake.errors import InputError
from twinlake.kernel.events import Column, TextColumn
from twinlake.kernel.exact import BoolArray, IntArray

# The years 1 to 9999, which Python and every store can hold.
_FIRST_US, _AFTER_US = -62_135_596_800 * SECOND_US, 253_402_300_800 * SECOND_US
_LONGEST_TOLD = 200


@dataclass(frozen=True, slots=True)
class Computation:
    """A function with what it takes and gives.

    Attributes:
        view: The on-demand view's name.
        function: The function's name.
        inputs: What it takes: name to canonical type.
        outputs: What it gives: name to canonical type, in order.
        nulls: ``skip`` or ``pass``, see ``OnDemandView``.
        run: The function.
    """

    view: str
    function: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    nulls: str
    run: Callable[..., Any]

    @classmethod
    def of(cls, view: OnDemandView) -> Computation:
        """Take what matters of a view whose function is there."""
        return cls(
            view.name,
            view.function.name,
            on_demand_inputs(view),
            on_demand_outputs(view),
            view.nulls,
            view.function.callable(),
        )


@dataclass(frozen=True, slots=True)
class Cells:
    """One computed feature.

    Attributes:
        values: float64, int64 (also boolean, date in days, timestamp in microseconds) or object,
            shape (n,); 0 or "" where null.
        valid: bool of shape (n,), False for null.
    """

    values: npt.NDArray[Any]
    valid: BoolArray


def compute(computation: Computation, columns: Mapping[str, Column], count: int) -> list[Cells]:
    """Compute the features of some rows.

    Args:
        computation: What to compute.
        columns: The inputs by name, each of ``count`` cells.
        count: How many rows.

    Returns:
        One ``Cells`` per output, in order. NaN, NaT and infinities have become null.

    Raises:
        InputError: The function raised, or gave something else than what was declared; the message
            names view and function.
    """
    chosen = np.arange(count, dtype=np.int64)
    if computation.nulls != PASSED:
        complete = np.ones(count, np.bool_)
        for name in computation.inputs:
            complete &= columns[name].valid
        chosen = np.flatnonzero(complete).astype(np.int64, copy=False)
    if not len(chosen):  # a function need not know what to do with nothing
        return [_empty(kind, count) for kind in computation.outputs.values()]
    given = {
        name: _presented(columns[name], kind, chosen, masked=computation.nulls == PASSED)
        for name, kind in computation.inputs.items()
    }
    made = _called(computation, given)
    found = []
    for name, kind in computation.outputs.items():
        cells = _taken(computation, name, kind, made[name], len(chosen))
        whole = _empty(kind, count)
        whole.values[chosen], whole.valid[chosen] = cells.values, cells.valid
        found.append(whole)
    return found


def compute_checked(
    computation: Computation, columns: Mapping[str, Column], count: int
) -> list[Cells]:
    """Compute features, and make sure that a row's do not depend on the rows beside it.

    Serving asks for a row or two, training for thousands at a time. The first and the last row that
    the function sees are computed again, each alone: what a mean, a rank or a running sum over all
    rows gives is another there, and so is what is drawn at random.

    Raises:
        InputError: As ``compute``, or a row alone gives something else.
    """
    found = compute(computation, columns, count)
    if computation.nulls == PASSED:
        seen = np.arange(count, dtype=np.int64)
    else:
        valid = [columns[name].valid for name in computation.inputs]
        seen = np.flatnonzero(np.logical_and.reduce(valid))
    if len(seen) < 2:
        return found
    for row in (int(seen[0]), int(seen[-1])):
        alone = compute(computation, _rows(columns, row), 1)
        for name, together, single in zip(computation.outputs, found, alone, strict=True):
            one, other = _shown(together, row), _shown(single, 0)
            if one != other:
                raise _failed(
                    computation,
                    f"feature {name} of a row is {other} alone and {one} beside other rows",
                    "compute each row from its own cells only, without means, sums or ranks over "
                    "the rows, and nothing random",
                )
    return found


def first_failing_row(
    computation: Computation, columns: Mapping[str, Column], count: int
) -> tuple[int, InputError] | None:
    """Find the first row for which the function fails by itself; None if none does."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if _failure(computation, columns, low, middle) is not None:
            high = middle
        else:
            low = middle
    error = _failure(computation, columns, low, high)
    return None if error is None else (low, error)


def _failure(
    computation: Computation, columns: Mapping[str, Column], low: int, high: int
) -> InputError | None:
    rows = np.arange(low, high, dtype=np.int64)
    try:
        compute(computation, {n: column.take(rows) for n, column in columns.items()}, high - low)
    except InputError as error:
        return error
    return None


def _rows(columns: Mapping[str, Column], row: int) -> dict[str, Column]:
    return {name: column.take(np.array([row])) for name, column in columns.items()}


def _shown(cells: Cells, row: int) -> str:
    return repr(cells.values[row : row + 1].tolist()[0]) if cells.valid[row] else "null"


def _presented(
    column: Column, kind: str, chosen: IntArray, *, masked: bool
) -> npt.NDArray[Any] | np.ma.MaskedArray[Any, Any]:
    """Give a column as the function takes it: its own copy, so that nothing else can change."""
    values = _natural(column, kind)[chosen]
    if not masked:
        return values
    return np.ma.MaskedArray(values, mask=~column.valid[chosen])


def _natural(column: Column, kind: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.values
    if isinstance(column, TextColumn):
        return values
    if scale := decimal_scale(kind):
        return values.astype(np.float64) / 10.0**scale
    if kind.startswith("decimal"):
        return values.astype(np.float64)
    if kind == "boolean":
        return values.astype(np.bool_)
    if kind == "date":
        return values.astype("datetime64[D]")
    if kind == "timestamp":
        return values.astype("datetime64[us]")
    return values


def _called(computation: Computation, given: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        # What is no number becomes null below; numpy's warnings of it say nothing new.
        with np.errstate(all="ignore"):
            made = computation.run(dict(given))
            names = list(made.keys())
            columns = {str(name): made[name] for name in names}
    except Exception as error:
        told = " ".join(str(error).split())[:_LONGEST_TOLD]
        raise _failed(
            computation, f"{type(error).__name__}: {told}", "mend the function, then run this again"
        ) from error
    wanted = list(computation.outputs)
    if set(columns) != set(wanted):
        raise _failed(
            computation,
            f"gave the columns {', '.join(columns) or 'none'}",
            f"return a dictionary of exactly {', '.join(wanted)}",
        )
    return columns


def _taken(computation: Computation, name: str, kind: str, made: object, count: int) -> Cells:
    """Take what a function gave for a feature, if it is what was declared."""
    mask = None
    if isinstance(made, np.ma.MaskedArray):
        mask, made = np.ma.getmaskarray(made), np.ma.getdata(made)
    values = np.asarray(made)
    if values.shape != (count,):
        shape = "one value" if not values.shape else f"an array of shape {values.shape}"
        raise _failed(
            computation,
            f"gave {shape} for feature {name}, expected {count} values",
            "return one value for each row that it gets",
        )
    valid = np.ones(count, np.bool_) if mask is None else ~mask
    fitting = _fitting(values, valid, kind)
    if fitting is None:
        raise _failed(
            computation,
            f"gave {_kind_told(values)} for feature {name}, which is a {kind}",
            f"convert it, such as with .astype({_NUMPY_NAMES.get(kind, 'object')})",
        )
    return fitting


def _fitting(values: npt.NDArray[Any], valid: BoolArray, kind: str) -> Cells | None:
    """Bring values into the kernel's form; None where they are not of the type."""
    found = values.dtype.kind
    if kind in FLOAT_TYPES and found in "fiu":
        with np.errstate(over="ignore"):  # beyond what a float holds is infinity, so null
            narrow = values.astype(np.float32 if kind == "float" else np.float64)
        doubles = narrow.astype(np.float64)
        valid = valid & np.isfinite(doubles)
        return Cells(np.where(valid, doubles, 0.0) + 0.0, valid)
    if kind in INTEGER_BITS and found in "iu":
        half = 1 << INTEGER_BITS[kind] - 1
        held = values[valid]
        if held.size and not (-half <= int(held.min()) and int(held.max()) < half):
            return None
        return Cells(np.where(valid, values, 0).astype(np.int64), valid)
    if kind == "boolean" and found == "b":
        return Cells((values & valid).astype(np.int64), valid)
    if kind == "string" and found in "OU":
        return _texts(values, valid)
    if kind in {"date", "timestamp"} and found == "M":
        return _times(values, valid, kind)
    return None


def _texts(values: npt.NDArray[Any], valid: BoolArray) -> Cells | None:
    cells = np.full(values.size, "", object)
    valid = valid.copy()
    for row in np.flatnonzero(valid).tolist():
        value = values[row]
        if value is None:
            valid[row] = False
        elif isinstance(value, str) and _is_unicode(value):
            cells[row] = str(value)
        else:
            return None
    return Cells(cells, valid)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _times(values: npt.NDArray[Any], valid: BoolArray, kind: str) -> Cells | None:
    unit = "D" if kind == "date" else "us"
    # Nanoseconds would be cut; "same_kind" refuses nothing of that, so the way back is compared.
    as_unit = values.astype(f"datetime64[{unit}]")
    valid = valid & ~np.isnat(values)
    if (as_unit[valid] != values[valid]).any():
        return None
    numbers = np.where(valid, as_unit.astype(np.int64), 0)
    step = DAY_US if kind == "date" else 1
    outside = (numbers < _FIRST_US // step) | (numbers >= _AFTER_US // step)
    return None if outside.any() else Cells(numbers, valid)


def _empty(kind: str, count: int) -> Cells:
    if kind == "string":
        return Cells(np.full(count, "", object), np.zeros(count, np.bool_))
    dtype = np.float64 if kind in FLOAT_TYPES else np.int64
    return Cells(np.zeros(count, dtype), np.zeros(count, np.bool_))


def _kind_told(values: npt.NDArray[Any]) -> str:
    told = str(values.dtype)
    if values.dtype.kind in "iuM" and values.size:
        return f"{told} from {values.min()} to {values.max()}"
    if values.dtype != object:
        return told
    kinds = sorted({type(value).__name__ for value in values.tolist()})
    return f"objects ({', '.join(kinds[:3])})"


_NUMPY_NAMES = {
    "double": "'float64'", "float": "'float32'", "boolean": "bool", "date": "'datetime64[D]'",
    "timestamp": "'datetime64[us]'", **dict.fromkeys(INTEGER_BITS, "'int64'"),
}  # fmt: skip


def _failed(computation: Computation, found: str, hint: str) -> InputError:
    return InputError(
        f"on-demand view {computation.view}, function {computation.function}: {found}", hint=hint
    )
