"""The gate's rules on one row, in Python: each agrees with what Spark says of the same row.

What only Spark can judge is passed over: patterns, which are Java's, and sets of timestamps, which
Spark compares as texts. So is how far a row is ahead of its landing, for nothing lands here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from math import isfinite
from typing import Any

from twinlake.definitions.expectations import Expectation
from twinlake.definitions.resolution import all_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.times import parse_instant_us, to_us
from twinlake.definitions.types import FLOAT_TYPES

Cells = Mapping[str, Any]

_EARLIEST_US = parse_instant_us("1900-01-01")
_FLOAT = struct.Struct("f")


def problems(
    source: Source,
    cells: Cells,
    event_us: int | None,
    known_us: int | None,
    key_columns: Sequence[str],
) -> Iterator[str]:
    """Yield why a row would be quarantined.

    Args:
        source: Its source.
        cells: Its columns, each of its type.
        event_us: When it happened.
        known_us: When it became known.
        key_columns: Join keys of the views on the source; a row without them is of no use.
    """
    if event_us is None:
        yield "no event timestamp"
    if known_us is None:
        yield "no known timestamp"
    if event_us is not None and event_us < _EARLIEST_US:
        yield "event timestamp before 1900"
    for name in dict.fromkeys([*source.event_id_columns, *key_columns]):
        if cells[name] is None:
            yield f"{name}: a key must not be null"
    kinds = all_columns(source)
    for name, kind in kinds.items():
        if kind in FLOAT_TYPES and cells[name] is not None and not isfinite(cells[name]):
            yield f"{name}: not a finite number"
    for expectation in source.row_expectations:
        if passes(expectation, cells, kinds) is False:
            yield str(expectation)


def passes(expectation: Expectation, cells: Cells, kinds: Mapping[str, str]) -> bool | None:
    """Tell whether a row passes an expectation on single rows; None where only Spark can."""
    judge = _JUDGES.get(expectation.type)
    given = expectation.arguments
    if judge is None or ("value_set" in given and kinds[given["column"]] == "timestamp"):
        return None
    return judge(given, cells, kinds)


def _is_there(given: Cells, cells: Cells, _: Mapping[str, str]) -> bool:
    return cells[given["column"]] is not None


def _is_null(given: Cells, cells: Cells, _: Mapping[str, str]) -> bool:
    return cells[given["column"]] is None


def _between(given: Cells, cells: Cells, kinds: Mapping[str, str]) -> bool:
    name = given["column"]
    return cells[name] is None or _within(cells[name], kinds[name], given)


def _lengths_between(given: Cells, cells: Cells, _: Mapping[str, str]) -> bool:
    text = cells[given["column"]]
    return text is None or _within(len(text), "int", given)


def _within(cell: Any, kind: str, given: Cells) -> bool:  # noqa: ANN401 (a cell of any type)
    low, high = given.get("min_value"), given.get("max_value")
    if low is not None:
        value, bound = _alike(cell, kind, low)
        if not (value > bound if given.get("strict_min") else value >= bound):
            return False
    if high is not None:
        value, bound = _alike(cell, kind, high)
        if not (value < bound if given.get("strict_max") else value <= bound):
            return False
    return True


def _alike(cell: Any, kind: str, told: Any) -> tuple[Any, Any]:  # noqa: ANN401 (of any type)
    """Bring a cell and what it is compared with to one type, as Spark does."""
    if kind == "date":
        return cell, date.fromisoformat(told)
    if kind == "timestamp":
        return to_us(cell), parse_instant_us(told)
    if kind == "float" and isinstance(told, int):
        return cell, _FLOAT.unpack(_FLOAT.pack(told))[0]
    if kind in FLOAT_TYPES or isinstance(told, float):
        return float(cell), float(told)
    return cell, told


def _in_set(given: Cells, cells: Cells, kinds: Mapping[str, str]) -> bool:
    name, told = given["column"], given["value_set"]
    return cells[name] is None or _is_member(cells[name], kinds[name], told)


def _not_in_set(given: Cells, cells: Cells, kinds: Mapping[str, str]) -> bool:
    name, told = given["column"], given["value_set"]
    return cells[name] is None or not _is_member(cells[name], kinds[name], told)


def _is_member(cell: Any, kind: str, told: Sequence[Any]) -> bool:  # noqa: ANN401 (of any type)
    """Tell whether a cell is one of some values; one of them that is a double makes all doubles."""
    if kind == "date":
        return str(cell) in told
    if any(isinstance(value, float) for value in told):
        return float(cell) in [float(value) for value in told]
    return any(left == right for left, right in (_alike(cell, kind, value) for value in told))


def _length_equals(given: Cells, cells: Cells, _: Mapping[str, str]) -> bool:
    text = cells[given["column"]]
    return text is None or len(text) == given["value"]


def _greater(given: Cells, cells: Cells, kinds: Mapping[str, str]) -> bool:
    left, right = _pair(given, cells, kinds)
    if left is None or right is None:
        return True
    return bool(left >= right if given.get("or_equal") else left > right)


def _equal(given: Cells, cells: Cells, kinds: Mapping[str, str]) -> bool:
    left, right = _pair(given, cells, kinds)
    return bool(left == right)


def _pair(given: Cells, cells: Cells, kinds: Mapping[str, str]) -> tuple[Any, Any]:
    names = (given["column_A"], given["column_B"])
    left, right = (cells[name] for name in names)
    of = {kinds[name] for name in names}
    # Beside a double both are doubles; a float beside a whole number makes both floats.
    if left is None or right is None or not of & set(FLOAT_TYPES):
        return left, right
    if "double" in of or any(kind.startswith("decimal") for kind in of):
        return float(left), float(right)
    return _FLOAT.unpack(_FLOAT.pack(left))[0], _FLOAT.unpack(_FLOAT.pack(right))[0]


_JUDGES: dict[str, Callable[[Cells, Cells, Mapping[str, str]], bool]] = {
    "expect_column_values_to_not_be_null": _is_there,
    "expect_column_values_to_be_null": _is_null,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_value_lengths_to_be_between": _lengths_between,
    "expect_column_value_lengths_to_equal": _length_equals,
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": _equal,
}
