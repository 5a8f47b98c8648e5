"""Which rows a window holds: tails, and the position of a time in the rows of a key."""

from __future__ import annotations

import numpy as np

from twinlake.errors import InputError
from twinlake.kernel.exact import IntArray

FOREVER_AGO_US = np.iinfo(np.int64).min
_LARGEST_COMPOSITE = 2**62


def tail_us(as_of_us: IntArray, window_us: int | None, hop_us: int | None) -> IntArray:
    """Return the exclusive lower end of windows: ``t - W``, rounded down to a whole hop.

    The window holds the visible rows with ``tail < e <= t``. Hops count from the epoch and
    negative times round down too. ``window_us=None`` never forgets: its tail is the smallest
    int64, and so is a tail that would fall below it.

    Args:
        as_of_us: t, shape (q,).
        window_us: W > 0, or None.
        hop_us: Width of a tile; divides W.

    Raises:
        InputError: If W or the hop is not positive or the hop does not divide W.
    """
    if window_us is None:
        return np.full(as_of_us.size, FOREVER_AGO_US, np.int64)
    _check(window_us, hop_us)
    reach = window_us + (hop_us or 0)
    underflow = as_of_us < FOREVER_AGO_US + reach
    tail = np.where(underflow, 0, as_of_us) - window_us
    if hop_us is not None:
        tail = tail // hop_us * hop_us
    return np.where(underflow, FOREVER_AGO_US, tail)


def leaves_us(event_us: IntArray, window_us: int, hop_us: int | None) -> IntArray:
    """Return the first t at which a row is no longer in its window, shape of ``event_us``.

    Without a hop ``e + W``; with one, the row's tile (i*h, (i+1)*h] leaves whole at
    ``(i+1)*h + W``. A time beyond int64 is cut to its largest value.
    """
    _check(window_us, hop_us)
    largest = np.iinfo(np.int64).max
    reach = window_us + (hop_us or 0)
    overflow = event_us > largest - reach
    kept = np.where(overflow, 0, event_us)
    end = kept if hop_us is None else tile_end_us(kept, hop_us)
    return np.where(overflow, largest, end + window_us)


def tile_end_us(event_us: IntArray, hop_us: int) -> IntArray:
    """Return the end of the tile ``(i*h, (i+1)*h]`` that holds each time."""
    return -(-event_us // hop_us) * hop_us


class Timeline:
    """The rows of many keys by time, ready to be searched by (key, time).

    One binary search over one composite integer, ``key * span + time``. Where that would not fit
    an int64, times are replaced by their rank, which always fits.
    """

    __slots__ = ("_base", "_composite", "_key_count", "_ranks", "_span", "_starts")

    def __init__(self, key_count: int, key: IntArray, pos_us: IntArray) -> None:
        """Index rows sorted by (key, pos).

        Args:
            key_count: K.
            key: Codes, shape (n,), ascending.
            pos_us: Times, shape (n,), ascending within a key.
        """
        self._key_count = key_count
        self._starts: IntArray | None = None
        lowest = int(pos_us.min()) if pos_us.size else 0
        span = (int(pos_us.max()) if pos_us.size else 0) - lowest + 2
        self._ranks: IntArray | None = None
        if span * max(key_count, 1) > _LARGEST_COMPOSITE or lowest == FOREVER_AGO_US:
            self._ranks = np.unique(pos_us)
            lowest, span = 0, self._ranks.size + 1
            pos_us = _rank(self._ranks, pos_us)
        # Row times become 1..span-1, so that 0 is free for "before all rows".
        self._base, self._span = lowest - 1, span
        self._composite = key * span + (pos_us - lowest + 1)

    def rows_until(self, key: IntArray, time_us: IntArray) -> IntArray:
        """Return per query how many rows (of all keys) lie at or before (key, time).

        With the same key, the difference of two answers is the range of rows in between. Queries
        of key -1 get 0.

        Args:
            key: Codes, shape (q,).
            time_us: Any int64 times, shape (q,).
        """
        if self._ranks is not None:
            place = _rank(self._ranks, time_us) + 1
        else:
            base, span = self._base, self._span
            place = np.clip(time_us, base, base + span - 1) - base
        place += key * self._span
        return np.searchsorted(self._composite, place, side="right").astype(np.int64, copy=False)

    def starts(self) -> IntArray:
        """Return K + 1 row positions: the rows of key c are ``starts[c] .. starts[c+1]``."""
        if self._starts is None:
            edges = np.arange(self._key_count + 1, dtype=np.int64) * self._span
            self._starts = np.searchsorted(self._composite, edges, side="right").astype(np.int64)
        return self._starts


def _rank(sorted_us: IntArray, time_us: IntArray) -> IntArray:
    return np.searchsorted(sorted_us, time_us, side="right").astype(np.int64) - 1


def _check(window_us: int, hop_us: int | None) -> None:
    if window_us <= 0 or (hop_us is not None and (hop_us <= 0 or window_us % hop_us)):
        raise InputError(
            f"window of {window_us} us with hop {hop_us}",
            hint="both must be positive and the hop must divide the window",
        )
