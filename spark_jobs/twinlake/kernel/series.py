"""Elements made ready for range questions: prefix sums and extremes, built when first asked for.

Raw events and tiles meet here: a raw event is an element of one row, and costs no more than its
own cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from twinlake.errors import InputError
from twinlake.kernel import exact
from twinlake.kernel.elements import (
    Elements,
    Partials,
    high_fill,
    low_fill,
    total_squares,
    totals,
)
from twinlake.kernel.events import Column, Events, NumericColumn
from twinlake.kernel.exact import BoolArray, IntArray, Limbs, Numbers
from twinlake.kernel.spans import range_extremes

Part = TypeVar("Part")
_NOT_FOLDED = "this partial was not made when the rows were folded"


class Series:
    """One column over n elements; every method answers for ranges [low, high) of elements."""

    __slots__ = ("_cells", "_count", "_highest", "_lowest", "_partials", "_squares", "_total")

    def __init__(self, cells: Column | None, partials: Partials | None = None) -> None:
        """Wrap raw cells, or else partials."""
        self._cells = cells
        self._partials = partials
        self._count: IntArray | None = None
        self._total: Limbs | None = None
        self._squares: Limbs | None = None
        self._lowest: Numbers | None = None
        self._highest: Numbers | None = None

    @property
    def scale10(self) -> int:
        """Decimal places of the column."""
        if self._partials is not None:
            return self._partials.scale10
        return self._cells.scale10 if isinstance(self._cells, NumericColumn) else 0

    @property
    def integer(self) -> bool:
        """Whether cells are int64, scaled or not."""
        if self._partials is not None:
            return self._partials.integer
        return self._cells is not None and self._cells.values.dtype == np.int64

    def count(self, low: IntArray, high: IntArray) -> IntArray:
        """Return the non-null cells per range."""
        if self._partials is None and self._present().all():
            return high - low
        if self._count is None:
            if self._partials is not None:
                made = _made(self._partials.count)
            else:
                made = self._present().astype(np.int64)
            self._count = _running(made)
        return self._count[high] - self._count[low]

    def total(self, low: IntArray, high: IntArray) -> Limbs:
        """Return the exact sums per range."""
        if self._total is None:
            partials = self._partials
            made = totals(self._numeric()) if partials is None else _made(partials.total)
            self._total = exact.prefix_sums(made)
        return exact.range_sums(self._total, low, high)

    def squares(self, low: IntArray, high: IntArray) -> Limbs:
        """Return the exact sums of squares per range."""
        if self._squares is None:
            partials = self._partials
            made = total_squares(self._numeric()) if partials is None else _made(partials.squares)
            self._squares = exact.prefix_sums(made)
        return exact.range_sums(self._squares, low, high)

    def lowest(self, low: IntArray, high: IntArray) -> Numbers:
        """Return the smallest cell per range; where it is empty, what never wins a minimum."""
        if self._lowest is None:
            partials = self._partials
            self._lowest = low_fill(self._numeric()) if partials is None else _made(partials.lowest)
        return _extremes(self._lowest, low, high, np.minimum)

    def highest(self, low: IntArray, high: IntArray) -> Numbers:
        """Return the largest cell per range; where it is empty, what never wins a maximum."""
        if self._highest is None:
            partials = self._partials
            self._highest = (
                high_fill(self._numeric()) if partials is None else _made(partials.highest)
            )
        return _extremes(self._highest, low, high, np.maximum)

    def first(self, element: IntArray) -> Column | None:
        """Return the cells of the oldest rows of elements, null for -1; None without cells."""
        if self._partials is not None:
            return _taken(self._partials.first, element)
        return None if self._cells is None else self._cells.take(element)

    def last(self, element: IntArray) -> Column | None:
        """Return the cells of the newest rows of elements, null for -1; None without cells."""
        if self._partials is not None:
            return _taken(self._partials.last, element)
        return None if self._cells is None else self._cells.take(element)

    def _present(self) -> BoolArray:
        if self._cells is None:
            raise InputError(_NOT_FOLDED)
        return self._cells.valid

    def _numeric(self) -> NumericColumn:
        if not isinstance(self._cells, NumericColumn):
            raise InputError("a text column has count, first and last, but no arithmetic")
        return self._cells


class Source:
    """Elements with their series, for range questions about all of their columns."""

    __slots__ = ("_origin", "_rows", "key", "key_count", "newest_us", "oldest_us", "series")

    def __init__(
        self,
        key_count: int,
        key: IntArray,
        oldest_us: IntArray,
        newest_us: IntArray,
        series: Mapping[str, Series],
        rows: IntArray | None = None,
        origin: IntArray | None = None,
    ) -> None:
        """Wrap n elements; ``rows=None`` means one row each.

        ``origin`` gives the row of the caller's events that each element is, if it is one.
        """
        self.key_count = key_count
        self.key = key
        self.oldest_us = oldest_us
        self.newest_us = newest_us
        self.series = series
        self._origin = origin
        self._rows = None if rows is None else _running(rows)

    @classmethod
    def of(cls, source: Events | Elements) -> Source:
        """Wrap raw events, every one an element, or elements."""
        if isinstance(source, Elements):
            folded = {name: Series(None, part) for name, part in source.columns.items()}
            return cls(
                source.key_count,
                source.key,
                source.oldest_us,
                source.pos_us,
                folded,
                source.rows,
            )
        raw = {name: Series(column) for name, column in source.columns.items()}
        return cls(source.key_count, source.key, source.event_us, source.event_us, raw)

    @classmethod
    def of_rows(cls, events: Events, row: IntArray) -> Source:
        """Wrap chosen rows of events, in any order and number, one element each."""
        series = {name: Series(column.take(row)) for name, column in events.columns.items()}
        time = events.event_us[row]
        return cls(events.key_count, events.key[row], time, time, series, origin=row)

    def rows(self, low: IntArray, high: IntArray) -> IntArray:
        """Return the rows per range."""
        return high - low if self._rows is None else self._rows[high] - self._rows[low]

    @property
    def is_raw(self) -> bool:
        """Whether every element is one row of the caller's events."""
        return self._rows is None

    def rows_of(self, element: IntArray) -> IntArray | None:
        """Return which row of the caller's events elements are, -1 for -1; None for tiles."""
        if not self.is_raw:
            return None
        if self._origin is None:
            return element
        if not self._origin.size:
            return np.full(element.size, -1, np.int64)
        return np.where(element >= 0, self._origin[element], -1)

    def column(self, name: str) -> Series:
        """Return one column, or raise InputError with the names that are there."""
        if name not in self.series:
            raise InputError.unknown("column", name, self.series)
        return self.series[name]


def _running(values: IntArray) -> IntArray:
    result = np.zeros(values.size + 1, np.int64)
    np.cumsum(values, out=result[1:])
    return result


def _extremes(values: Numbers, low: IntArray, high: IntArray, pick: np.ufunc) -> Numbers:
    result: Numbers = range_extremes(values, low, high, pick)
    limits = np.iinfo(np.int64)
    is_float = values.dtype == np.float64
    if pick is np.minimum:
        loser: float | int = np.inf if is_float else limits.max
    else:
        loser = -np.inf if is_float else limits.min
    result[high <= low] = loser
    return result


def _made(part: Part | None) -> Part:
    if part is None:
        raise InputError(_NOT_FOLDED)
    return part


def _taken(cells: Column | None, element: IntArray) -> Column:
    if cells is None:
        raise InputError(_NOT_FOLDED)
    return cells.take(element)
