"""Cells between Python, as which they are asked for and served, and the kernel's arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from twinlake.definitions.times import DAY_US, EPOCH, to_datetime, to_us
from twinlake.definitions.types import FLOAT_TYPES, decimal_scale, is_decimal
from twinlake.kernel.events import Column, NumericColumn, TextColumn
from twinlake.kernel.exact import BoolArray

_FIRST_DAY = EPOCH.date()


def to_python(values: npt.NDArray[Any], valid: BoolArray, type_name: str) -> list[Any]:
    """Give cells as Python values of a type; None for null."""
    if is_decimal(type_name):
        scale = decimal_scale(type_name)
        cells = [Decimal(int(value)).scaleb(-scale) for value in values]
    else:
        cells = list(map(_FROM_KERNEL.get(type_name, _same), values.tolist()))
    return [cell if ok else None for cell, ok in zip(cells, valid.tolist(), strict=True)]


def to_column(cells: Sequence[Any], type_name: str) -> Column:
    """Give Python values of a type, None for null, as the column that the kernel takes."""
    valid = np.array([cell is not None for cell in cells], np.bool_)
    if type_name == "string":
        texts = np.full(len(cells), "", object)
        texts[:] = ["" if cell is None else cell for cell in cells]
        return TextColumn(texts, valid)
    scale = decimal_scale(type_name)
    if is_decimal(type_name):
        numbers = [0 if cell is None else int(cell.scaleb(scale)) for cell in cells]
    else:
        convert = _TO_KERNEL.get(type_name, _same)
        numbers = [0 if cell is None else convert(cell) for cell in cells]
    dtype = np.float64 if type_name in FLOAT_TYPES else np.int64
    return NumericColumn(np.array(numbers, dtype), valid, scale)


def _same(value: Any) -> Any:  # noqa: ANN401 (a cell of any type)
    return value


def _to_date(days: int) -> date:
    return to_datetime(days * DAY_US).date()


def _to_days(day: date) -> int:
    return (day - _FIRST_DAY).days


_FROM_KERNEL: Mapping[str, Callable[[Any], Any]] = {
    "boolean": bool,
    "date": _to_date,
    "timestamp": to_datetime,
}
_TO_KERNEL: Mapping[str, Callable[[Any], Any]] = {
    "boolean": int,
    "date": _to_days,
    "timestamp": to_us,
}
