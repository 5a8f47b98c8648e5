"""valid_until against a search of every moment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import oracle
from .cases import KEYS, events_of, profile, queries_of, rows_of, times
from twinlake.errors import InputError
from twinlake.kernel.events import NEVER_US, Queries
from twinlake.kernel.expiry import valid_until_us
from twinlake.kernel.measures import Measure

HORIZON = 140  # beyond the last event, delay, window, hop and ttl of the cases
shapes = st.sampled_from(
    [(None, (7,)), (None, (1, 13)), (5, (5, 15)), (4, (8,)), (None, (None, 3))]
)


def first_change(rows, key, t, windows, hop, ttl):
    now = oracle.picture(rows, key, t, windows, hop, ttl)
    for later in range(t + 1, HORIZON):
        if oracle.picture(rows, key, later, windows, hop, ttl) != now:
            return later
    return NEVER_US


@profile
@given(rows_of(max_size=6), st.integers(-1, KEYS - 1), times, shapes, st.sampled_from([None, 25]))
def test_nothing_changes_before_and_something_does_then(rows, key, t, shape, ttl):
    hop, windows = shape
    measures = [Measure("count", None, w) for w in windows] + [Measure("last", "x", None)]
    got = valid_until_us(events_of(rows)[0], queries_of([(key, t, t)]), measures, hop, ttl)
    assert got.tolist() == [first_change(rows, key, t, windows, hop, ttl)]


def test_only_for_questions_that_follow_the_clock():
    events, _ = events_of([])
    with pytest.raises(InputError, match="k = t"):
        valid_until_us(events, Queries(*np.array([[0], [5], [4]])), [], None, None)
