"""What cannot be given is overflow: sums beyond 64 bits, and windows of too many rows."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel import oracle
from tests.unit.kernel.cases import (
    KEYS,
    KINDS,
    SCALES,
    answers,
    events_of,
    measures_over,
    profile,
    queries_of,
    rows_of,
    times,
)
from twinlake.kernel.aggregates import compute
from twinlake.kernel.bounded import within_bound
from twinlake.kernel.expiry import valid_until_us
from twinlake.kernel.measures import Measure, Measured
from twinlake.kernel.opened import compute_states, open_states, states_valid_until_us
from twinlake.kernel.shape import Shape
from twinlake.kernel.state import Provenance, fold

FINGERPRINT, TABLE = bytes(range(16)), bytes(range(16, 32))
ORIGIN = Provenance(FINGERPRINT, TABLE, 41)
WINDOWS = (1, 7, 13)
MEASURES = measures_over(WINDOWS)
PLAIN = [Measure("last", name, None) for name in KINDS]
OVER = "overflow"
bounds = st.integers(1, 5)
cuts = st.lists(times, min_size=KEYS, max_size=KEYS)
ahead = st.lists(
    st.tuples(st.integers(-1, KEYS - 1), st.integers(0, 30), st.integers(0, 30)), max_size=8
)


def told(measured: Measured) -> list[Any]:
    """Answers, with what is overflow said."""
    over = (
        np.zeros(len(measured.valid), np.bool_) if measured.overflow is None else measured.overflow
    )
    assert not (over & measured.valid).any()
    return [OVER if o else a for o, a in zip(over.tolist(), answers(measured), strict=True)]


def expected(rows: Any, asked: Any, measure: Measure, most: int | None) -> list[Any]:
    found = []
    for key, t, k in asked:
        held = oracle.in_window(rows, key, t, k, measure.window_us, None)
        value = oracle.aggregate(
            measure.function, measure.column, held, SCALES.get(str(measure.column))
        )
        too_many = most is not None and measure.window_us is not None and len(held) > most
        too_large = isinstance(value, int) and not -(2**63) <= value < 2**63
        found.append(OVER if too_many or too_large else value)
    return found


def opened(rows: Any, cut: Any, most: int | None, measures: Any = (*MEASURES, *PLAIN)) -> Any:
    shape = Shape.of(measures, KINDS, None, most)
    blobs = fold(events_of(rows)[0], np.array(cut, np.int64), shape, ORIGIN)
    return open_states(blobs, shape, FINGERPRINT), blobs


@profile
@given(rows_of(max_size=20), st.lists(st.tuples(st.integers(-1, KEYS - 1), times, times)), bounds)
def test_a_window_of_too_many_rows_is_overflow_and_others_are_exact(
    rows: Any, asked: Any, most: int
) -> None:
    measures = [*MEASURES, *PLAIN]
    found = compute(events_of(rows)[0], queries_of(asked), measures, None, most)
    for measure, measured in zip(measures, found, strict=True):
        assert told(measured) == expected(rows, asked, measure, most), measure


@profile
@given(rows_of(max_size=24), cuts, ahead, bounds)
def test_states_say_overflow_where_raw_events_do(
    rows: Any, cut: Any, steps: Any, most: int
) -> None:
    measures = [*MEASURES, *PLAIN]
    states, _ = opened(rows, cut, most)
    asked = [(key, cut[key] + dt, cut[key] + dk) for key, dt, dk in steps]
    for measure, measured in zip(
        measures, compute_states(states, queries_of(asked), measures), strict=True
    ):
        assert told(measured) == expected(rows, asked, measure, most), measure


@profile
@given(rows_of(max_size=24), cuts, st.integers(0, KEYS - 1), st.integers(0, 30), bounds)
def test_states_and_the_rows_within_the_bound_hold_as_long(
    rows: Any, cut: Any, key: int, step: int, most: int
) -> None:
    states, _ = opened(rows, cut, most)
    queries = queries_of([(key, cut[key] + step, cut[key] + step)])
    kept = within_bound(events_of(rows)[0], np.array(cut, np.int64), most)
    measures = [*MEASURES, *PLAIN]
    until = valid_until_us(kept, queries, measures, None, 45)
    assert states_valid_until_us(states, queries, measures, 45).tolist() == until.tolist()


@profile
@given(rows_of(max_size=24), cuts, bounds, st.integers(0, 9))
def test_going_on_from_what_is_left_gives_the_same_state(
    rows: Any, cut: Any, most: int, later: int
) -> None:
    first, moved = np.array(cut, np.int64), np.array(cut, np.int64) + later
    events, _ = events_of(rows)
    shape = Shape.of([*MEASURES, *PLAIN], KINDS, None, most)
    whole = fold(events, moved, shape, ORIGIN)
    assert fold(within_bound(events, first, most), moved, shape, ORIGIN) == whole


@pytest.mark.parametrize("seed", range(60))
def test_what_becomes_known_late_is_left_out_only_where_nothing_changes(seed: int) -> None:
    draw, cut, most = random.Random(seed), 12, seed % 4 + 1
    seen_from = draw.choice([(12, 20), (20,), (0, 15, 20, 30, 31), tuple(range(10, 40))])
    rows = [
        row(at, max(at, draw.choice(seen_from)), number)
        for number, at in enumerate(draw.choices(range(14), k=draw.randrange(2, 20)))
    ]
    measures = [Measure("count", None, 13), Measure("sum", "n", 7), Measure("last", "n", None)]
    states, _ = opened(rows, [cut] * KEYS, most, measures)
    asked = [(0, t, k) for t in range(cut, 30) for k in (12, 15, 19, 20, 25, 30, 31, 39)]
    found = compute_states(states, queries_of(asked), measures)
    for measure, measured in zip(measures, found, strict=True):
        assert told(measured) == expected(rows, asked, measure, most), measure


def row(at: int, known: int, number: int, n: int = 1) -> oracle.Row:
    return oracle.Row(0, at, known, number, {"x": None, "n": n, "d": None, "s": None})


def test_a_state_does_not_grow_beyond_its_bound() -> None:
    few = [row(100 + i, 100 + i, i) for i in range(6)]
    burst = [row(i % 100, i % 100, 1000 + i) for i in range(5_000)]
    # Loaded late and all at once: known only after every event.
    loaded = [replace(r, known_us=200) for r in burst]
    measures = [Measure("count", None, 1000)]
    for rows in (few + burst, few + loaded, loaded):
        _, (blob, *_) = opened(rows, [150] * KEYS, 5, measures)
        _, (small, *_) = opened(few, [150] * KEYS, 5, measures)
        assert len(blob) <= len(small) + 6 * 8
    _, (unbound, *_) = opened(few + burst, [150] * KEYS, None, measures)
    assert len(unbound) > 5_000 * 8


def test_a_window_is_exact_again_once_it_holds_few_enough() -> None:
    rows = [row(at, at, at) for at in (1, 2, 3, 4, 10)]
    states, _ = opened(rows, [10] * KEYS, 2)
    counts = [Measure("count", None, 7), Measure("sum", "n", 7), Measure("last", "n", None)]
    asked = queries_of([(0, t, t) for t in (10, 11, 12, 16, 17)])
    count, total, last = compute_states(states, asked, counts)
    assert told(count) == [2, 1, 1, 1, 0]
    states, _ = opened(rows, [10] * KEYS, 1)
    count, total, last = compute_states(states, asked, counts)
    assert told(count) == [OVER, 1, 1, 1, 0]
    assert told(total) == [OVER, 1, 1, 1, None]
    assert told(last) == [1] * 5


def test_a_sum_beyond_64_bits_is_overflow_and_its_neighbours_are_not() -> None:
    much = 2**62
    rows = [row(1, 1, 0, much), row(9, 9, 1, much), row(9, 9, 2, -1)]
    measures = [Measure("sum", "n", 10), Measure("mean", "n", 10), Measure("count", None, 10)]
    rows += [row(9, 20, 3, 1)]  # known later: just one too many then
    asked = [(0, 9, 9), (0, 9, 20), (0, 12, 25), (0, 1, 1), (1, 9, 9)]
    total, mean, count = compute(events_of(rows)[0], queries_of(asked), measures, None)
    assert told(total) == [2 * much - 1, OVER, much, much, None]
    assert told(count) == [3, 4, 3, 1, 0]
    assert told(mean) == [float(2 * much) / 3, float(2 * much) / 4, much / 3, much, None]
    for hop in (None, 5):
        shape = Shape.of(measures, KINDS, hop)
        blobs = fold(events_of(rows)[0], np.array([9] * KEYS), shape, ORIGIN)
        states = open_states(blobs, shape, FINGERPRINT)
        found = compute_states(states, queries_of(asked[:3]), measures)[0]
        over = [(0, 9, 9), (0, 9, 20), (0, 12, 25)]
        held = [
            sum(r.cells["n"] for r in oracle.in_window(rows, 0, t, k, 10, hop)) for _, t, k in over
        ]
        assert told(found) == [OVER if total >= 2**63 else total for total in held]
