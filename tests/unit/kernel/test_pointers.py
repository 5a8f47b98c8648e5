"""The newest row found chunk by chunk is the one that a look at every event finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinlake.kernel.pointers import Questions

KEYS = 3
# Few values, so that events tie in every way; known before, when and after it happened.
Event = tuple[int, int, int, int, int]
events = st.lists(
    st.tuples(
        st.integers(-1, KEYS - 1),
        st.integers(-4, 6),
        st.sampled_from([-3, 0, 0, 0, 1, 4]),
        st.integers(-1, 1),
        st.integers(-1, 1),
    ).map(lambda e: (e[0], e[1], e[1] + e[2], e[3], e[4])),
    max_size=14,
)
questions = st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(-5, 12)), max_size=9)


def asked(rows: list[tuple[int, int]]) -> Questions:
    key, as_of = np.array(sorted(rows), np.int64).reshape(-1, 2).T
    return Questions(KEYS, key, as_of)


def offer(to: Questions, rows: list[Event]) -> None:
    key, event_us, known_us, tie_hi, tie_lo = np.array(rows, np.int64).reshape(-1, 5).T
    places = np.array([place_of(row[1:]) for row in rows], np.int64)
    to.offer(key, event_us, known_us, tie_hi, tie_lo, places)


def place_of(order: tuple[int, ...]) -> int:
    """Where an event is to be found; the same for equal ones, and in no order."""
    return sum(level * by for level, by in zip(order, (7, -3, 5, 11), strict=True)) % 31


@given(events, questions, st.integers(0, 14), st.booleans())
def test_every_question_gets_its_newest_visible_event(
    happened: list[Event], rows: list[tuple[int, int]], cut: int, by_merge: bool
) -> None:
    whole = asked(rows)
    if by_merge:
        for part in (happened[:cut], happened[cut:]):
            one = asked(rows)
            offer(one, part)
            whole.merge(one.kept())
    else:
        offer(whole, happened[:cut])
        offer(whole, happened[cut:])
    found = whole.answer()
    for place, (key, as_of) in enumerate(sorted(rows)):
        before = [e[1:] for e in happened if e[0] == key and e[1] <= as_of]
        visible = [e for e in before if e[1] <= as_of]
        answer = (found.event_us, found.known_us, found.tie_hi, found.tie_lo)
        assert found.found[place] == bool(visible)
        assert tuple(values[place] for values in answer) == max(visible, default=(0, 0, 0, 0))
        if visible:
            assert found.place[place] == place_of(max(visible))
        assert found.not_yet_known[place] == (bool(before) and not visible)


def test_the_ends_of_time_are_times() -> None:
    low, high = -(2**63), 2**63 - 1
    whole = asked([(0, low), (0, high), (1, low + 1)])
    offer(whole, [(0, low, low, low, low), (1, low, low, 5, 5), (2, high, high, 0, 0)])
    found = whole.answer()
    assert found.found.tolist() == [True, True, True]
    assert found.tie_hi.tolist() == [low, low, 5]
