"""The bound of windows without a hop: beyond ``most_rows`` of a key a window's value is overflow.

A window that holds more rows is not answered with fewer: its cells are null and marked as overflow.
So a state need not hold what only such windows can reach, and does not grow without bound.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np

from twinlake.kernel.events import Events
from twinlake.kernel.exact import BoolArray, IntArray
from twinlake.kernel.measures import Measure, Measured

Answer = Callable[[Sequence[Measure]], list[Measured]]


def limited(measures: Sequence[Measure], most_rows: int | None, answer: Answer) -> list[Measured]:
    """Answer measures; those of windows that hold too many rows are overflow.

    Args:
        measures: What to compute.
        most_rows: How many visible rows of a key a window may hold; None for any number.
        answer: Answers measures, whatever their windows hold.
    """
    windows = dict.fromkeys(m.window_us for m in measures if m.window_us is not None)
    if most_rows is None or not windows:
        return answer(measures)
    counts = [Measure("count", None, window) for window in windows]
    found = answer([*measures, *counts])
    too_many: dict[int | None, BoolArray] = {}
    for measure, held in zip(counts, found[len(measures) :], strict=True):
        if held.values is not None:
            too_many[measure.window_us] = held.values > most_rows
    return [
        done if measure.window_us is None else done.overflowing(too_many[measure.window_us])
        for measure, done in zip(measures, found, strict=False)
    ]


def within_bound(events: Events, exact_from_us: IntArray, most_rows: int | None) -> Events:
    """Leave out rows that no answer needs from ``exact_from`` on: those buried under others.

    A row is buried if more than ``most_rows`` newer rows of its key are visible whenever it is.
    A window that holds it then holds them too, and is overflow; nor is it ever the newest row. Of a
    buried row's newer ones more than ``most_rows`` are never buried themselves, so the rows that
    are left say of each such window that it is overflow, and of every other what it holds.

    Rows later than ``exact_from`` stay: of these none is visible before its own time comes.

    Args:
        events: All rows of K keys.
        exact_from_us: Per key the t and k from which on questions come, shape (K,).
        most_rows: The bound; None keeps everything.
    """
    if most_rows is None:
        return events
    starts = np.searchsorted(events.key, np.arange(events.key_count + 1))
    if not len(events) or int(np.diff(starts).max()) <= most_rows + 1:
        return events
    cut = exact_from_us[events.key]
    seen_from = np.maximum(events.known_us, cut)
    is_history = np.maximum(events.event_us, events.known_us) <= cut
    # Newer rows that are visible from the start, counted from the end of the key.
    running = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_history)])
    newer = running[starts[events.key + 1]] - running[1:]
    kept = newer <= most_rows
    is_later = kept & ~is_history & (events.event_us <= cut)
    for key in np.unique(events.key[is_later]).tolist():
        rows = np.arange(starts[key], starts[key + 1])
        rows = rows[kept[rows] & (events.event_us[rows] <= cut[rows])]
        if rows.size > most_rows + 1:
            kept[rows] = _unburied(seen_from[rows], most_rows)
    return events if kept.all() else events.take(np.flatnonzero(kept))


def _unburied(seen_from: IntArray, most_rows: int) -> BoolArray:
    """Tell which rows stay, given from when each is visible; oldest row first."""
    kept = np.ones(seen_from.size, np.bool_)
    earliest: list[int] = []  # negated, so that the latest of the earliest comes out first
    for position in range(seen_from.size - 1, -1, -1):
        at = int(seen_from[position])
        if len(earliest) <= most_rows:
            heapq.heappush(earliest, -at)
            continue
        kept[position] = -earliest[0] > at
        heapq.heappushpop(earliest, -at)
    return kept
