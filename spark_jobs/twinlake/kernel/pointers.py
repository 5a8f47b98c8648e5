"""The newest visible row of each question, found chunk by chunk in unsorted events.

The questions are sorted once; every event is then looked up among them, so that events are neither
sorted nor moved. An event is visible to the questions of its key with ``t >= max(e, known)``: it is
kept at the first of those, where only the greatest (event, known, tie) survives, and in the end
each question takes the greatest that was kept at or before it. Cost: O(n log q + q log q) for n
events and q questions, whatever the number of events per key; state: O(q).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinlake.kernel.events import NEVER_US
from twinlake.kernel.exact import BoolArray, IntArray
from twinlake.kernel.windows import FOREVER_AGO_US, Timeline

# The four integers that order the rows of a key, law 2: event, known and the two halves of the tie;
# the fifth comes along.
_LEVELS = 5


@dataclass(frozen=True, slots=True)
class Kept:
    """Events that may be the answer to questions.

    Attributes:
        slot: The first question that may see each, shape (c,), ascending.
        order: Event, known, tie and place of each: five int64 arrays of shape (c,).
        first_us: Per key the earliest event that was known late; ``NEVER_US`` without any.
            Shape (K,).
    """

    slot: IntArray
    order: tuple[IntArray, ...]
    first_us: IntArray


@dataclass(frozen=True, slots=True)
class Newest:
    """The answers, one per question.

    Attributes:
        found: Whether a row is visible.
        not_yet_known: Whether none is, though one with ``e <= t`` exists.
        event_us, known_us, tie_hi, tie_lo: The newest visible row; 0 where there is none.
        place: What was offered with it.
    """

    found: BoolArray
    not_yet_known: BoolArray
    event_us: IntArray
    known_us: IntArray
    tie_hi: IntArray
    tie_lo: IntArray
    place: IntArray


class Questions:
    """Questions "key as of t", with k = t, sorted by (key, t).

    Args:
        key_count: K.
        key: Codes 0..K-1 of shape (q,), ascending.
        as_of_us: t, ascending within a key.
    """

    def __init__(self, key_count: int, key: IntArray, as_of_us: IntArray) -> None:
        self._key, self._as_of_us, self._key_count = key, as_of_us, key_count
        self._timeline = Timeline(key_count, key, as_of_us)
        self._order = [np.full(key.size, FOREVER_AGO_US, np.int64) for _ in range(_LEVELS)]
        self._taken = np.zeros(key.size, np.bool_)
        self._first_us = np.full(key_count, NEVER_US, np.int64)

    def offer(
        self,
        key: IntArray,
        event_us: IntArray,
        known_us: IntArray,
        tie_hi: IntArray,
        tie_lo: IntArray,
        place: IntArray,
    ) -> None:
        """Look events up among the questions; all arrays of shape (n,), a key of -1 is nobody's.

        ``place`` says where an event is to be found; it takes no part in the order.
        """
        asked = np.flatnonzero(key >= 0)
        if not asked.size:
            return
        if asked.size < key.size:
            key, event_us, known_us = key[asked], event_us[asked], known_us[asked]
            tie_hi, tie_lo, place = tie_hi[asked], tie_lo[asked], place[asked]
        seen_us = np.maximum(event_us, known_us)
        # An event that is known when it happens hides from nobody.
        late = np.flatnonzero(seen_us > event_us)
        np.minimum.at(self._first_us, key[late], event_us[late])
        starts = self._timeline.starts()
        is_lowest = seen_us == FOREVER_AGO_US  # nothing is one less
        slot = self._timeline.rows_until(key, np.where(is_lowest, seen_us, seen_us - 1))
        slot[is_lowest] = starts[key[is_lowest]]
        some = slot < starts[key + 1]
        # Most events lose at once against what is kept already.
        some[some] = event_us[some] >= self._order[0][slot[some]]
        self._keep(slot[some], [v[some] for v in (event_us, known_us, tie_hi, tie_lo, place)])

    def merge(self, kept: Kept) -> None:
        """Take over what was kept of other events for the same questions."""
        np.minimum(self._first_us, kept.first_us, out=self._first_us)
        self._keep(kept.slot, list(kept.order))

    def kept(self) -> Kept:
        """Give what was kept so far, to be merged elsewhere."""
        slot = np.flatnonzero(self._taken)
        return Kept(slot, tuple(level[slot] for level in self._order), self._first_us)

    def answer(self) -> Newest:
        """Give each question the greatest of what was kept at or before it, of its key."""
        slot = np.flatnonzero(self._taken)
        order = [level[slot] for level in self._order]
        rank = np.arange(slot.size, dtype=np.int64)
        by_rank = rank
        # Without late rows what is kept at a later question is greater by itself.
        if slot.size and bool((order[1] > order[0]).any()):
            by_rank = np.lexsort(order[::-1]).astype(np.int64)
            rank = np.empty_like(by_rank)
            rank[by_rank] = np.arange(slot.size, dtype=np.int64)
        # A running maximum in which each key starts anew: a later key's base beats all before.
        base = self._key * (slot.size + 1)
        running = base.copy()
        running[slot] += rank + 1
        best = np.maximum.accumulate(running) - base - 1
        found = best >= 0
        if not slot.size:
            nothing = [np.zeros(self._key.size, np.int64)] * _LEVELS
            return Newest(found, self._has_late_event(), *nothing)
        row = by_rank[np.maximum(best, 0)]
        values = [np.where(found, level[row], 0) for level in order]
        return Newest(found, ~found & self._has_late_event(), *values)

    def _has_late_event(self) -> BoolArray:
        has: BoolArray = self._first_us[self._key] <= self._as_of_us
        return has

    def _keep(self, slot: IntArray, values: list[IntArray]) -> None:
        """Keep per slot the greatest by (event, known, tie), level after level."""
        self._taken[slot] = True
        rows = np.arange(slot.size)
        for level, best in enumerate(self._order):
            at, value = slot[rows], values[level][rows]
            before = best[at]
            np.maximum.at(best, at, value)
            after = best[at]
            # What held the place was beaten: its deeper levels count no more.
            beaten = at[after > before]
            for deeper in self._order[level + 1 :]:
                deeper[beaten] = FOREVER_AGO_US
            rows = rows[value == after]
