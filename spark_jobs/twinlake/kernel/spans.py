"""Questions about ranges of an array: extremes, and the first or last element beyond a bound.

Sparse tables (M. Bender, M. Farach-Colton): level l holds the extreme of every ``2**l``
consecutive elements, so the cost is logarithmic in the longest range and never linear in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from twinlake.kernel.exact import IntArray

Values = npt.NDArray[Any]


def range_extremes(values: Values, low: IntArray, high: IntArray, pick: np.ufunc) -> Values:
    """Return the extreme of ``values[low:high]`` per range; ``values[0]``-typed 0 where empty.

    Only one level of the table lives at a time, so memory stays O(n + q).

    Args:
        values: shape (n,).
        low: Range starts, shape (q,).
        high: Range ends, exclusive, shape (q,).
        pick: ``np.minimum`` or ``np.maximum``.
    """
    result = np.zeros(low.size, values.dtype)
    _, exponent = np.frexp((high - low).astype(np.float64))  # an empty range gives 0
    level_of = exponent.astype(np.int8)
    order = np.argsort(level_of, kind="stable")  # radix sort: int8
    edges = np.searchsorted(level_of[order], np.arange(1, 66))
    current = values
    for level in range(int(level_of.max(initial=0))):
        width = 1 << level
        if level:
            current = pick(current[: -width // 2], current[width // 2 :])
        chosen = order[edges[level] : edges[level + 1]]
        if chosen.size:
            result[chosen] = pick(current[low[chosen]], current[high[chosen] - width])
    return result


class Skipper:
    """Finds where a run of elements on one side of a bound ends, in logarithmic time."""

    __slots__ = ("_levels", "_over")

    def __init__(self, values: IntArray, longest: int, *, over: bool) -> None:
        """Build the table.

        Args:
            values: shape (n,).
            longest: The longest range that will be asked about.
            over: Skip elements above the bound if True, else those at or below it.
        """
        self._over = over
        pick = np.minimum if over else np.maximum
        self._levels = [values]
        while 1 << len(self._levels) <= min(longest, values.size):
            half = 1 << (len(self._levels) - 1)
            below = self._levels[-1]
            self._levels.append(pick(below[:-half], below[half:]))

    def forward(self, low: IntArray, high: IntArray, bound: IntArray) -> IntArray:
        """Return the first position in [low, high) not to be skipped, or high."""
        at = low.copy()
        for level in range(len(self._levels) - 1, -1, -1):
            width, table = 1 << level, self._levels[level]
            inside = np.flatnonzero(at + width <= high)
            skip = inside[self._beyond(table[at[inside]], bound[inside])]
            at[skip] += width
        return at

    def backward(self, low: IntArray, high: IntArray, bound: IntArray) -> IntArray:
        """Return the last position in [low, high) not to be skipped, or low - 1."""
        end = high.copy()
        for level in range(len(self._levels) - 1, -1, -1):
            width, table = 1 << level, self._levels[level]
            inside = np.flatnonzero(end - width >= low)
            skip = inside[self._beyond(table[end[inside] - width], bound[inside])]
            end[skip] -= width
        return end - 1

    def _beyond(self, extreme: IntArray, bound: IntArray) -> npt.NDArray[np.bool_]:
        return extreme > bound if self._over else extreme <= bound


def expand(low: IntArray, high: IntArray) -> tuple[IntArray, IntArray]:
    """List the members of ranges.

    Returns:
        position: Every position of every range [low, high), range after range.
        owner: For each, the index of its range.
    """
    size = high - low
    owner = np.repeat(np.arange(low.size, dtype=np.int64), size)
    first = np.cumsum(size) - size
    position = np.arange(owner.size, dtype=np.int64) + (low - first)[owner]
    return position, owner
