"""As-of lookup: which rows are visible as of (t, k), and which of them is the newest.

A row is visible iff ``e <= t`` and ``known <= k``. Rows are sorted by event time, so ``e <= t`` is
a prefix of the rows of a key; inside it rows may be hidden because they were not known yet. Most
data has none, which is found out first.
"""

from __future__ import annotations

import numpy as np

from twinlake.errors import InputError
from twinlake.kernel.events import NEVER_US, Events, Queries
from twinlake.kernel.exact import BoolArray, IntArray
from twinlake.kernel.series import Source
from twinlake.kernel.spans import Skipper, expand
from twinlake.kernel.windows import Timeline


class Lookup:
    """Events with their index, built once for many questions."""

    __slots__ = ("_first_hidden", "_visible", "events", "late", "source", "timeline")

    def __init__(self, events: Events) -> None:
        """Index the events; what finds hidden rows is built when first needed."""
        self.events = events
        self.timeline = Timeline(events.key_count, events.key, events.event_us)
        self.late = bool((events.known_us > events.event_us).any())
        self.source = Source.of(events)
        self._first_hidden: Skipper | None = None
        self._visible: Skipper | None = None

    def ranges(self, queries: Queries, tail: IntArray) -> tuple[IntArray, IntArray]:
        """Return per query the rows [low, high) of its key with ``tail < e <= t``."""
        high = self.until(queries)
        return np.minimum(self.timeline.rows_until(queries.key, tail), high), high

    def until(self, queries: Queries) -> IntArray:
        """Return per query the end of the rows of its key with ``e <= t``."""
        check_keys(queries, self.events.key_count)
        return self.timeline.rows_until(queries.key, queries.as_of_us)

    def may_hide(self, queries: Queries) -> bool:
        """Say whether any row with ``e <= t`` could be unknown at its query's k. Cheap."""
        return self.late or bool((queries.known_by_us < queries.as_of_us).any())

    def first_hidden(self, low: IntArray, high: IntArray, known_by_us: IntArray) -> IntArray:
        """Return the first row of [low, high) with ``known > k``, or high."""
        if self._first_hidden is None:
            self._first_hidden = Skipper(self.events.known_us, self._longest(), over=False)
        return self._first_hidden.forward(low, high, known_by_us)

    def first_visible(self, low: IntArray, high: IntArray, known_by_us: IntArray) -> IntArray:
        """Return the first row of [low, high) with ``known <= k``, or high."""
        return self._skipper_of_hidden().forward(low, high, known_by_us)

    def last_visible(self, low: IntArray, high: IntArray, known_by_us: IntArray) -> IntArray:
        """Return the last row of [low, high) with ``known <= k``, or low - 1."""
        return self._skipper_of_hidden().backward(low, high, known_by_us)

    def visible_rows(
        self, low: IntArray, high: IntArray, known_by_us: IntArray
    ) -> tuple[IntArray, IntArray, IntArray]:
        """List the visible rows of ranges.

        Returns:
            row: The visible rows of every range, range after range, in order.
            start, end: Where each range's rows stand in ``row``.
        """
        row, owner = expand(low, high)
        seen = self.events.known_us[row] <= known_by_us[owner]
        row, owner = row[seen], owner[seen]
        edges = np.searchsorted(owner, np.arange(low.size + 1)).astype(np.int64)
        return row, edges[:-1], edges[1:]

    def starts_of(self, key: IntArray) -> IntArray:
        """Return the first row of each query's key; 0 for key -1, whose range is empty."""
        return np.where(key >= 0, self.timeline.starts()[np.maximum(key, 0)], 0)

    def _skipper_of_hidden(self) -> Skipper:
        if self._visible is None:
            self._visible = Skipper(self.events.known_us, self._longest(), over=True)
        return self._visible

    def _longest(self) -> int:
        return int(np.diff(self.timeline.starts()).max(initial=0))


def newest(events: Events | Lookup, queries: Queries) -> tuple[IntArray, BoolArray]:
    """Find the newest visible row of each query's key.

    Newest is the greatest (event, known, tie), among visible rows.

    Args:
        events: Sorted events, or a ``Lookup`` of them.
        queries: q questions.

    Returns:
        row: int64 of shape (q,), -1 where no row is visible.
        not_yet_known: bool of shape (q,): no row is visible, yet one with ``e <= t`` exists.
    """
    lookup = events if isinstance(events, Lookup) else Lookup(events)
    high = lookup.until(queries)
    low = lookup.starts_of(queries.key)
    row = high - 1
    if lookup.may_hide(queries):
        row = lookup.last_visible(low, high, queries.known_by_us)
    missing = row < low
    return np.where(missing, -1, row), missing & (high > low)


def expired(
    events: Events, newest_row: IntArray, as_of_us: IntArray, ttl_us: int | None
) -> BoolArray:
    """Say where ``t - e_newest > ttl``; False where there is no newest row or no ttl."""
    if ttl_us is None or not len(events):
        return np.zeros(newest_row.size, np.bool_)
    return (newest_row >= 0) & expired_at(events.event_us[newest_row], as_of_us, ttl_us)


def expired_at(newest_us: IntArray, as_of_us: IntArray, ttl_us: int) -> BoolArray:
    """Say where ``t - newest > ttl``, for any int64 times, without overflow."""
    expires = expires_us(newest_us, ttl_us)
    return (as_of_us >= expires) & (expires < NEVER_US)


def expires_us(newest_us: IntArray, ttl_us: int) -> IntArray:
    """Return the first t at which a key is expired, ``newest + ttl + 1``, or ``NEVER_US``."""
    never = newest_us >= NEVER_US - ttl_us - 1
    return np.where(never, NEVER_US, np.where(never, 0, newest_us) + ttl_us + 1)


def check_keys(queries: Queries, key_count: int) -> None:
    """Refuse key codes outside -1..K-1 with an InputError."""
    if len(queries) and not (queries.key.min() >= -1 and queries.key.max() < key_count):
        raise InputError(f"a query has a key code outside -1..{key_count - 1}")
