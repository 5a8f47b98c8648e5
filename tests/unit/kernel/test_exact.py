"""Exact sums: one rounding, whatever the order, grouping or range of exponents."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.cases import profile
from tests.unit.kernel.oracle import Row, aggregate, rounded
from twinlake.errors import InputError
from twinlake.kernel import exact, rounding

every_float = st.floats(allow_nan=False, allow_infinity=False)
nasty = st.sampled_from(
    [
        5e-324,
        -5e-324,
        1.7e308,
        -1.7e308,
        1e16,
        1.0,
        -1e16,
        2.0**-1074,
        2.0**53,
        2.0**54 + 4,
        0.1,
        -0.0,
    ]
    + [2.0**k for k in range(-80, 80, 7)]
)
floats = st.lists(st.one_of(every_float, nasty, st.floats(-1e3, 1e3)), max_size=12)
int64s = st.integers(-(2**63), 2**63 - 1)
ints = st.lists(
    st.one_of(int64s, st.integers(-100, 100), st.sampled_from([-(2**63), 2**63 - 1])), max_size=12
)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def total(limbs: exact.Limbs, scale10: int = 0) -> float:
    n = len(limbs)
    whole = exact.range_sums(exact.prefix_sums(limbs), np.array([0]), np.array([n]))
    return float(rounding.to_float64(whole, scale10)[0])


@profile
@given(floats)
def test_sum_of_floats_is_the_real_sum_rounded_once(values: Any) -> None:
    expected = rounded(sum(map(Fraction, values), Fraction(0)))
    assert bits(total(exact.from_float64(np.array(values, float)))) == bits(expected)


@profile
@given(floats)
def test_sum_of_squares_is_rounded_once(values: Any) -> None:
    expected = rounded(sum((Fraction(v) ** 2 for v in values), Fraction(0)))
    assert bits(total(exact.squares_of_float64(np.array(values, float)))) == bits(expected)


@profile
@given(ints, st.integers(0, 38))
def test_sums_of_integers_and_decimals(values: Any, scale10: Any) -> None:
    array = np.array(values, np.int64)
    s, ss = sum(values), sum(v * v for v in values)
    assert bits(total(exact.from_int64(array), scale10)) == bits(rounded(Fraction(s, 10**scale10)))
    assert bits(total(exact.squares_of_int64(array), scale10)) == bits(
        rounded(Fraction(ss, 10**scale10))
    )


@profile
@given(st.lists(st.integers(-(2**200), 2**200), min_size=1, max_size=20), st.integers(0, 38))
def test_division_by_a_power_of_ten_rounds_once(values: Any, scale10: Any) -> None:
    limbs = from_python(values)
    got = rounding.to_float64(limbs, scale10)
    for value, one in zip(values, got.tolist(), strict=True):
        assert bits(one) == bits(rounded(Fraction(value, 10**scale10)))


@profile
@given(
    st.integers(2**52, 2**53 - 1), st.integers(0, 150), st.sampled_from([-1, 0, 1]), st.booleans()
)
def test_ties_and_their_neighbours(mantissa: Any, shift: Any, nudge: Any, negative: Any) -> None:
    value = ((2 * mantissa + 1) << (shift + 1)) + nudge
    value = -value if negative else value
    assert bits(rounding.to_float64(from_python([value, 1]))[0]) == bits(rounded(Fraction(value)))


@profile
@given(st.integers(2**60, 2**120), st.integers(1, 30), st.sampled_from([-1, 0, 1]))
def test_quotients_next_to_a_tie(mantissa: Any, scale10: Any, nudge: Any) -> None:
    middle = 2 * (mantissa >> max(mantissa.bit_length() - 53, 0)) + 1
    value = middle * 10**scale10 + nudge
    got = rounding.to_float64(from_python([value]), scale10)[0]
    assert bits(got) == bits(rounded(Fraction(value, 10**scale10)))


def from_python(values: list[int], exponent: int = 0) -> exact.Limbs:
    length = max(abs(v).bit_length() for v in values) // 32 + 2
    digits = [[(v >> (32 * j)) & 0xFFFFFFFF for v in values] for j in range(length - 1)]
    digits.append([v >> (32 * (length - 1)) for v in values])
    return exact.Limbs(np.array(digits, np.int64), exponent)


@profile
@given(
    st.lists(st.integers(-(2**90), 2**90), min_size=1, max_size=5),
    st.sampled_from([-1088, -1120, -1056, 928]),
)
def test_subnormal_and_overflowing_results(values: Any, exponent: Any) -> None:
    got = rounding.to_float64(from_python(values, exponent))
    for value, one in zip(values, got.tolist(), strict=True):
        assert bits(one) == bits(rounded(Fraction(value) * Fraction(2) ** exponent))


def test_a_subnormal_result_is_not_rounded_twice() -> None:
    just_above_a_tie = (4 << 206) | (1 << 205) | 1
    got = rounding.to_float64(from_python([just_above_a_tie, -just_above_a_tie], -1280))
    assert got.tolist() == [5 * 5e-324, -5 * 5e-324]


@profile
@given(floats, st.randoms(use_true_random=False))
def test_any_order_and_grouping_gives_the_same_number(values: Any, random: Any) -> None:
    shuffled = values[:]
    random.shuffle(shuffled)
    cut = random.randint(0, len(values))
    parts = [exact.from_float64(np.array(p, float)) for p in (shuffled[:cut], shuffled[cut:])]
    sums = [
        exact.range_sums(exact.prefix_sums(p), np.array([0]), np.array([len(p)])) for p in parts
    ]
    merged = rounding.to_float64(exact.add(sums[0], sums[1]))[0]
    assert bits(merged) == bits(total(exact.from_float64(np.array(values, float))))
    assert bits(total(exact.concat(parts))) == bits(merged)
    again = exact.concat([exact.normalised(p) for p in parts])
    assert bits(total(again)) == bits(merged)


@profile
@given(
    st.one_of(floats.map(lambda v: ("x", v)), st.lists(int64s, max_size=9).map(lambda v: ("n", v))),
    st.integers(0, 6),
)
def test_stddev_is_the_fixed_expression(case: Any, scale10: Any) -> None:
    name, values = case
    if name == "x":
        scale10, array = 0, np.array(values, float)
        s, ss = exact.from_float64(array), exact.squares_of_float64(array)
    else:
        array = np.array(values, np.int64)
        s, ss = exact.from_int64(array), exact.squares_of_int64(array)
    low, high = np.array([0]), np.array([len(values)])
    sums = [exact.range_sums(exact.prefix_sums(p), low, high) for p in (s, ss)]
    got = rounding.stddev(high, sums[0], sums[1], scale10)[0]
    held = [Row(0, i, i, i, {name: v}) for i, v in enumerate(values)]
    expected = aggregate("stddev", name, held, scale10)
    assert bits(got) == bits(0.0 if expected is None else expected)


@profile
@given(ints)
def test_integer_sums_stay_integers_or_are_said_not_to_fit(values: Any) -> None:
    limbs = exact.from_int64(np.array(values, np.int64))
    whole = exact.range_sums(exact.prefix_sums(limbs), np.array([0]), np.array([len(values)]))
    total = sum(values)
    found, fits = rounding.to_int64(whole)
    fitting = -(2**63) <= total < 2**63
    assert (found.tolist(), fits.tolist()) == ([total if fitting else 0], [fitting])


@profile
@given(st.lists(st.integers(-(2**100), 2**100), min_size=1, max_size=8))
def test_used_limbs_lose_nothing_and_waste_nothing(values: Any) -> None:
    limbs = exact.normalised(from_python(values))
    first, stop = exact.used_limbs(limbs)
    for i, value in enumerate(values):
        digits = limbs.digits[first[i] : stop[i], i].tolist()
        whole = sum((d & 0xFFFFFFFF) << (32 * j) for j, d in enumerate(digits))
        if digits and digits[-1] & 0x80000000:
            whole -= 1 << (32 * len(digits))
        assert whole << (32 * int(first[i])) == value if digits else value == 0
        trailing = (value & -value).bit_length() - 1
        needed = value.bit_length() if value >= 0 else (value + 1).bit_length()
        if value:
            assert len(digits) == needed // 32 + 1 - trailing // 32


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_a_number_is_refused(bad: Any) -> None:
    for build in (exact.from_float64, exact.squares_of_float64):
        with pytest.raises(InputError, match="value 1 is"):
            build(np.array([1.0, bad]))


def test_a_million_values_cancel_exactly() -> None:
    values = np.tile([1e16, 1.0, -1e16, 0.1], 250_000)
    exact_sum = sum(map(Fraction, [1.0, 0.1])) * 250_000
    assert total(exact.from_float64(values)) == float(exact_sum)
    assert total(exact.from_float64(values[::-1].copy())) == float(exact_sum)


def test_the_scale_is_bounded() -> None:
    with pytest.raises(InputError, match="scale 39"):
        rounding.to_float64(exact.zeros(1), 39)
