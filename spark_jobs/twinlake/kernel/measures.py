"""What is asked of a window, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinlake.errors import InputError
from twinlake.kernel.exact import BoolArray, IntArray

FUNCTIONS: Mapping[str, frozenset[str]] = {
    "count": frozenset({"count"}),
    "sum": frozenset({"count", "sum"}),
    "mean": frozenset({"count", "sum"}),
    "min": frozenset({"count", "extremes"}),
    "max": frozenset({"count", "extremes"}),
    "stddev": frozenset({"count", "sum", "squares"}),
    "first": frozenset({"first"}),
    "last": frozenset({"last"}),
}
"""The functions, and the partials of a column that each needs."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One aggregate over one window.

    Attributes:
        function: One of ``FUNCTIONS``.
        column: The column; None only for count, which then counts rows.
        window_us: W of the window ``(t - W, t]``; None for all visible rows.
    """

    function: str
    column: str | None
    window_us: int | None

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise InputError.unknown("function", self.function, FUNCTIONS)
        if self.column is None and self.function != "count":
            raise InputError(f"{self.function} needs a column; only count can do without")


@dataclass(frozen=True, slots=True)
class Measured:
    """The answers to one measure.

    Attributes:
        values: float64, int64 or (first and last of text) object, shape (q,). For min, max, first
            and last of a decimal: scaled int64. None if first or last names a column that the
            events do not carry: then ``row`` is all there is, and ``valid`` says if there is a row.
        valid: bool of shape (q,), False for null.
        scale10: Decimal places of ``values``.
        row: For first and last over raw events, the row that the cell is from, -1 for none.
        overflow: bool of shape (q,), True where there is a value that cannot be given: it does not
            fit 64 bits, or its window holds too many rows; such a cell is not valid. None: nowhere.
    """

    values: npt.NDArray[Any] | None
    valid: BoolArray
    scale10: int = 0
    row: IntArray | None = None
    overflow: BoolArray | None = None

    def overflowing(self, where: BoolArray) -> Measured:
        """Return the answers without those that are overflow."""
        if not where.any():
            return self
        values, row = self.values, self.row
        if values is not None:
            values = np.where(where, "" if values.dtype == object else 0, values)
            values = values.astype(self.values.dtype)  # type: ignore[union-attr]
        if row is not None:
            row = np.where(where, -1, row)
        overflow = where if self.overflow is None else where | self.overflow
        return Measured(values, self.valid & ~where, self.scale10, row, overflow)

    def take(self, index: slice) -> Measured:
        """Return the chosen answers."""
        values = None if self.values is None else self.values[index]
        row = None if self.row is None else self.row[index]
        overflow = None if self.overflow is None else self.overflow[index]
        return Measured(values, self.valid[index], self.scale10, row, overflow)


def needs_of(measures: Sequence[Measure]) -> dict[str, frozenset[str]]:
    """Return per column the partials that the measures need."""
    needs: dict[str, frozenset[str]] = {}
    for measure in measures:
        if measure.column is not None:
            before = needs.get(measure.column, frozenset())
            needs[measure.column] = before | FUNCTIONS[measure.function]
    return needs


def by_window(measures: Sequence[Measure]) -> dict[int | None, list[int]]:
    """Return the positions of the measures of each distinct window."""
    groups: dict[int | None, list[int]] = {}
    for i, measure in enumerate(measures):
        groups.setdefault(measure.window_us, []).append(i)
    return groups
