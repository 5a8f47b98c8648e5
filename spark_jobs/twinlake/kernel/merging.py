"""Partials of windows: gathered from ranges of elements, merged, and finished into answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from twinlake.errors import InputError
from twinlake.kernel import exact, rounding
from twinlake.kernel.events import Column, NumericColumn, TextColumn
from twinlake.kernel.exact import BoolArray, FloatArray, IntArray, Limbs, Numbers
from twinlake.kernel.measures import Measure, Measured, needs_of
from twinlake.kernel.series import Series, Source

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Ends:
    """The cells of the oldest and of the newest row of q windows.

    Attributes:
        cells: The cell, null where it is or where the window is empty; None if not carried.
        row: The row it is from, -1 for none; None unless from raw events.
    """

    cells: Column | None
    row: IntArray | None


@dataclass(frozen=True, slots=True)
class GatheredColumn:
    """Partials of one column over q windows; what is not needed is None."""

    integer: bool
    scale10: int
    count: IntArray | None = None
    total: Limbs | None = None
    squares: Limbs | None = None
    lowest: Numbers | None = None
    highest: Numbers | None = None
    first: Ends | None = None
    last: Ends | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """Partials of q windows.

    Attributes:
        rows: Visible rows, shape (q,).
        oldest_us: Event time of the oldest row, 0 if there is none, shape (q,).
        newest_us: Event time of the newest row, 0 if there is none, shape (q,).
        columns: Partials by column name.
    """

    rows: IntArray
    oldest_us: IntArray
    newest_us: IntArray
    columns: Mapping[str, GatheredColumn]


def gather(source: Source, low: IntArray, high: IntArray, measures: Sequence[Measure]) -> Gathered:
    """Gather what the measures need from the element ranges [low, high), each of shape (q,)."""
    needs = needs_of(measures)
    some = high > low
    if source.key.size and any(parts & {"first", "last"} for parts in needs.values()):
        oldest = np.where(some, source.oldest_us[np.where(some, low, 0)], 0)
        newest = np.where(some, source.newest_us[np.where(some, high - 1, 0)], 0)
    else:
        oldest = newest = np.zeros(low.size, np.int64)
    columns = {name: _gather_column(source, name, low, high, p) for name, p in needs.items()}
    return Gathered(source.rows(low, high), oldest, newest, columns)


def _gather_column(
    source: Source, name: str, low: IntArray, high: IntArray, parts: frozenset[str]
) -> GatheredColumn:
    if parts <= {"first", "last"} and source.is_raw and name not in source.series:
        series = Series(None)  # the caller keeps this column and wants only row numbers
    else:
        series = source.column(name)
    return GatheredColumn(
        series.integer,
        series.scale10,
        series.count(low, high) if "count" in parts else None,
        series.total(low, high) if "sum" in parts else None,
        series.squares(low, high) if "squares" in parts else None,
        series.lowest(low, high) if "extremes" in parts else None,
        series.highest(low, high) if "extremes" in parts else None,
        _ends(source, series, np.where(high > low, low, -1), newest=False)
        if "first" in parts
        else None,
        _ends(source, series, np.where(high > low, high - 1, -1), newest=True)
        if "last" in parts
        else None,
    )


def _ends(source: Source, series: Series, element: IntArray, *, newest: bool) -> Ends:
    cells = series.last(element) if newest else series.first(element)
    return Ends(cells, source.rows_of(element))


def merge(older: Gathered, newer: Gathered) -> Gathered:
    """Merge partials of two disjoint sets of rows, window by window.

    Where rows of both have the same event time, those of ``older`` come first: the caller passes
    them so that this agrees with the (event, known, tie) order.
    """
    has_older, has_newer = older.rows > 0, newer.rows > 0
    first_older = has_older & (~has_newer | (older.oldest_us <= newer.oldest_us))
    last_newer = has_newer & (~has_older | (newer.newest_us >= older.newest_us))
    columns = {
        name: _merge_column(column, newer.columns[name], first_older, last_newer)
        for name, column in older.columns.items()
    }
    return Gathered(
        older.rows + newer.rows,
        np.where(first_older, older.oldest_us, newer.oldest_us),
        np.where(last_newer, newer.newest_us, older.newest_us),
        columns,
    )


def _merge_column(
    older: GatheredColumn, newer: GatheredColumn, first_older: BoolArray, last_newer: BoolArray
) -> GatheredColumn:
    return replace(
        older,
        count=_both(older.count, newer.count, np.add),
        total=_both(older.total, newer.total, exact.add),
        squares=_both(older.squares, newer.squares, exact.add),
        lowest=_both(older.lowest, newer.lowest, np.minimum),
        highest=_both(older.highest, newer.highest, np.maximum),
        first=_both(older.first, newer.first, lambda a, b: _choose(first_older, a, b)),
        last=_both(older.last, newer.last, lambda a, b: _choose(last_newer, b, a)),
    )


def _both(
    older: Value | None, newer: Value | None, join: Callable[[Value, Value], Value]
) -> Value | None:
    return None if older is None or newer is None else join(older, newer)


def _choose(mask: BoolArray, yes: Ends, no: Ends) -> Ends:
    cells, row = None, None
    if yes.cells is not None and no.cells is not None:
        cells = _choose_cells(mask, yes.cells, no.cells)
    if yes.row is not None and no.row is not None:
        row = np.where(mask, yes.row, no.row)
    return Ends(cells, row)


def _choose_cells(mask: BoolArray, yes: Column, no: Column) -> Column:
    values, valid = np.where(mask, yes.values, no.values), np.where(mask, yes.valid, no.valid)
    if isinstance(yes, NumericColumn):
        return NumericColumn(values, valid, yes.scale10)
    return TextColumn(values, valid)


def finish(gathered: Gathered, measures: Sequence[Measure]) -> list[Measured]:
    """Turn partials into answers, in the order of the measures.

    The sum of an integer column that does not fit 64 bits is overflow.
    """
    sums: dict[str, FloatArray] = {}  # rounded once, shared by sum and mean
    return [_finish_one(gathered, measure, sums) for measure in measures]


def _finish_one(gathered: Gathered, measure: Measure, sums: dict[str, FloatArray]) -> Measured:
    if measure.column is None:
        return Measured(gathered.rows, np.ones(gathered.rows.size, np.bool_))
    column = gathered.columns[measure.column]
    match measure.function:
        case "first":
            return _finish_end(_made(column.first))
        case "last":
            return _finish_end(_made(column.last))
        case "min" | "max":
            extreme = _made(column.lowest if measure.function == "min" else column.highest)
            some = _made(column.count) > 0
            return Measured(np.where(some, extreme, 0), some, column.scale10)
    count = _made(column.count)
    match measure.function:
        case "count":
            return Measured(count.copy(), np.ones(count.size, np.bool_))
        case "stddev":
            total, squares = _made(column.total), _made(column.squares)
            return Measured(rounding.stddev(count, total, squares, column.scale10), count >= 2)
        case "sum" if column.integer and not column.scale10:
            whole, fits = rounding.to_int64(_made(column.total))
            return Measured(whole, (count > 0) & fits, overflow=~fits)
    if measure.column not in sums:
        sums[measure.column] = rounding.to_float64(_made(column.total), column.scale10)
    total_once = sums[measure.column]
    if measure.function == "mean":
        return Measured(rounding.mean(count, total_once), count > 0)
    return Measured(total_once.copy(), count > 0)


def _finish_end(ends: Ends) -> Measured:
    if ends.cells is not None:
        scale10 = ends.cells.scale10 if isinstance(ends.cells, NumericColumn) else 0
        return Measured(ends.cells.values.copy(), ends.cells.valid.copy(), scale10, ends.row)
    row = _made(ends.row)
    return Measured(None, row >= 0, 0, row)


def _made(part: Value | None) -> Value:
    if part is None:
        raise InputError("a partial is missing that needs_of should have asked for")
    return part
