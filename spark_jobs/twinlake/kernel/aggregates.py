"""Windowed measures as of many questions at once: gather partials, merge them, finish.

One code path serves raw events, tiles and the published state. A window is split into parts that
are each a clean range of elements (nothing hidden inside); partials of the parts merge exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from twinlake.kernel.asof import Lookup, check_keys
from twinlake.kernel.bounded import limited
from twinlake.kernel.elements import Elements
from twinlake.kernel.events import Events, Queries
from twinlake.kernel.exact import BoolArray, IntArray
from twinlake.kernel.measures import Measure, Measured, by_window
from twinlake.kernel.merging import Gathered, finish, gather, merge
from twinlake.kernel.series import Source
from twinlake.kernel.windows import Timeline, tail_us

_FEW_QUERIES = 1 << 12  # up to here a call costs more than its arithmetic, so windows share calls
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

    def __len__(self) -> int:
        return int(self.source.key.size)

    def part(self, queries: Queries, tail: IntArray) -> Part:
        """Return per query the elements of its key with ``tail < pos <= t``."""
        check_keys(queries, self.source.key_count)
        high = self.timeline.rows_until(queries.key, queries.as_of_us)
        low = np.minimum(self.timeline.rows_until(queries.key, tail), high)
        return Part(self.source, low, high)


def compute(
    source: Events | Lookup | Elements | Tiles,
    queries: Queries,
    measures: Sequence[Measure],
    hop_us: int | None,
    most_rows: int | None = None,
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
        most_rows: How many visible rows a window may hold; beyond it all of it is overflow.

    Returns:
        One ``Measured`` of q answers per measure, in the order of ``measures``.

    Raises:
        InputError: If a column or function does not fit.
    """
    if isinstance(source, Events):
        source = Lookup(source)
    if isinstance(source, Elements):
        source = Tiles(source)
    chosen = source

    def answer(questions: Queries, tail: IntArray, asked: Sequence[Measure]) -> list[Measured]:
        if isinstance(chosen, Lookup):
            return _over_events(chosen, questions, tail, asked)
        return finish(chosen.part(questions, tail).gather(asked), asked)

    return limited(measures, most_rows, lambda asked: by_windows(queries, asked, hop_us, answer))


def by_windows(
    queries: Queries,
    measures: Sequence[Measure],
    hop_us: int | None,
    answer: Callable[[Queries, IntArray, Sequence[Measure]], list[Measured]],
) -> list[Measured]:
    """Answer the measures of each window in one go; of few queries, those of all alike windows.

    Args:
        queries: q questions.
        measures: What to compute.
        hop_us: The view's hop, or None.
        answer: Gets questions, the tail of each, and measures whose windows it must not look at.
    """
    answers: dict[int, Measured] = {}
    for alike in _alike_windows(measures, together=len(queries) <= _FEW_QUERIES):
        tails = [tail_us(queries.as_of_us, window, hop_us) for window in alike]
        questions = queries.take(np.tile(np.arange(len(queries)), len(alike)))
        positions = list(alike.values())
        asked = [measures[i] for i in positions[0]]
        done = answer(questions, np.concatenate(tails), asked)
        for number, places in enumerate(positions):
            piece = slice(number * len(queries), (number + 1) * len(queries))
            answers.update({i: m.take(piece) for i, m in zip(places, done, strict=True)})
    return [answers[i] for i in range(len(measures))]


def _alike_windows(
    measures: Sequence[Measure], *, together: bool
) -> list[dict[int | None, list[int]]]:
    """Group windows that are asked the same; per window the positions of its measures."""
    groups: dict[object, dict[int | None, list[int]]] = {}
    for window, places in by_window(measures).items():
        asked = tuple((measures[i].function, measures[i].column) for i in places)
        groups.setdefault(asked if together else window, {})[window] = places
    return list(groups.values())


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
    tail: IntArray,
    asked: Sequence[Measure],
) -> list[Measured]:
    """Answer over raw events: up to the first hidden row as one range, the rest row by row."""
    low, high = lookup.ranges(queries, tail)
    if not lookup.may_hide(queries):
        return finish(gather(lookup.source, low, high, asked), asked)
    hidden = lookup.first_hidden(low, high, queries.known_by_us)
    return combine([Part(lookup.source, low, hidden)], lookup, queries, hidden, high, asked)


def _gather_all(parts: Sequence[Part], asked: Sequence[Measure]) -> Gathered:
    return reduce(merge, (part.gather(asked) for part in parts))


def _put(into: Measured, index: IntArray, answers: Measured) -> None:
    """Write answers over others in place; ``finish`` made their arrays fresh."""
    into.valid[index] = answers.valid
    if into.overflow is not None and answers.overflow is not None:
        into.overflow[index] = answers.overflow
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
