"""From exact numbers to float64 and int64: one rounding, to nearest, ties to even.

The fast paths rest on IEEE 754: converting an int64 to float64, dividing two floats and taking a
square root each round once. What they cannot decide is decided by Python's integers, whose true
division is correctly rounded too, for just those elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from twinlake.errors import InputError
from twinlake.kernel.exact import (
    LIMB_BITS,
    LOW_HALF,
    BoolArray,
    FloatArray,
    IntArray,
    Limbs,
    absolute,
    as_integer,
    carried,
    normalised,
    subtract,
)

_BLOCK = 1 << 14  # numbers per round: the temporaries stay in the second-level cache
_ENOUGH = np.int64(1 << 29)  # a head below this takes another limb and still fits an int64
_SPLITTER = 134217729.0  # 2**27 + 1, Dekker's splitting constant for float64
_LARGEST_SCALE = 38  # of decimal(38, s), the widest that Spark has
_EXACT_POWER = 22  # 10**22 is the largest power of ten that float64 holds exactly


def to_float64(limbs: Limbs, scale10: int = 0) -> FloatArray:
    """Return ``value / 10**scale10`` rounded once, half to even; too large becomes infinity.

    Args:
        limbs: n exact numbers.
        scale10: Decimal places of scaled integers, 0 to 38.

    Returns:
        float64 of shape (n,); zero is always 0.0, never -0.0.

    Raises:
        InputError: If ``scale10`` is out of range.
    """
    return _rounded(limbs, scale10, 1)


def mean(count: IntArray, total: FloatArray) -> FloatArray:
    """Return ``total / count`` where count > 0, else 0; ``total`` is the sum rounded once."""
    return np.asarray(total / np.maximum(count, 1), dtype=np.float64)


def stddev(count: IntArray, total: Limbs, squares: Limbs, scale10: int = 0) -> FloatArray:
    """Return the sample standard deviation by one fixed expression.

    With ``N = count * squares - total**2`` as an exact number, the result is
    ``sqrt(float64(N / 10**(2*scale10)) / float64(count * (count - 1)))``: the numerator rounded
    once, then one division and one root. Where count < 2 the value is undefined and 0 is returned.

    Args:
        count: Non-null values n_i, shape (n,), each below 2**31.
        total: Exact sums of x, shape (n,).
        squares: Exact sums of x**2, shape (n,).
        scale10: Decimal places of scaled integers.
    """
    result = np.zeros(count.size)
    for block in _blocks(count.size):
        n = count[block]
        spread = _rounded(_scatter(n, total.take(block), squares.take(block)), scale10, 2)
        pairs = np.maximum(n * (n - 1), 1).astype(np.float64)
        result[block] = np.where(n < 2, 0.0, np.sqrt(spread / pairs))
    return result


def to_int64(limbs: Limbs) -> tuple[IntArray, BoolArray]:
    """Return integer numbers as int64, 0 where one does not fit, and which ones fit.

    Raises:
        InputError: If a number has a fraction.
    """
    carried_limbs = normalised(limbs)
    digits = carried_limbs.digits
    if carried_limbs.exponent:
        exact = [_whole(limbs, i) for i in range(len(limbs))]
        small = [-(2**63) <= one < 2**63 for one in exact]
        numbers = [one if fits_one else 0 for one, fits_one in zip(exact, small, strict=True)]
        return np.array(numbers, np.int64), np.array(small, np.bool_)
    if len(digits) == 1:
        only: IntArray = digits[0]
        return only, np.ones(only.size, np.bool_)
    head = digits[-1]
    fits = np.ones(len(limbs), np.bool_)
    for j in range(len(digits) - 2, 0, -1):
        fits &= (head == 0) | (head == -1)
        head = digits[j] + (head << LIMB_BITS)
    fits &= (head >= -(2**31)) & (head < 2**31)
    return np.where(fits, digits[0] + (head << LIMB_BITS), 0), fits


def _whole(limbs: Limbs, position: int) -> int:
    """Return one number as a Python integer."""
    exact = Fraction(as_integer(limbs, position)) * Fraction(2) ** limbs.exponent
    if exact.denominator != 1:
        raise InputError(f"the sum {exact} of whole numbers has a fraction")
    return exact.numerator


def _rounded(limbs: Limbs, scale10: int, power: int) -> FloatArray:
    """Return ``value / 10**(power * scale10)`` rounded once, block by block."""
    if not 0 <= scale10 <= _LARGEST_SCALE:
        raise InputError(f"decimal scale {scale10}: 0 to {_LARGEST_SCALE} is supported")
    result = np.empty(len(limbs))
    for block in _blocks(len(limbs)):
        result[block] = _round_block(limbs.take(block), power * scale10)
    return result


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def _round_block(limbs: Limbs, places: int) -> FloatArray:
    """Round one block: take the leading bits of each number, then convert or divide once."""
    head, rest, sticky, position = _leading_digits(carried(limbs.digits))
    if rest is None:
        exact, unit, inexact = head, np.zeros_like(head), None
    else:
        exact, unit, inexact = _leading_bits(head, rest, sticky)
    scale = limbs.exponent + LIMB_BITS * position - unit
    if places:
        quotient, doubtful = _divided(exact, inexact, places)
    else:
        quotient, doubtful = exact.astype(np.float64), np.zeros(len(limbs), np.bool_)
    with np.errstate(over="ignore", under="ignore"):
        result = np.ldexp(quotient, scale.astype(np.int32))
    if limbs.exponent < -900:
        # A subnormal result would be rounded a second time by ldexp.
        doubtful = doubtful | ((np.abs(result) < 2.0**-1021) & (exact != 0))
    for i in np.flatnonzero(doubtful).tolist():
        result[i] = _round_one(limbs, i, places)
    return result


def _leading_digits(
    digits: IntArray,
) -> tuple[IntArray, IntArray | None, BoolArray, IntArray]:
    """Take limbs from the top until a number has enough bits.

    Args:
        digits: Two's complement digits of shape (L, n).

    Returns:
        head: int64, the limbs taken as one signed integer, below 2**62 in magnitude.
        rest: The first limb not taken, 0 where all were; None if all were everywhere.
        sticky: Whether any limb below ``rest`` is not 0.
        position: The index of the lowest limb taken.
    """
    length, count = digits.shape
    head = digits[-1].copy()
    rest: IntArray | None = None
    sticky = np.zeros(count, np.bool_)
    position = np.full(count, length - 1, np.int64)
    open_ = np.ones(count, np.bool_)
    for j in range(length - 2, -1, -1):
        still_open = open_ & ((head + _ENOUGH).view(np.uint64) < np.uint64(2 * _ENOUGH))
        if still_open.all():
            head = (head << LIMB_BITS) + digits[j]
            position[:] = j
            continue
        if rest is None:
            rest = np.zeros(count, np.int64)
        sticky |= ~open_ & (digits[j] != 0)
        rest = np.where(open_ & ~still_open, digits[j], rest)
        head = np.where(still_open, (head << LIMB_BITS) + digits[j], head)
        position -= still_open
        open_ = still_open
    return head, rest, sticky, position


def _leading_bits(
    head: IntArray, rest: IntArray, sticky: BoolArray
) -> tuple[IntArray, IntArray, BoolArray]:
    """Fill a head up with bits of the next limb; the last bit says if anything was lost.

    Returns:
        bits: int64 whose rounding to 53 bits, or whose quotient, is that of the whole number:
            ``2 * leading + (1 if anything nonzero lies below)``, in two's complement.
        unit: By how many bits ``bits`` is longer than ``head``.
        inexact: Whether anything was lost.
    """
    _, length = np.frexp(head.astype(np.float64))
    shift = np.clip(60 - length, 0, LIMB_BITS - 1).astype(np.int64)
    down = LIMB_BITS - shift
    leading = (head << shift) + (rest >> down)
    inexact = sticky | ((rest & ((np.int64(1) << down) - 1)) != 0)
    return (leading << 1) | inexact, shift + 1, inexact


def _divided(
    exact: IntArray, inexact: BoolArray | None, places: int
) -> tuple[FloatArray, BoolArray]:
    """Divide by ``10**places``; also say for which numbers the last bit is in doubt."""
    small = np.abs(exact) < 2**53
    if inexact is not None:
        small &= ~inexact
    doubtful = np.zeros(exact.size, np.bool_)
    if places <= _EXACT_POWER:
        quotient = exact.astype(np.float64) / 10.0**places
        hard = np.flatnonzero(~small)
    else:
        quotient = np.zeros(exact.size)
        hard = np.flatnonzero(exact)
    if hard.size:
        lost = np.zeros(hard.size, np.bool_) if inexact is None else inexact[hard]
        quotient[hard], doubtful[hard] = _divided_in_two_floats(exact[hard], lost, places)
    return quotient, doubtful


def _divided_in_two_floats(
    exact: IntArray, inexact: BoolArray, places: int
) -> tuple[FloatArray, BoolArray]:
    """Divide with about 104 bits (T. J. Dekker's two-float division) and test the last bit.

    The quotient is ``q + correction`` up to a relative error below 2**-58 where bits were lost
    and 2**-95 where not. If both ends of that interval round to the same float, it is the answer.
    """
    high = (exact >> 30).astype(np.float64) * 2.0**30
    low = (exact & ((1 << 30) - 1)).astype(np.float64)
    value = high + low
    value_error = low - (value - high)
    power = 10**places
    divisor = float(power)
    divisor_error = float(power - int(divisor))
    q = value / divisor
    product, product_error = _two_product(q, divisor)
    remainder = ((value - product) - product_error) + value_error - q * divisor_error
    correction = remainder / divisor
    slack = np.abs(q) * np.where(inexact, 2.0**-57, 2.0**-90)
    result = q + correction
    doubtful = (q + (correction + slack)) != (q + (correction - slack))
    return result, doubtful


def _two_product(left: FloatArray, right: float) -> tuple[FloatArray, FloatArray]:
    """Return ``left * right`` rounded and its exact error (Dekker, Veltkamp)."""
    product = left * right
    scaled = left * _SPLITTER
    left_high = scaled - (scaled - left)
    left_low = left - left_high
    right_scaled = right * _SPLITTER
    right_high = right_scaled - (right_scaled - right)
    right_low = right - right_high
    error = ((left_high * right_high - product) + left_high * right_low + left_low * right_high) + (
        left_low * right_low
    )
    return product, error


def _round_one(limbs: Limbs, position: int, places: int) -> float:
    """Round one number with Python's integers."""
    exact = Fraction(as_integer(limbs, position)) * Fraction(2) ** limbs.exponent / 10**places
    try:
        return float(exact)
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")


def _scatter(count: IntArray, total: Limbs, squares: Limbs) -> Limbs:
    """Return ``count * squares - total**2`` exactly."""
    squared = _squared(total)
    scaled = Limbs(carried(squares.digits) * count, squares.exponent)
    return subtract(scaled, squared)


def _squared(limbs: Limbs) -> Limbs:
    """Return the exact squares, by schoolbook multiplication of 32-bit digits."""
    digits = absolute(limbs.digits).view(np.uint64)
    length, count = digits.shape
    result = np.zeros((2 * length, count), np.int64)
    for i in range(length):
        for j in range(i, length):
            product = digits[i] * digits[j]
            low = (product & np.uint64(LOW_HALF)).view(np.int64)
            high = (product >> np.uint64(LIMB_BITS)).view(np.int64)
            result[i + j] += low if i == j else low << 1
            result[i + j + 1] += high if i == j else high << 1
    return Limbs(result, 2 * limbs.exponent)
