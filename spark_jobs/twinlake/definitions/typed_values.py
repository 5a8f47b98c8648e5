"""Values that people give, such as join keys and request fields, read as their column's type."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from twinlake.definitions.times import parse_instant_us, to_datetime
from twinlake.definitions.types import (
    FLOAT_TYPES,
    INTEGER_BITS,
    INTEGER_TYPES,
    decimal_scale,
    is_decimal,
)
from twinlake.errors import InputError


def typed_value(name: str, value: Any, kind: str) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a value the type of its column; text is read, anything else kept."""
    if not isinstance(value, str) or kind == "string":
        return value
    try:
        if kind in INTEGER_TYPES:
            return _whole_number(name, value, kind)
        if is_decimal(kind):
            return Decimal(value)
        if kind in FLOAT_TYPES:
            return float(value)
        if kind == "date":
            return date.fromisoformat(value)
        if kind == "timestamp":
            return to_datetime(parse_instant_us(value))
        if kind == "boolean":
            return {"true": True, "false": False}[value.lower()]
    except (ValueError, KeyError, InvalidOperation):
        raise InputError(f"{name}={value!r} is no {kind}", hint=f"give a {kind}") from None
    return value


def _whole_number(name: str, text: str, kind: str) -> int:
    number, half = int(text), 1 << INTEGER_BITS[kind] - 1
    if not -half <= number < half:
        raise InputError(
            f"{name}={number} is outside {kind}", hint=f"give a number from {-half} to {half - 1}"
        )
    return number


def exact_value(name: str, value: Any, kind: str) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a value the type of its column, losing nothing and reading no text; None stays None.

    Raises:
        InputError: The value does not say a value of that type.
    """
    if value is None:
        return None
    if not isinstance(value, str | bytes) and hasattr(value, "item"):
        value = value.item()  # of numpy
    read = _of_kind(value, kind)
    if read is None:
        raise InputError(f"{name}={value!r} is no {kind}", hint=f"give a {kind}")
    return read


def _of_kind(value: Any, kind: str) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a value as its type; None where it does not fit."""
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if kind in FLOAT_TYPES and is_number:
        double = float(value)
        exact = isinstance(value, float | Decimal) or int(double) == value
        return double if exact and math.isfinite(double) else None
    if kind in INTEGER_BITS and is_number and value == value // 1:
        half = 1 << INTEGER_BITS[kind] - 1
        return int(value) if -half <= value < half else None
    if is_decimal(kind) and is_number:
        return _decimal(value, kind)
    if kind == "timestamp" and isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if kind == "date" and isinstance(value, date) and not isinstance(value, datetime):
        return value
    wanted = {"boolean": bool, "string": str}.get(kind)
    return value if wanted and isinstance(value, wanted) else None


def _decimal(value: float | Decimal, kind: str) -> Decimal | None:
    """Read a decimal; a float stands for the shortest number that is written like it."""
    precision, scale = int(kind[8:].split(",", maxsplit=1)[0]), decimal_scale(kind)
    try:
        read = value if isinstance(value, Decimal) else Decimal(str(value))
        units = int(read.scaleb(scale))
        exact = Decimal(units).scaleb(-scale)
    except (InvalidOperation, OverflowError, ValueError):
        return None
    return exact if exact == read and abs(units) < 10**precision else None
