"""Windowed measures as of many questions at once: gather partials, merge them, finish.

One code path serves raw events, tiles and the published state. A window is split into parts that
are each a clean range of elements (nothing hidden inside); partials of the parts merge exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from twinlake.kernel.asof import Lookup, check_keys
from twinlake.kernel.elements import Elements
from twinlake.kernel.events import Events, Queries
from twinlake.kernel.exact import BoolArray, IntArray
from twinlake.kernel.measures import Measure, Measured, by_window
from twinlake.kernel.merging import Gathered, finish, gather, merge
from twinlake.kernel.series import Source
from twinlake.kernel.windows import Timeline, tail_us

_EXPANDED_ROWS = 1 << 20  # rows listed at a time where hidden rows must be left out one by one


@dataclass(frozen=True, slots=True)
class Part:
    """Per query a range of elements that are all visible."""

    source: Source
    low: IntArray
    high: IntArray

    def take(self, index: IntArray) -> Part:
        """Return the ranges of the chosen queries."""
        return Part(self.source, self.low[index], self.high[index])

    def emptied(self, where: BoolArray) -> Part:
        """Return the ranges, empty where asked."""
        return Part(self.source, self.low, np.where(where, self.low, self.high))

    def gather(self, asked: Sequence[Measure]) -> Gathered:
        """Gather the partials of the ranges."""
        return gather(self.source, self.low, self.high, asked)


class Tiles:
    """Elements with their index and prefix sums, built once for many questions."""

    __slots__ = ("source", "timeline")

    def __init__(self, elements: Elements) -> None:
        """Index the elements."""
        self.source = Source.of(elements)
        self.timeline = Timeline(elements.key_count, elements.key, elements.pos_us)

    def part(self, queries: Queries, window_us: int | None, hop_us: int | None) -> Part:
        """Return per query the elements of its key with ``tail < pos <= t``."""
        check_keys(queries, self.source.key_count)
        high = self.timeline.rows_until(queries.key, queries.as_of_us)
        tail = tail_us(queries.as_of_us, window_us, hop_us)
        low = np.minimum(self.timeline.rows_until(queries.key, tail), high)
        return Part(self.source, low, high)


def compute(
    source: Events | Lookup | Elements | Tiles,
    queries: Queries,
    measures: Sequence[Measure],
    hop_us: int | None,
) -> list[Measured]:
    """Answer every measure for every query.

    A window holds the visible rows with ``tail < e <= t``, see ``windows.tail_us``. count of an
    empty window is 0; everything else of an empty window is null. first and last are the cells of
    the oldest and newest visible row, null if that cell is; the others ignore nulls.

    Args:
        source: Raw events (or their ``Lookup``, to reuse the index), or elements (or their
            ``Tiles``). Elements carry no known time: each with ``pos <= t`` counts as visible.
        queries: q questions, in any order.
        measures: What to compute.
        hop_us: The view's hop, or None.

    Returns:
        One ``Measured`` of q answers per measure, in the order of ``measures``.

    Raises:
        InputError: If a column or function does not fit, or an integer sum exceeds 64 bits.
    """
    if isinstance(source, Events):
        source = Lookup(source)
    if isinstance(source, Elements):
        source = Tiles(source)
    answers: list[Measured | None] = [None] * len(measures)
    for window, chosen in by_window(measures).items():
        asked = [measures[i] for i in chosen]
        if isinstance(source, Lookup):
            done = _over_events(source, queries, window, hop_us, asked)
        else:
            done = finish(source.part(queries, window, hop_us).gather(asked), asked)
        for i, measured in zip(chosen, done, strict=True):
            answers[i] = measured
    return [answer for answer in answers if answer is not None]


def combine(
    parts: Sequence[Part],
    lookup: Lookup,
    queries: Queries,
    low: IntArray,
    high: IntArray,
    asked: Sequence[Measure],
) -> list[Measured]:
    """Answer from clean parts and from the visible ones among further rows, picked one by one.

    Args:
        parts: At least one; all of their elements are visible.
        lookup: Further rows, disjoint from the parts; newer where event times are equal.
        queries: q questions.
        low: Starts of the further rows' ranges, shape (q,).
        high: Their ends, shape (q,).
        asked: Measures of one window.
    """
    is_dirty = low < high
    done = finish(_gather_all([part.emptied(is_dirty) for part in parts], asked), asked)
    dirty = np.flatnonzero(is_dirty)
    low, high, known_by = low[dirty], high[dirty], queries.known_by_us[dirty]
    for chunk in _chunks(high - low):
        row, start, end = lookup.visible_rows(low[chunk], high[chunk], known_by[chunk])
        visible = gather(Source.of_rows(lookup.events, row), start, end, asked)
        clean = _gather_all([part.take(dirty[chunk]) for part in parts], asked)
        for old, new in zip(done, finish(merge(clean, visible), asked), strict=True):
            _put(old, dirty[chunk], new)
    return done


def _over_events(
    lookup: Lookup,
    queries: Queries,
    window_us: int | None,
    hop_us: int | None,
    asked: Sequence[Measure],
) -> list[Measured]:
    """Answer over raw events: up to the first hidden row as one range, the rest row by row."""
    low, high = lookup.ranges(queries, window_us, hop_us)
    if not lookup.may_hide(queries):
        return finish(gather(lookup.source, low, high, asked), asked)
    hidden = lookup.first_hidden(low, high, queries.known_by_us)
    return combine([Part(lookup.source, low, hidden)], lookup, queries, hidden, high, asked)


def _gather_all(parts: Sequence[Part], asked: Sequence[Measure]) -> Gathered:
    return reduce(merge, (part.gather(asked) for part in parts))


def _put(into: Measured, index: IntArray, answers: Measured) -> None:
    """Write answers over others in place; ``finish`` made their arrays fresh."""
    into.valid[index] = answers.valid
    if into.values is not None and answers.values is not None:
        into.values[index] = answers.values
    if into.row is not None and answers.row is not None:
        into.row[index] = answers.row


def _chunks(size: IntArray) -> Iterator[slice]:
    """Cut ranges into runs of about ``_EXPANDED_ROWS`` members; a longer range stands alone."""
    total = np.cumsum(size)
    start = 0
    while start < size.size:
        done = int(total[start - 1]) if start else 0
        stop = int(np.searchsorted(total, done + _EXPANDED_ROWS, side="right"))
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop
