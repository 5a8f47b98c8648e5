"""Features again, in plain Python: the independent half of parity.

Nothing here is shared with the kernel. Sums are whole numbers of the smallest part that a value can
have (2**-1074 for a double, 10**-scale for a decimal), so adding and taking away is exact and the
one rounding is Python's own, which is right by its definition of ``int / int``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from twinlake.definitions.views import Feature

# Every finite double is a whole number of these.
_DOUBLE_UNIT_BITS = 1074
_DOUBLE_UNIT = 1 << _DOUBLE_UNIT_BITS

PRESENT, MISSING, EXPIRED, NOT_YET_KNOWN = "present", "missing", "expired", "not_yet_known"
NULL = "null"


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
        values: One per feature; None where there is none.
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
    """

    features: Sequence[Feature]
    scales: dict[str, int]
    hop_us: int | None
    ttl_us: int | None


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


@dataclass
class _Total:
    """What one column comes to inside one window."""

    to_unit: Callable[[Any], int]
    from_units: Callable[[int], Any]
    squares_from_units: Callable[[int], float]
    ordered: bool
    squared: bool
    count: int = 0
    units: int = 0
    squares: int = 0
    sorted_values: list[Any] = field(default_factory=list)

    def add(self, value: Any) -> None:  # noqa: ANN401 (a cell of any numeric type)
        if value is None:
            return
        unit = self.to_unit(value)
        self.count += 1
        self.units += unit
        if self.squared:
            self.squares += unit * unit
        if self.ordered:
            insort(self.sorted_values, value)

    def remove(self, value: Any) -> None:  # noqa: ANN401 (a cell of any numeric type)
        if value is None:
            return
        unit = self.to_unit(value)
        self.count -= 1
        self.units -= unit
        if self.squared:
            self.squares -= unit * unit
        if self.ordered:
            del self.sorted_values[bisect_left(self.sorted_values, value)]

    def result(self, function: str) -> Any:  # noqa: ANN401 (a cell of any numeric type)
        if function == "count":
            return self.count
        if self.count == 0:
            return None
        if function == "sum":
            return self.from_units(self.units)
        if function == "mean":
            return float(self.from_units(self.units)) / self.count
        if function == "min":
            return self.sorted_values[0]
        if function == "max":
            return self.sorted_values[-1]
        if self.count < 2:
            return None
        spread = self.count * self.squares - self.units * self.units
        return math.sqrt(self.squares_from_units(spread) / float(self.count * (self.count - 1)))


class _Sliding:
    """One key's windows, moved forward in time row by row."""

    def __init__(self, rows: list[EventRow], shape: Shape) -> None:
        self._rows = rows
        self._shape = shape
        self._until = 0
        self._windows = sorted({f.window_us for f in shape.features if f.window_us is not None})
        self._starts = dict.fromkeys(self._windows, 0)
        self._totals: dict[tuple[str, int], _Total] = {}
        for feature in shape.features:
            if feature.window_us is not None and feature.column is not None:
                self._prepare(feature.column, feature.window_us)

    def _prepare(self, column: str, window_us: int) -> None:
        used = {
            feature.function
            for feature in self._shape.features
            if feature.column == column and feature.window_us == window_us
        }
        if used <= {"first", "last"}:
            return
        sample = next((r.values[column] for r in self._rows if r.values[column] is not None), 0.0)
        to_unit, from_units, squares = _units(sample, self._shape.scales.get(column))
        self._totals[column, window_us] = _Total(
            to_unit, from_units, squares, bool(used & {"min", "max"}), "stddev" in used
        )

    @property
    def newest(self) -> EventRow | None:
        """The newest row up to where the windows stand."""
        return self._rows[self._until - 1] if self._until else None

    def advance(self, as_of_us: int) -> tuple[Any, ...]:
        """Move to a moment that is not before the last one and give the values there."""
        rows = self._rows
        while self._until < len(rows) and rows[self._until].event_us <= as_of_us:
            entering = rows[self._until]
            for (column, _), total in self._totals.items():
                total.add(entering.values[column])
            self._until += 1
        for window_us in self._windows:
            tail = tail_us(as_of_us, window_us, self._shape.hop_us)
            start = self._starts[window_us]
            while start < self._until and rows[start].event_us <= tail:
                for (column, other_us), total in self._totals.items():
                    if other_us == window_us:
                        total.remove(rows[start].values[column])
                start += 1
            self._starts[window_us] = start
        return tuple(self._value(feature) for feature in self._shape.features)

    def _value(self, feature: Feature) -> Any:  # noqa: ANN401 (a cell of any type)
        if feature.window_us is None:
            return self.newest.values[str(feature.column)] if self.newest else None
        start = self._starts[feature.window_us]
        if feature.column is None:
            return self._until - start
        if feature.function in {"first", "last"}:
            if start == self._until:
                return None
            row = self._rows[start if feature.function == "first" else self._until - 1]
            return row.values[feature.column]
        return self._totals[feature.column, feature.window_us].result(str(feature.function))


def _units(
    sample: Any,  # noqa: ANN401 (a cell of any numeric type)
    scale: int | None,
) -> tuple[Callable[[Any], int], Callable[[int], Any], Callable[[int], float]]:
    """Give how a column's values become whole units, and sums of units become results."""
    if isinstance(sample, float):
        return (
            _double_units,
            lambda units: units / _DOUBLE_UNIT,
            lambda squares: squares / (_DOUBLE_UNIT * _DOUBLE_UNIT),
        )
    if isinstance(sample, Decimal) or scale is not None:
        unit = 10 ** (scale or 0)
        return (
            lambda value: int(value.scaleb(scale or 0)),
            lambda units: units / unit,
            lambda squares: squares / (unit * unit),
        )
    return int, lambda units: units, float


def _double_units(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_DOUBLE_UNIT_BITS - (denominator.bit_length() - 1))
