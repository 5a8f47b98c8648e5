"""The published state answers as the raw events do, and refuses what it is not."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel import oracle
from tests.unit.kernel.cases import (
    KEYS,
    KINDS,
    answers,
    events_of,
    measures_over,
    profile,
    queries_of,
    rows_of,
    times,
)
from tests.unit.kernel.test_expiry import first_change
from twinlake.errors import InputError, StateError
from twinlake.kernel.aggregates import compute
from twinlake.kernel.events import Queries
from twinlake.kernel.measures import Measure
from twinlake.kernel.opened import (
    OpenedStates,
    compute_states,
    newest_event_us,
    open_states,
    states_valid_until_us,
)
from twinlake.kernel.shape import Shape
from twinlake.kernel.state import HEADER, Provenance, fold

FINGERPRINT, TABLE = bytes(range(16)), bytes(range(16, 32))
ORIGIN = Provenance(FINGERPRINT, TABLE, 41)
shapes = st.sampled_from(
    [(None, (7,)), (None, (1, 13)), (5, (5, 15)), (4, (8,)), (20, (20, 40)), (None, ())]
)
plain = [Measure("last", name, None) for name in KINDS]


def published(
    rows: Any, measures: Any, hop: Any, exact_from: Any
) -> tuple[OpenedStates, list[bytes]]:
    shape = Shape.of(measures, KINDS, hop)
    blobs = fold(events_of(rows)[0], np.array(exact_from, np.int64), shape, ORIGIN)
    return open_states(blobs, shape, FINGERPRINT), blobs


cuts = st.lists(times, min_size=KEYS, max_size=KEYS)
ahead = st.lists(
    st.tuples(st.integers(-1, KEYS - 1), st.integers(0, 60), st.integers(0, 60)), max_size=8
)


@profile
@given(rows_of(max_size=20), cuts, ahead, shapes, st.booleans())
def test_states_answer_as_raw_events_do(
    rows: Any, cut: Any, steps: Any, shape: Any, with_plain: Any
) -> None:
    hop, windows = shape
    measures = measures_over(windows) + (plain if with_plain or not windows else [])
    states, _ = published(rows, measures, hop, cut)
    asked = [(key, cut[key] + dt, cut[key] + dk) for key, dt, dk in steps]
    queries = queries_of(asked)
    raw = compute(events_of(rows)[0], queries, measures, hop)
    for measure, a, b in zip(measures, compute_states(states, queries, measures), raw, strict=True):
        assert answers(a) == answers(b), measure
        assert a.values is not None
        assert b.values is not None
        assert a.values.dtype == b.values.dtype
        assert a.scale10 == b.scale10
    newest, exists = newest_event_us(states, queries)
    for (key, t, k), time, there in zip(asked, newest.tolist(), exists.tolist(), strict=True):
        seen = oracle.visible(rows, key, t, k)
        assert (time if there else None) == (seen[-1].event_us if seen else None)


@profile
@given(
    rows_of(max_size=8),
    cuts,
    st.integers(-1, KEYS - 1),
    st.integers(0, 40),
    shapes,
    st.sampled_from([None, 45]),
)
def test_states_know_until_when_they_hold(
    rows: Any, cut: Any, key: Any, step: Any, shape: Any, ttl: Any
) -> None:
    hop, windows = shape
    measures = [Measure("sum", "x", w) for w in windows] + plain[:2]
    states, _ = published(rows, measures, hop, cut)
    t = cut[key] + step
    got = states_valid_until_us(states, queries_of([(key, t, t)]), measures, ttl)
    assert got.tolist() == [first_change(rows, key, t, windows, hop, ttl)]


def row(event_us: Any, known_us: Any, tie: Any, x: Any) -> oracle.Row:
    return oracle.Row(0, event_us, known_us, tie, {"x": x, "n": tie, "d": None, "s": None})


@pytest.mark.parametrize("hop", [None, 5])
def test_what_is_known_later_comes_later_and_in_its_place(hop: Any) -> None:
    rows = [
        row(3, 3, 0, 1.0),
        row(4, 4, 0, 2.0),  # a tile, where there is a hop
        row(3, 30, 1, 3.0),
        row(4, 40, 1, 4.0),  # known after exact_from, at the same event times
        row(12, 12, 0, 5.0),
        row(12, 50, 1, 6.0),  # a single and its like
        row(16, 60, 0, 7.0),
    ]
    measures = measures_over((15, 60)) + plain
    states, _ = published(rows, measures, hop, [20] * KEYS)
    queries = queries_of(
        [(0, t, k) for t in (20, 25, 60, 74) for k in (20, 29, 30, 40, 50, 59, 60)]
    )
    raw = compute(events_of(rows)[0], queries, measures, hop)
    for measure, a, b in zip(measures, compute_states(states, queries, measures), raw, strict=True):
        assert answers(a) == answers(b), measure


def test_a_question_may_know_more_than_its_time() -> None:
    rows = [row(0, 20, 0, 1.0), row(1, 1, 0, 2.0)]
    states, _ = published(rows, [Measure("sum", "x", 13)], None, [7] * KEYS)
    for t, k, total in ((7, 19, 2.0), (7, 20, 3.0), (20, 20, None)):
        (got,) = compute_states(states, queries_of([(0, t, k)]), [Measure("sum", "x", 13)])
        assert answers(got) == [total]


@pytest.mark.parametrize(
    ("e", "hop", "kept"), [(10, 5, 1), (6, 5, 1), (5, 5, 0), (11, None, 1), (10, None, 0)]
)
def test_what_no_question_can_reach_is_left_out(e: Any, hop: Any, kept: Any) -> None:
    # exact from 21: the tail of 11 is at 10; that of 15 at 6, rounded down to the hop at 5
    window = 15 if hop else 11
    states, _ = published([row(e, e, 0, 1.0)], [Measure("sum", "x", window)], hop, [21] * KEYS)
    assert len(states.singles.events) == kept


@profile
@given(rows_of(max_size=20), cuts, st.sampled_from([(None, (7,)), (5, (15,))]))
def test_a_state_is_a_function_of_its_own_key(rows: Any, cut: Any, shape: Any) -> None:
    hop, windows = shape
    measures = measures_over(windows) + plain
    _, blobs = published(rows, measures, hop, cut)
    for key in range(KEYS):
        _, alone = published([r for r in rows if r.key == key], measures, hop, cut)
        assert alone[key] == blobs[key]


def example() -> tuple[OpenedStates, list[bytes], Shape]:
    random = np.random.default_rng(3)
    rows = [
        oracle.Row(0, int(e), int(e), i, {"x": 0.1 * i, "n": i, "d": i, "s": f"text {i}"})
        for i, e in enumerate(random.integers(0, 40, 30))
    ]
    measures = measures_over((20,)) + plain
    states, blobs = published(rows, measures, 5, [30] * KEYS)
    return states, blobs, Shape.of(measures, KINDS, 5)


def test_the_header_is_as_published() -> None:
    states, blobs, _ = example()
    blob = blobs[0]
    assert blob[:8] == b"TLS1" + struct.pack("<HH", 1, 1)
    assert blob[8:40] == FINGERPRINT + TABLE
    version, exact_from, newest, known = struct.unpack_from("<4q", blob, 40)
    assert (version, exact_from, newest, known) == (41, 30, newest, newest)
    assert struct.unpack_from("<I", blob, 88)[0] * 8 == len(blob)
    assert len(states.tiles.source.key) > 0
    assert len(states.later.events) > 0
    assert states.table_id[0].tobytes() == TABLE
    assert states.version.tolist() == [41] * KEYS
    assert HEADER.itemsize == 96


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b"XLS1" + b[4:], "state 1 has magic .*XLS1.*TLS1"),
        (lambda b: b[:4] + b"\x02\x00" + b[6:], "format 2, expected 1"),
        (lambda b: b[:8] + b"\xff" + b[9:], "fingerprint ff01.*expected 0001"),
        (lambda b: b[:-8], "length in words"),
        (lambda b: b[:-3], "truncated"),
        (lambda b: b[:40], "header alone"),
        (lambda b: b[:72] + b"\xff\xff\x00\x00" + b[76:], "ends inside a section"),
        (lambda b: b[:80] + b"\x00" + b[81:], "more than its sections"),
    ],
)
def test_damage_is_named(damage: Any, message: Any) -> None:
    _, blobs, shape = example()
    broken = [blobs[1], damage(blobs[0]), blobs[2]]
    with pytest.raises(StateError, match=message):
        open_states(broken, shape, FINGERPRINT)


def test_sums_of_either_sign_and_of_nothing_are_compact() -> None:
    cells = [(1, -1.5, -(2**40)), (2, 0.5, 3), (6, 0.25, 2**40), (7, -0.25, -(2**40))]
    rows = [oracle.Row(0, e, e, 0, {"x": x, "n": n, "d": None, "s": None}) for e, x, n in cells]
    measures = [Measure(f, name, 20) for f in ("sum", "stddev") for name in ("x", "n", "d")]
    states, _ = published(rows, measures, 5, [10] * KEYS)
    assert len(states.tiles) == 2
    assert not len(states.singles.events)
    queries = Queries.at(np.array([0]), np.array([10]))
    raw = compute(events_of(rows)[0], queries, measures, 5)
    for a, b in zip(compute_states(states, queries, measures), raw, strict=True):
        assert answers(a) == answers(b)
    assert answers(raw[0]) == [-1.0]
    assert answers(raw[1]) == [3 - 2**40]


def test_no_states_and_no_rows() -> None:
    _, _, shape = example()
    assert len(open_states([], shape, FINGERPRINT)) == 0
    states, blobs = published([], measures_over((20,)), 5, [0] * KEYS)
    assert {len(blob) for blob in blobs} == {96}
    (count, *_) = compute_states(
        states, Queries.at(np.arange(3), np.arange(3)), [Measure("count", None, 20)]
    )
    assert answers(count) == [0, 0, 0]


def test_a_question_before_exact_from_is_refused() -> None:
    states, _, _ = example()
    early = Queries.at(np.array([0]), np.array([29]))
    with pytest.raises(InputError, match=r"as of 29 us.*from 30"):
        compute_states(states, early, [Measure("count", None, 20)])
    with pytest.raises(InputError, match="not held"):
        compute_states(states, early, [Measure("count", None, 40)])
