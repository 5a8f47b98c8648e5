"""Elements: single events or prefolded tiles, and their exact partial aggregates.

An element stands for one or more rows of one key. Partials of elements merge without loss, so
folding rows into tiles first changes no result (prepare, merge, finalise, as in Chronon).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from twinlake.kernel import exact
from twinlake.kernel.events import Column, Events, NumericColumn
from twinlake.kernel.exact import IntArray, Limbs, Numbers
from twinlake.kernel.windows import tile_end_us

PARTS = ("count", "sum", "squares", "extremes", "first", "last")
"""What a partial of a column can hold."""


@dataclass(frozen=True, slots=True)
class Partials:
    """Partial aggregates of one column over n elements; what is not needed is None.

    Attributes:
        count: Non-null cells per element, int64 of shape (n,).
        integer: Whether cells are int64, scaled or not, rather than float64.
        scale10: Decimal places of the column.
        total: Exact sums.
        squares: Exact sums of squares.
        lowest: Smallest non-null cell; the largest value of its type where there is none.
        highest: Largest non-null cell; the smallest value of its type where there is none.
        first: The cell of the element's oldest row, null if that cell is.
        last: The cell of the element's newest row, null if that cell is.
    """

    count: IntArray | None = None
    integer: bool = False
    scale10: int = 0
    total: Limbs | None = None
    squares: Limbs | None = None
    lowest: Numbers | None = None
    highest: Numbers | None = None
    first: Column | None = None
    last: Column | None = None


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements of many keys, sorted by (key, newest time), no two of a key overlapping in time.

    Attributes:
        key_count: K.
        key: Codes, shape (n,), ascending.
        oldest_us: Event time of the oldest row of each element, shape (n,).
        pos_us: Event time of the newest row of each element, shape (n,).
        rows: Rows per element, int64 of shape (n,).
        columns: Partials by column name.
    """

    key_count: int
    key: IntArray
    oldest_us: IntArray
    pos_us: IntArray
    rows: IntArray
    columns: Mapping[str, Partials]

    def __len__(self) -> int:
        return int(self.key.size)


def low_fill(column: NumericColumn) -> Numbers:
    """Return the cells with nulls replaced by what never wins a minimum."""
    if column.values.dtype == np.float64:
        return np.where(column.valid, column.values, np.inf)
    return np.where(column.valid, column.values, np.iinfo(np.int64).max)


def high_fill(column: NumericColumn) -> Numbers:
    """Return the cells with nulls replaced by what never wins a maximum."""
    if column.values.dtype == np.float64:
        return np.where(column.valid, column.values, -np.inf)
    return np.where(column.valid, column.values, np.iinfo(np.int64).min)


def totals(column: NumericColumn) -> Limbs:
    """Return the exact cells, null as 0."""
    if column.values.dtype == np.float64:
        return exact.from_float64(column.values)
    return exact.from_int64(column.values)


def total_squares(column: NumericColumn) -> Limbs:
    """Return the exact squares of the cells, null as 0."""
    if column.values.dtype == np.float64:
        return exact.squares_of_float64(column.values)
    return exact.squares_of_int64(column.values)


def group_edges(events: Events, hop_us: int) -> IntArray:
    """Return the first row of every (key, tile) group, shape (groups,)."""
    if not len(events):
        return np.zeros(0, np.int64)
    end = tile_end_us(events.event_us, hop_us)
    new = (events.key[1:] != events.key[:-1]) | (end[1:] != end[:-1])
    return np.concatenate(([0], np.flatnonzero(new) + 1)).astype(np.int64)


def fold_rows(events: Events, starts: IntArray, needs: Mapping[str, Iterable[str]]) -> Elements:
    """Fold consecutive rows into elements.

    Args:
        events: Rows that are all visible.
        starts: The first row of each group, ascending from 0; a group has rows of one key only.
        needs: Per column the ``PARTS`` to make; columns not named are left out.
    """
    ends = np.append(starts[1:], len(events)) if starts.size else starts
    columns = {
        name: _fold_column(events.columns[name], starts, ends, frozenset(parts))
        for name, parts in needs.items()
    }
    return Elements(
        events.key_count,
        events.key[starts],
        events.event_us[starts],
        events.event_us[ends - 1],
        ends - starts,
        columns,
    )


def tiles_of(events: Events, hop_us: int, needs: Mapping[str, Iterable[str]]) -> Elements:
    """Fold rows into one element per key and hop tile ``(i*h, (i+1)*h]``."""
    return fold_rows(events, group_edges(events, hop_us), needs)


def _fold_column(
    column: Column, starts: IntArray, ends: IntArray, parts: frozenset[str]
) -> Partials:
    first = column.take(starts) if "first" in parts else None
    last = column.take(ends - 1) if "last" in parts else None
    count = None
    if "count" in parts:
        count = _reduced(np.add, column.valid.astype(np.int64), starts)
    if not isinstance(column, NumericColumn):
        return Partials(count, first=first, last=last)
    extremes = "extremes" in parts
    return Partials(
        count,
        column.values.dtype == np.int64,
        column.scale10,
        exact.group_sums(totals(column), starts) if "sum" in parts else None,
        exact.group_sums(total_squares(column), starts) if "squares" in parts else None,
        _reduced(np.minimum, low_fill(column), starts) if extremes else None,
        _reduced(np.maximum, high_fill(column), starts) if extremes else None,
        first,
        last,
    )


def _reduced(fold: np.ufunc, values: Numbers, starts: IntArray) -> Numbers:
    """Reduce consecutive groups; reduceat itself does not take "no groups"."""
    return fold.reduceat(values, starts) if starts.size else values[:0]
