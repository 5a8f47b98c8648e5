"""Until when answers stay as they are if no new event arrives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from twinlake.errors import InputError
from twinlake.kernel.aggregates import Tiles
from twinlake.kernel.asof import Lookup, expires_us, newest
from twinlake.kernel.elements import Elements
from twinlake.kernel.events import NEVER_US, Events, Queries
from twinlake.kernel.exact import BoolArray, IntArray
from twinlake.kernel.measures import Measure
from twinlake.kernel.windows import Timeline, leaves_us, tail_us


def valid_until_us(
    source: Events | Lookup | Elements | Tiles,
    queries: Queries,
    measures: Sequence[Measure],
    hop_us: int | None,
    ttl_us: int | None,
) -> IntArray:
    """Return the first time after t at which an answer changes by itself.

    That is the earliest of: a row leaves one of the windows; the newest visible row expires
    (``e + ttl + 1``); a row in hand becomes visible, at ``max(e, known)``, and then lies in a
    window or is the newest. It is about the rows a window holds: no value changes before, while
    at that time a value may happen to come out the same.

    Args:
        source: Raw events, or elements (of which all rows are taken as visible).
        queries: q questions with k = t: what becomes known later counts as it comes.
        measures: Whose values are meant.
        hop_us: The view's hop, or None.
        ttl_us: The view's time to live, or None.

    Returns:
        int64 of shape (q,), ``NEVER_US`` where nothing will change.

    Raises:
        InputError: If a query has k != t.
    """
    if (queries.known_by_us != queries.as_of_us).any():
        raise InputError("valid_until is for questions with k = t only")
    windows = windows_of(measures)
    if isinstance(source, Events):
        source = Lookup(source)
    if isinstance(source, Elements):
        source = Tiles(source)
    until = leaving_us(source, queries, windows, hop_us)
    if isinstance(source, Tiles):
        return np.minimum(until, _elements_expire_us(source, queries, ttl_us))
    row, _ = newest(source, queries)
    newest_us = source.events.event_us[row] if len(source.events) else row
    until = np.minimum(until, expiring_us(newest_us, row >= 0, queries.as_of_us, ttl_us))
    relevant = in_some_window(source.events, windows, hop_us) | becomes_newest(source.events)
    return np.minimum(until, appearing_us(source.events, relevant, queries))


def windows_of(measures: Sequence[Measure]) -> set[int | None]:
    """Return the windows whose rows matter one by one.

    A plain column (``last`` without a window) is not among them: only the newest row matters to it.
    """
    return {m.window_us for m in measures if m.window_us is not None or m.function != "last"}


def leaving_us(
    source: Lookup | Tiles, queries: Queries, windows: Iterable[int | None], hop_us: int | None
) -> IntArray:
    """Return when the first visible row leaves its window, ``NEVER_US`` if none does."""
    until = np.full(len(queries), NEVER_US, np.int64)
    for window in windows:
        if window is None:
            continue
        tail = tail_us(queries.as_of_us, window, hop_us)
        if isinstance(source, Tiles):
            part = source.part(queries, tail)
            first, high, time = part.low, part.high, source.source.oldest_us
        else:
            first, high = source.ranges(queries, tail)
            time = source.events.event_us
            if source.may_hide(queries):
                first = source.first_visible(first, high, queries.known_by_us)
        some = np.flatnonzero(first < high)
        until[some] = np.minimum(until[some], leaves_us(time[first[some]], window, hop_us))
    return until


def expiring_us(
    newest_us: IntArray, exists: BoolArray, as_of_us: IntArray, ttl_us: int | None
) -> IntArray:
    """Return when the newest row expires, ``NEVER_US`` if it never does or has already."""
    if ttl_us is None:
        return np.full(as_of_us.size, NEVER_US, np.int64)
    expires = expires_us(newest_us, ttl_us)
    return np.where(exists & (expires > as_of_us), expires, NEVER_US)


def appearing_us(events: Events, relevant: BoolArray, queries: Queries) -> IntArray:
    """Return the first time after t at which a relevant row of the key becomes visible."""
    row = np.flatnonzero(relevant)
    key, visible = events.key[row], visible_from_us(events)[row]
    order = np.lexsort((visible, key))
    key, visible = key[order], visible[order]
    timeline = Timeline(events.key_count, key, visible)
    following = timeline.rows_until(queries.key, queries.as_of_us)
    end = np.where(queries.key >= 0, timeline.starts()[np.maximum(queries.key, -1) + 1], 0)
    until = np.full(len(queries), NEVER_US, np.int64)
    some = np.flatnonzero(following < end)
    until[some] = visible[following[some]]
    return until


def visible_from_us(events: Events) -> IntArray:
    """Return since when each row is visible to questions with k = t: ``max(e, known)``."""
    return np.maximum(events.event_us, events.known_us)


def in_some_window(events: Events, windows: Iterable[int | None], hop_us: int | None) -> BoolArray:
    """Say which rows still lie in the longest window when they become visible."""
    chosen = set(windows)
    if not chosen:
        return np.zeros(len(events), np.bool_)
    longest = None if None in chosen else max(w for w in chosen if w is not None)
    tail: IntArray = tail_us(visible_from_us(events), longest, hop_us)
    return events.event_us > tail


def becomes_newest(events: Events) -> BoolArray:
    """Say which rows are the newest of their key when they become visible.

    Rows stand in the (event, known, tie) order, so that is a running maximum of row positions in
    the order of visibility; later keys have greater positions, so one pass serves all keys.
    """
    order = np.lexsort((visible_from_us(events), events.key))
    record = np.empty(len(events), np.bool_)
    record[order] = np.maximum.accumulate(order) == order
    return record


def _elements_expire_us(tiles: Tiles, queries: Queries, ttl_us: int | None) -> IntArray:
    part = tiles.part(queries, tail_us(queries.as_of_us, None, None))
    exists = part.high > part.low
    time = tiles.source.newest_us
    newest_us = np.zeros(len(queries), np.int64)
    newest_us[exists] = time[part.high[exists] - 1]
    return expiring_us(newest_us, exists, queries.as_of_us, ttl_us)
