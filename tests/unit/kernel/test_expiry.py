"""valid_until against a search of every moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel import oracle
from tests.unit.kernel.cases import KEYS, events_of, profile, queries_of, rows_of, times
from twinlake.errors import InputError
from twinlake.kernel.events import NEVER_US, Queries
from twinlake.kernel.expiry import valid_until_us
from twinlake.kernel.measures import Measure
from twinlake.kernel.opened import open_states, states_valid_until_us
from twinlake.kernel.shape import Shape
from twinlake.kernel.state import Provenance, fold

HORIZON = 140  # beyond the last event, delay, window, hop and ttl of the cases
shapes = st.sampled_from(
    [(None, (7,)), (None, (1, 13)), (5, (5, 15)), (4, (8,)), (None, (None, 3))]
)


def first_change(rows: Any, key: Any, t: Any, windows: Any, hop: Any, ttl: Any) -> int:
    now = oracle.picture(rows, key, t, windows, hop, ttl)
    for later in range(t + 1, HORIZON):
        if oracle.picture(rows, key, later, windows, hop, ttl) != now:
            return later
    return NEVER_US


@profile
@given(rows_of(max_size=6), st.integers(-1, KEYS - 1), times, shapes, st.sampled_from([None, 25]))
def test_nothing_changes_before_and_something_does_then(
    rows: Any, key: Any, t: Any, shape: Any, ttl: Any
) -> None:
    hop, windows = shape
    measures = [Measure("count", None, w) for w in windows] + [Measure("last", "x", None)]
    got = valid_until_us(events_of(rows)[0], queries_of([(key, t, t)]), measures, hop, ttl)
    assert got.tolist() == [first_change(rows, key, t, windows, hop, ttl)]


def seen_at(e: Any, known: Any, tie: Any = 0) -> oracle.Row:
    return oracle.Row(0, e, known, tie, {"x": 1.0, "n": 1, "d": 1, "s": "a"})


@pytest.mark.parametrize(
    ("rows", "t", "until"),
    [
        ([seen_at(3, 3), seen_at(2, 8)], 4, 8),  # becomes known while still in the window
        ([seen_at(3, 3), seen_at(2, 11)], 4, 10),  # becomes known after the window has moved on
        ([seen_at(3, 3), seen_at(9, 9)], 4, 9),  # an event ahead of time
        ([seen_at(3, 3), seen_at(3, 9)], 4, 9),  # beats the newest row at the same event time
        ([seen_at(2, 30)], 4, 30),  # in no window any more, but the newest
        ([], 4, NEVER_US),
    ],
)
def test_rows_in_hand_that_turn_up_later(rows: Any, t: Any, until: Any) -> None:
    measures = [Measure("count", None, 7)]
    got = valid_until_us(events_of(rows)[0], queries_of([(0, t, t)]), measures, None, None)
    assert got.tolist() == [until] == [first_change(rows, 0, t, (7,), None, None)]
    shape = Shape.of(measures, {}, None)
    blobs = fold(events_of(rows)[0], np.full(KEYS, t), shape, Provenance(b"f" * 16, b"t" * 16, 1))
    states = open_states(blobs, shape, b"f" * 16)
    assert states_valid_until_us(states, queries_of([(0, t, t)]), measures, None).tolist() == [
        until
    ]


def test_a_correction_of_the_newest_row_counts_in_a_plain_view() -> None:
    rows, measures = [seen_at(3, 3), seen_at(3, 9, 1)], [Measure("last", "x", None)]
    shape = Shape.of(measures, {"x": ("f8", 0)}, None)
    blobs = fold(events_of(rows)[0], np.full(KEYS, 4), shape, Provenance(b"f" * 16, b"t" * 16, 1))
    states = open_states(blobs, shape, b"f" * 16)
    assert states_valid_until_us(states, queries_of([(0, 4, 4)]), measures, None).tolist() == [9]


def test_only_for_questions_that_follow_the_clock() -> None:
    events, _ = events_of([])
    with pytest.raises(InputError, match="k = t"):
        valid_until_us(events, Queries(*np.array([[0], [5], [4]])), [], None, None)
