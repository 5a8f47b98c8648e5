"""The independent half of parity, against features by their definition."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.assurance import naive
from tests.unit.assurance.naive import Happened
from twinlake.assurance.recompute import (
    EXPIRED,
    MISSING,
    NOT_YET_KNOWN,
    OVERFLOW,
    PRESENT,
    EventRow,
    Shape,
    Vector,
    recompute,
    tail_us,
)
from twinlake.definitions.views import FUNCTIONS, Feature

WINDOWS = (1, 20, 40)
FEATURES = tuple(
    [Feature(name, "any", name) for name in "xnds"]
    + [Feature(f"rows_{w}", "bigint", None, "count", w) for w in WINDOWS]
    + [Feature(f"{c}_{f}_{w}", "any", c, f, w) for c in "xnd" for f in FUNCTIONS for w in WINDOWS]
    + [Feature(f"s_{f}_{w}", "any", "s", f, w) for f in ("first", "last") for w in WINDOWS]
)
FINITE = st.sampled_from([0.1, 0.2, 0.3, 1e16, -1e16, 1.0, 5e-324, 1e300, -1e300, 1.7e308]) | (
    st.floats(-1e6, 1e6).map(lambda x: x + 0.0)
)
CELLS = st.fixed_dictionaries(
    {
        "x": st.none() | FINITE,
        "n": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
        "d": st.none()
        | st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n: Decimal(n).scaleb(-2)),
        "s": st.none() | st.sampled_from(["", "a", "b"]),
    }
)


@st.composite
def histories(draw: st.DrawFn) -> list[Happened]:
    delay = st.sampled_from([0, 0, 0, 3, 30]) if draw(st.booleans()) else st.just(0)
    drawn = draw(st.lists(st.tuples(st.integers(-10, 40), delay, CELLS), max_size=7))
    return [
        Happened(event, event + wait, number * 7 % 5 * 100 + number, cells)
        for number, (event, wait, cells) in enumerate(drawn)
    ]


MOMENTS = st.lists(
    st.tuples(st.integers(-15, 90), st.sampled_from([0, 0, -4, 4, 40])), max_size=4
).map(lambda drawn: [(t, t + more) for t, more in drawn])
SHAPES = st.tuples(
    st.sampled_from([None, 1, 20]), st.sampled_from([None, 30]), st.sampled_from([None, 1, 3])
).map(lambda drawn: Shape(FEATURES, {"d": 2}, *drawn))


def rows_of(history: list[Happened]) -> list[EventRow]:
    return [EventRow(row.event_us, row.known_us, (0, row.tie), dict(row.cells)) for row in history]


def expected(history: list[Happened], moment: tuple[int, int], shape: Shape) -> Vector:
    seen = naive.visible(history, *moment)
    nothing = (None,) * len(shape.features)
    if not seen:
        happened = any(row.event_us <= moment[0] for row in history)
        return Vector(NOT_YET_KNOWN if happened else MISSING, None, nothing)
    at_us = seen[-1].event_us
    if shape.ttl_us is not None and moment[0] - at_us > shape.ttl_us:
        return Vector(EXPIRED, at_us, nothing)
    values = (
        naive.value(feature, seen, moment[0], shape.hop_us, shape.most_rows)
        for feature in shape.features
    )
    return Vector(PRESENT, at_us, tuple(OVERFLOW if v == naive.OVER else v for v in values))


def exactly(vector: Vector) -> tuple[Any, ...]:
    """With doubles bit for bit, and whole numbers told from them."""
    values = [v.hex() if isinstance(v, float) else (type(v), v) for v in vector.values]
    return vector.status, vector.event_us, values


@settings(max_examples=40)
@given(histories(), MOMENTS, SHAPES)
def test_values_are_those_of_the_definition(
    history: list[Happened], moments: list[tuple[int, int]], shape: Shape
) -> None:
    found = recompute(rows_of(history), moments, shape)
    wanted = [expected(history, moment, shape) for moment in moments]
    assert [exactly(vector) for vector in found] == [exactly(vector) for vector in wanted]


@settings(max_examples=25)
@given(histories(), SHAPES, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_moments_does_not_matter(
    history: list[Happened], shape: Shape, random: Any
) -> None:
    moments = [(row.event_us, row.known_us) for row in history]
    once = recompute(rows_of(history), moments, shape)
    order = random.sample(range(len(moments)), len(moments))
    shuffled = random.sample(history, len(history))
    again = recompute(rows_of(shuffled), [moments[i] for i in order], shape)
    assert [exactly(once[i]) for i in order] == [exactly(vector) for vector in again]


@given(st.integers(-(10**6), 10**6), st.integers(1, 50), st.none() | st.integers(1, 20))
def test_a_window_is_never_shorter_than_asked(as_of_us: int, hops: int, hop_us: int | None) -> None:
    window_us = hops * (hop_us or 1)
    tail = tail_us(as_of_us, window_us, hop_us)
    assert as_of_us - window_us - (hop_us or 1) < tail <= as_of_us - window_us
    assert tail % (hop_us or 1) == 0


def vector_of(cells: list[Any], column: str = "x") -> dict[str, Any]:
    """The values of one window that holds all the cells."""
    rows = [
        EventRow(t, t, (0, 0), {"x": None, "n": None, "d": None, "s": None, column: cell})
        for t, cell in enumerate(cells)
    ]
    (vector,) = recompute(rows, [(10, 10)], Shape(FEATURES, {"d": 2}, None, None))
    return {feature.name: v for feature, v in zip(FEATURES, vector.values, strict=True)}


def test_a_sum_is_rounded_once() -> None:
    assert vector_of([1e16, 1.0, -1e16])["x_sum_40"] == 1.0
    assert vector_of([0.1] * 10)["x_sum_40"] == 1.0
    assert sum([0.1] * 10) != 1.0
    assert vector_of([0.1, 0.2])["x_mean_40"] == 0.30000000000000004 / 2
    assert vector_of([Decimal("0.10"), Decimal("0.20")], "d")["d_sum_40"] == 0.3
    assert vector_of([2**62, 2**62 - 1], "n")["n_sum_40"] == 2**63 - 1


def test_what_cannot_be_given_is_overflow() -> None:
    assert vector_of([2**62, 2**62], "n")["n_sum_40"] is OVERFLOW
    assert vector_of([-(2**62)] * 2, "n")["n_sum_40"] == -(2**63)
    assert vector_of([-(2**62)] * 2 + [-1], "n")["n_sum_40"] is OVERFLOW
    assert vector_of([2**62, 2**62], "n")["n_mean_40"] == 2.0**62


def test_a_window_of_too_many_rows_is_overflow_until_it_holds_few_enough() -> None:
    cells = {"x": 1.0, "n": 1, "d": None, "s": None}
    rows = [EventRow(t, t, (0, 0), cells) for t in (1, 2, 3)]
    features = (Feature("x", "double", "x"), Feature("rows", "bigint", None, "count", 40))
    shape = Shape(features, {}, None, None, 2)
    moments = [(2, 2), (3, 3), (40, 40), (41, 41), (42, 42)]
    found = [vector.values for vector in recompute(rows, moments, shape)]
    assert found == [(1.0, 2), (1.0, OVERFLOW), (1.0, OVERFLOW), (1.0, 2), (1.0, 1)]


def test_too_large_a_sum_is_infinite() -> None:
    values = vector_of([1.7e308, 1.7e308])
    assert values["x_sum_40"] == values["x_mean_40"] == math.inf
    assert values["x_stddev_40"] == 0.0
    assert vector_of([-1.7e308, -1.7e308])["x_sum_40"] == -math.inf
    assert vector_of([1e200, -1e200])["x_stddev_40"] == math.inf
    assert vector_of([1e200, -1e200])["x_sum_40"] == 0.0


@pytest.mark.parametrize(
    ("cells", "stddev"),
    [([], None), ([1.0], None), ([1.0, None], None), ([1.0, 3.0], math.sqrt(2))],
)
def test_a_deviation_needs_two_values(cells: list[Any], stddev: float | None) -> None:
    if cells:
        assert vector_of(cells)["x_stddev_40"] == stddev
