"""Features again, in plain Python: the independent half of parity.

Nothing here is shared with the kernel. Sums are whole numbers of the smallest part that the cells
of a key need (a power of two for doubles, 10**-scale for decimals), so adding and taking away is
exact and the one rounding is Python's own, which is right by its definition of ``int / int``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twinlake.definitions.views import Feature

PRESENT, MISSING, EXPIRED, NOT_YET_KNOWN = "present", "missing", "expired", "not_yet_known"
NULL = "null"
INT64_LOW, INT64_HIGH = -(2**63), 2**63 - 1


class Overflow:
    """What stands for a value that is there and cannot be given."""

    def __repr__(self) -> str:
        return "overflow"


OVERFLOW = Overflow()


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of a key: its times, its last tie-break, and the columns that features read."""

    event_us: int
    known_us: int
    tie: tuple[int, int]
    values: dict[str, Any]

    @property
    def order(self) -> tuple[int, int, tuple[int, int]]:
        """What law 2 orders by; the greatest is the newest."""
        return (self.event_us, self.known_us, self.tie)


@dataclass(frozen=True, slots=True)
class Vector:
    """A view's values for one key at one moment.

    Attributes:
        status: Of the whole row: present, missing, expired or not_yet_known.
        event_us: Event timestamp of the newest visible row.
        values: One per feature; None where there is none, ``OVERFLOW`` where it cannot be given.
    """

    status: str
    event_us: int | None
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Shape:
    """What of a view decides its values.

    Attributes:
        features: In the order of the vector.
        scales: Digits after the point of every decimal column; others are absent.
        hop_us: Width of a tile; None for exact windows.
        ttl_us: Time to live; None for ever.
        most_rows: How many rows of a key a window may hold; None for any number.
    """

    features: Sequence[Feature]
    scales: dict[str, int]
    hop_us: int | None
    ttl_us: int | None
    most_rows: int | None = None


def tail_us(as_of_us: int, window_us: int, hop_us: int | None) -> int:
    """Give the moment after which a window's rows lie."""
    tail = as_of_us - window_us
    return tail if hop_us is None else tail // hop_us * hop_us


def recompute(
    rows: Sequence[EventRow], moments: Sequence[tuple[int, int]], shape: Shape
) -> list[Vector]:
    """Compute a key's vectors as of some moments.

    Args:
        rows: All events of one key, in any order.
        moments: ``(t, k)`` each: rows with event <= t and known <= k are visible.
        shape: What to compute.

    Returns:
        One vector per moment, in the order given.
    """
    ordered = sorted(rows, key=lambda row: row.order)
    in_order = all(row.known_us <= row.event_us for row in ordered)
    vectors: list[Vector | None] = [None] * len(moments)
    sliding = _Sliding(ordered, shape) if in_order else None
    for position in sorted(range(len(moments)), key=lambda i: moments[i]):
        as_of_us, known_us = moments[position]
        if sliding is not None and known_us >= as_of_us:
            values = sliding.advance(as_of_us)
            newest = sliding.newest
        else:
            visible = [r for r in ordered if r.event_us <= as_of_us and r.known_us <= known_us]
            newest = visible[-1] if visible else None
            values = _from_scratch(visible, as_of_us, shape)
        happened = any(row.event_us <= as_of_us for row in ordered[:1])
        vectors[position] = _judge(newest, values, as_of_us, shape, happened=happened)
    return [vector for vector in vectors if vector is not None]


def _judge(
    newest: EventRow | None,
    values: tuple[Any, ...],
    as_of_us: int,
    shape: Shape,
    *,
    happened: bool,
) -> Vector:
    nothing = (None,) * len(shape.features)
    if newest is None:
        return Vector(NOT_YET_KNOWN if happened else MISSING, None, nothing)
    if shape.ttl_us is not None and as_of_us - newest.event_us > shape.ttl_us:
        return Vector(EXPIRED, newest.event_us, nothing)
    return Vector(PRESENT, newest.event_us, values)


def _from_scratch(visible: list[EventRow], as_of_us: int, shape: Shape) -> tuple[Any, ...]:
    sliding = _Sliding(visible, shape)
    return sliding.advance(as_of_us)


