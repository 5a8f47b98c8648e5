"""Windows and as-of lookups against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel import oracle
from tests.unit.kernel.cases import (
    KEYS,
    SCALES,
    answers,
    events_of,
    measures_over,
    profile,
    queries_of,
    rows_of,
    times,
)
from twinlake.errors import InputError
from twinlake.kernel import aggregates, asof
from twinlake.kernel.aggregates import compute
from twinlake.kernel.elements import fold_rows, tiles_of
from twinlake.kernel.events import Events, NumericColumn, Queries
from twinlake.kernel.measures import Measure, Measured, needs_of
from twinlake.kernel.windows import FOREVER_AGO_US, Timeline, leaves_us, tail_us

shapes = st.sampled_from(
    [(None, (7,)), (None, (1, 13)), (5, (5, 15)), (4, (8,)), (1, (3, 20)), (None, (None,))]
)
asked = st.lists(st.tuples(st.integers(-1, KEYS - 1), times, times), max_size=10)
asked_now = st.lists(
    st.tuples(st.integers(-1, KEYS - 1), times).map(lambda q: (*q, q[1])), max_size=10
)


def rows_in(measured: Measured) -> list[int]:
    assert measured.row is not None
    return [int(row) for row in measured.row]


def expected(rows: Any, queries: Any, measure: Any, hop: Any) -> list[Any]:
    result = []
    for key, t, k in queries:
        held = oracle.in_window(rows, key, t, k, measure.window_us, hop)
        result.append(
            oracle.aggregate(measure.function, measure.column, held, SCALES.get(measure.column))
        )
    return result


@profile
@given(rows_of(), st.one_of(asked, asked_now), shapes)
def test_every_measure_of_every_window_equals_the_oracle(
    rows: Any, queries: Any, shape: Any
) -> None:
    hop, windows = shape
    events, _ = events_of(rows)
    measures = measures_over(windows)
    for measure, measured in zip(
        measures, compute(events, queries_of(queries), measures, hop), strict=True
    ):
        assert answers(measured) == expected(rows, queries, measure, hop), measure


@profile
@given(rows_of(), asked_now, shapes)
def test_first_and_last_name_their_row(rows: Any, queries: Any, shape: Any) -> None:
    hop, windows = shape
    events, ordered = events_of(rows)
    bare = Events(KEYS, events.key, events.event_us, events.known_us)
    for source in (events, bare):
        for function, end in (("first", 0), ("last", -1)):
            measure = Measure(function, "x", windows[0])
            (measured,) = compute(source, queries_of(queries), [measure], hop)
            for row, (key, t, k) in zip(rows_in(measured), queries, strict=True):
                held = oracle.in_window(rows, key, t, k, windows[0], hop)
                assert (ordered[row] if row >= 0 else None) == (held[end] if held else None)


@profile
@given(rows_of(), asked)
def test_newest_and_not_yet_known(rows: Any, queries: Any) -> None:
    events, ordered = events_of(rows)
    row, not_yet = asof.newest(events, queries_of(queries))
    late = asof.expired(events, row, np.array([q[1] for q in queries], np.int64), 6)
    for i, (key, t, k) in enumerate(queries):
        seen = oracle.visible(rows, key, t, k)
        assert (ordered[row[i]] if row[i] >= 0 else None) == (seen[-1] if seen else None)
        assert not_yet[i] == (not seen and any(r.key == key and r.event_us <= t for r in rows))
        assert late[i] == (bool(seen) and t - seen[-1].event_us > 6)


@profile
@given(rows_of(late=False), asked_now, st.sampled_from([(5, (5, 15)), (4, (8,)), (1, (3, 20))]))
def test_tiles_give_what_their_rows_give(rows: Any, queries: Any, shape: Any) -> None:
    hop, windows = shape
    events, _ = events_of(rows)
    measures = measures_over(windows[-1:])
    tiles = tiles_of(events, hop, needs_of(measures))
    # Tiles are of rows that are all visible, so ask only where no tile is cut by t.
    queries = queries_of([(key, -(-t // hop) * hop, k) for key, t, k in queries])
    queries = Queries.at(queries.key, queries.as_of_us)
    for a, b in zip(
        compute(tiles, queries, measures, hop), compute(events, queries, measures, hop), strict=True
    ):
        assert answers(a) == answers(b)
    single = fold_rows(events, np.arange(len(events)), needs_of(measures))
    for a, b in zip(
        compute(single, queries, measures, hop),
        compute(events, queries, measures, hop),
        strict=True,
    ):
        assert answers(a) == answers(b)


@profile
@given(rows_of(), asked_now, st.randoms(use_true_random=False))
def test_order_of_arrival_and_of_questions_changes_nothing(
    rows: Any, queries: Any, random: Any
) -> None:
    measures = measures_over((7,))
    once = compute(events_of(rows)[0], queries_of(queries), measures, None)
    order = list(range(len(queries)))
    random.shuffle(order)
    random.shuffle(rows)
    again = compute(events_of(rows)[0], queries_of([queries[i] for i in order]), measures, None)
    for a, b in zip(once, again, strict=True):
        assert [answers(a)[i] for i in order] == answers(b)


@profile
@given(rows_of(), asked)
def test_hidden_rows_in_small_chunks(rows: Any, queries: Any) -> None:
    events, _ = events_of(rows)
    measures = measures_over((13,))
    whole = compute(events, queries_of(queries), measures, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregates, "_EXPANDED_ROWS", 2)
        pieces = compute(events, queries_of(queries), measures, None)
    assert [answers(m) for m in whole] == [answers(m) for m in pieces]


def test_what_leaves_a_window_leaves_its_extremes() -> None:
    values = np.array([9.0, 1.0, 5.0, 4.0, 6.0, 3.0])
    time = np.arange(6, dtype=np.int64) * 10
    events = Events(1, np.zeros(6, np.int64), time, time, {"x": NumericColumn(values, values > 0)})
    queries = Queries.at(np.zeros(6, np.int64), time)
    low, high = compute(events, queries, [Measure(f, "x", 30) for f in ("min", "max")], None)
    assert answers(low) == [9, 1, 1, 1, 4, 3]
    assert answers(high) == [9, 9, 9, 5, 6, 6]


def test_nulls_are_not_zeros() -> None:
    values = np.array([0.0, 5.0, 0.0, 7.0])
    time = np.arange(4, dtype=np.int64)
    for sign in (1, -1):
        for kind in (np.float64, np.int64):
            column = NumericColumn((sign * values).astype(kind), values > 0)
            events = Events(1, np.zeros(4, np.int64), time, time, {"x": column})
            measures = [Measure(f, "x", 9) for f in ("min", "max", "mean", "count")]
            got = compute(events, Queries.at(np.array([0]), np.array([3])), measures, None)
            assert [answers(m)[0] for m in got] == [*sorted([5 * sign, 7 * sign]), 6 * sign, 2]
            nothing = compute(events, Queries.at(np.array([0]), np.array([0])), measures, None)
            assert [answers(m)[0] for m in nothing] == [None, None, None, 0]


def test_minus_zero_is_zero_everywhere() -> None:
    values = NumericColumn(np.array([-0.0]), np.array([True]))
    zero = np.zeros(1, np.int64)
    events = Events(1, zero, zero, zero, {"x": values})
    measures = [Measure(f, "x", 5) for f in ("sum", "mean", "min", "max", "first", "last")]
    for measured in compute(events, Queries.at(*np.zeros((2, 1), np.int64)), measures, None):
        assert not np.signbit(answers(measured)[0])


@profile
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.integers(1, 2**40),
    st.integers(1, 50),
)
def test_tail_and_leaving_at_any_time(moments: Any, hop: Any, hops: Any) -> None:
    window = hop * hops
    t = np.array(moments, np.int64)
    for h in (None, hop):
        unbounded = [oracle.tail(m, window, h) for m in moments]
        tails = tail_us(t, window, h).tolist()
        for exact, got in zip(unbounded, tails, strict=True):
            assert got == (exact if exact > FOREVER_AGO_US else got)
            assert got <= max(exact, FOREVER_AGO_US)
            assert got >= FOREVER_AGO_US
        for moment, leaves in zip(moments, leaves_us(t, window, h).tolist(), strict=True):
            if leaves < 2**63 - 1:
                assert oracle.tail(leaves, window, h) >= moment > oracle.tail(leaves - 1, window, h)


@profile
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3))),
    st.lists(st.tuples(st.integers(-1, 2), st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3))),
)
def test_positions_in_any_span_of_time(rows: Any, queries: Any) -> None:
    rows.sort()
    key, pos = (np.array([r[i] for r in rows], np.int64) for i in range(2))
    timeline = Timeline(3, key, pos)
    asked_key, time = (np.array([q[i] for q in queries], np.int64) for i in range(2))
    expected = [sum(r <= q for r in rows) if q[0] >= 0 else 0 for q in queries]
    assert timeline.rows_until(asked_key, time).tolist() == expected
    assert timeline.starts().tolist() == [sum(r[0] < c for r in rows) for c in range(4)]


def test_wrong_use_is_refused_by_name() -> None:
    zero = np.zeros(1, np.int64)
    column = NumericColumn(zero, np.array([True]))
    events = Events(1, zero, zero, zero, {"x": column})
    now = Queries.at(zero, zero)
    with pytest.raises(InputError, match=r"'y'.*\n.*x"):
        compute(events, now, [Measure("sum", "y", 5)], None)
    with pytest.raises(InputError, match="median"):
        Measure("median", "x", 5)
    with pytest.raises(InputError, match="hop 3"):
        compute(events, now, [Measure("sum", "x", 5)], 3)
    with pytest.raises(InputError, match="key code"):
        compute(events, Queries.at(zero + 1, zero), [Measure("sum", "x", 5)], None)
    with pytest.raises(InputError, match="not sorted"):
        Events(1, np.zeros(2, np.int64), np.array([2, 1]), np.array([2, 1]))
    with pytest.raises(InputError, match="holds nan in row 0"):
        NumericColumn(np.array([np.nan]), np.array([True]))