@dataclass(frozen=True, slots=True)
class _Units:
    """A column's cells as whole numbers of one part that all of them are multiples of.

    Attributes:
        cells: One whole number per row; None where the cell is null.
        part: How many of them make 1.
        whole: Whether sums are whole numbers themselves: the column holds integers.
    """

    cells: list[int | None]
    part: int
    whole: bool

    @classmethod
    def of(cls, values: list[Any], scale: int | None) -> _Units:
        """Take the finest part that a key's cells need: a power of two, or of ten."""
        held = [value for value in values if value is not None]
        if held and isinstance(held[0], float):
            ratios = [None if value is None else value.as_integer_ratio() for value in values]
            part = max(ratio[1] for ratio in ratios if ratio is not None)
            # Denominators are powers of two, so the largest is a multiple of all the others.
            cells = [None if r is None else r[0] * (part // r[1]) for r in ratios]
            return cls(cells, part, whole=False)
        if scale is not None:
            cells = [None if value is None else int(value.scaleb(scale)) for value in values]
            return cls(cells, 10**scale, whole=False)
        # What is no number, such as text, can be counted and nothing else.
        numbers = not held or isinstance(held[0], int)
        cells = [None if value is None else int(value) if numbers else 1 for value in values]
        return cls(cells, 1, whole=True)


def _divided(units: int, parts: int) -> float:
    """Divide with one rounding; what no double can hold is infinite."""
    try:
        return units / parts
    except OverflowError:
        return math.inf if units > 0 else -math.inf


@dataclass
class _Total:
    """What one column comes to inside one window."""

    units: _Units
    values: list[Any]
    ordered: bool
    squared: bool
    count: int = 0
    total: int = 0
    squares: int = 0
    sorted_values: list[Any] = field(default_factory=list)

    def add(self, row: int) -> None:
        unit = self.units.cells[row]
        if unit is None:
            return
        self.count += 1
        self.total += unit
        if self.squared:
            self.squares += unit * unit
        if self.ordered:
            insort(self.sorted_values, self.values[row])

    def remove(self, row: int) -> None:
        unit = self.units.cells[row]
        if unit is None:
            return
        self.count -= 1
        self.total -= unit
        if self.squared:
            self.squares -= unit * unit
        if self.ordered:
            del self.sorted_values[bisect_left(self.sorted_values, self.values[row])]

    def result(self, function: str) -> Any:  # noqa: ANN401 (a cell of any numeric type)
        if function == "count":
            return self.count
        if self.count == 0:
            return None
        if function == "sum":
            if not self.units.whole:
                return _divided(self.total, self.units.part)
            return self.total if INT64_LOW <= self.total <= INT64_HIGH else OVERFLOW
        if function == "mean":
            return _divided(self.total, self.units.part) / self.count
        if function == "min":
            return self.sorted_values[0]
        if function == "max":
            return self.sorted_values[-1]
        if self.count < 2:
            return None
        spread = self.count * self.squares - self.total * self.total
        rounded = _divided(spread, self.units.part * self.units.part)
        return math.sqrt(rounded / float(self.count * (self.count - 1)))


class _Sliding:
    """One key's windows, moved forward in time row by row."""

    def __init__(self, rows: list[EventRow], shape: Shape) -> None:
        self._rows = rows
        self._shape = shape
        self._until = 0
        self._windows = sorted({f.window_us for f in shape.features if f.window_us is not None})
        self._starts = dict.fromkeys(self._windows, 0)
        self._values: dict[str, list[Any]] = {}
        self._units: dict[str, _Units] = {}
        self._totals: dict[tuple[str, int], _Total] = {}
        for feature in shape.features:
            if feature.window_us is not None and feature.column is not None:
                self._prepare(feature.column, feature.window_us)
        self._of_window = {
            window_us: [total for (_, w), total in self._totals.items() if w == window_us]
            for window_us in self._windows
        }

    def _prepare(self, column: str, window_us: int) -> None:
        used = {
            feature.function
            for feature in self._shape.features
            if feature.column == column and feature.window_us == window_us
        }
        if used <= {"first", "last"}:
            return
        if column not in self._values:
            self._values[column] = [row.values[column] for row in self._rows]
            scale = self._shape.scales.get(column)
            self._units[column] = _Units.of(self._values[column], scale)
        self._totals[column, window_us] = _Total(
            self._units[column],
            self._values[column],
            bool(used & {"min", "max"}),
            "stddev" in used,
        )

    @property
    def newest(self) -> EventRow | None:
        """The newest row up to where the windows stand."""
        return self._rows[self._until - 1] if self._until else None

    def advance(self, as_of_us: int) -> tuple[Any, ...]:
        """Move to a moment that is not before the last one and give the values there."""
        rows = self._rows
        while self._until < len(rows) and rows[self._until].event_us <= as_of_us:
            for total in self._totals.values():
                total.add(self._until)
            self._until += 1
        for window_us in self._windows:
            tail = tail_us(as_of_us, window_us, self._shape.hop_us)
            start = self._starts[window_us]
            while start < self._until and rows[start].event_us <= tail:
                for total in self._of_window[window_us]:
                    total.remove(start)
                start += 1
            self._starts[window_us] = start
        return tuple(self._value(feature) for feature in self._shape.features)

    def _value(self, feature: Feature) -> Any:  # noqa: ANN401 (a cell of any type)
        if feature.window_us is None:
            return self.newest.values[str(feature.column)] if self.newest else None
        start = self._starts[feature.window_us]
        most = self._shape.most_rows
        if most is not None and self._until - start > most:
            return OVERFLOW
        if feature.column is None:
            return self._until - start
        if feature.function in {"first", "last"}:
            if start == self._until:
                return None
            row = self._rows[start if feature.function == "first" else self._until - 1]
            return row.values[feature.column]
        return self._totals[feature.column, feature.window_us].result(str(feature.function))
