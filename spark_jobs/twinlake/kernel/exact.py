"""Exact numbers as arrays of limbs: sums without rounding, in any order or grouping.

A value is ``sum_j digits[j] * 2**(32*j) * 2**exponent`` with one ``exponent`` (a multiple of 32)
for the whole array. Digits are int64 and may carry any sign, so adding is adding digit by digit
and a prefix sum is a ``cumsum`` per limb. A digit made from one value stays within ``2**32``;
hence ``2**31 - 1`` values can be summed before an int64 digit could overflow, which is the limit
of every function here. The number of limbs follows the exponents found in the data: 1 for small
integers, 3 to 5 for ordinary floats, up to 66 (squares: 132) for the whole range of float64.

This is the long accumulator of U. Kulisch, cut to the range that the data has. Rounding back to
float64 lives in ``rounding``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from twinlake.errors import InputError

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[Any]  # float64 or int64
Unsigned: TypeAlias = npt.NDArray[np.uint64]

LIMB_BITS = 32
LOW_HALF = np.int64(0xFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_BITS = np.uint64(LIMB_BITS)
_MANTISSA_BITS = 53


@dataclass(frozen=True, slots=True)
class Limbs:
    """``n`` exact numbers.

    Attributes:
        digits: int64 of shape (L, n), least significant limb first, L >= 1.
        exponent: The power of two of the lowest limb; a multiple of 32.
    """

    digits: IntArray
    exponent: int

    def __len__(self) -> int:
        return int(self.digits.shape[1])

    def take(self, index: IntArray | BoolArray | slice) -> Limbs:
        """Return the chosen numbers; ``index`` selects along the n axis."""
        return Limbs(self.digits[:, index], self.exponent)


def from_float64(values: FloatArray) -> Limbs:
    """Return the exact values of finite floats; -0.0 is 0.

    Args:
        values: float64 of shape (n,).

    Raises:
        InputError: If a value is NaN or infinite.
    """
    magnitude, exponent, negative = _decompose(values)
    return _place([magnitude & _LOW, magnitude >> _BITS], exponent, negative)


def squares_of_float64(values: FloatArray) -> Limbs:
    """Return the exact squares of finite floats, shape (n,).

    Raises:
        InputError: If a value is NaN or infinite.
    """
    magnitude, exponent, _ = _decompose(values)
    return _place(_square_digits(magnitude), 2 * exponent, None)


def from_int64(values: IntArray) -> Limbs:
    """Return the exact values of int64, the whole range included, shape (n,)."""
    if _largest(values) < 2**31:
        return Limbs(values.reshape(1, -1), 0)
    return Limbs(np.stack((values & LOW_HALF, values >> LIMB_BITS)), 0)


def squares_of_int64(values: IntArray) -> Limbs:
    """Return the exact squares of int64, the whole range included, shape (n,)."""
    largest = _largest(values)
    if largest < 2**16:
        return Limbs((values * values).reshape(1, -1), 0)
    if largest < 2**31:
        square = values * values
        return Limbs(np.stack((square & LOW_HALF, square >> LIMB_BITS)), 0)
    # abs(int64 min) wraps to itself, and as uint64 those bits are 2**63: the right magnitude
    digits = _square_digits(np.abs(values).view(np.uint64))
    return _trimmed(np.stack(digits).view(np.int64), 0)


def zeros(count: int) -> Limbs:
    """Return ``count`` zeros."""
    return Limbs(np.zeros((1, count), np.int64), 0)


def prefix_sums(limbs: Limbs) -> Limbs:
    """Return n + 1 running sums, the first of them 0, so that a range sum is one difference."""
    length, count = limbs.digits.shape
    digits = np.zeros((length, count + 1), np.int64)
    np.cumsum(limbs.digits, axis=1, out=digits[:, 1:])
    return Limbs(digits, limbs.exponent)


def range_sums(prefix: Limbs, low: IntArray, high: IntArray) -> Limbs:
    """Return the sums over the half-open ranges ``[low, high)``.

    Args:
        prefix: What ``prefix_sums`` returned for n numbers.
        low: Range starts, shape (q,), 0 <= low <= high.
        high: Range ends, shape (q,), high <= n.
    """
    digits = np.take(prefix.digits, high, axis=1)
    digits -= np.take(prefix.digits, low, axis=1)
    return Limbs(digits, prefix.exponent)


def group_sums(limbs: Limbs, starts: IntArray) -> Limbs:
    """Return the sums of consecutive groups; ``starts`` are their first positions, ascending."""
    if not starts.size:
        return zeros(0)
    return Limbs(np.add.reduceat(limbs.digits, starts, axis=1), limbs.exponent)


def add(left: Limbs, right: Limbs) -> Limbs:
    """Return the element-wise sums of two arrays of equal n and any exponents."""
    left_digits, right_digits, exponent = _aligned(left, right)
    return Limbs(left_digits + right_digits, exponent)


def subtract(left: Limbs, right: Limbs) -> Limbs:
    """Return the element-wise differences of two arrays of equal n and any exponents."""
    left_digits, right_digits, exponent = _aligned(left, right)
    return Limbs(left_digits - right_digits, exponent)


def concat(parts: Sequence[Limbs]) -> Limbs:
    """Return the numbers of all parts, one part after the other."""
    if not parts:
        return zeros(0)
    exponent = min(part.exponent for part in parts)
    top = max(part.exponent + LIMB_BITS * len(part.digits) for part in parts)
    length = (top - exponent) // LIMB_BITS
    return Limbs(np.concatenate([_padded(p, exponent, length) for p in parts], axis=1), exponent)


def normalised(limbs: Limbs) -> Limbs:
    """Return the same numbers with carries done.

    All digits lie in ``[0, 2**32)``, except the highest, which holds the sign and lies in
    ``[-2**31, 2**31)``: two's complement with 32-bit digits.
    """
    return Limbs(carried(limbs.digits), limbs.exponent)


def carried(digits: IntArray) -> IntArray:
    """Carry digits of shape (L, n) into two's complement form; grows by a limb where needed."""
    carried_digits = digits.copy()
    for j in range(len(digits) - 1):
        carried_digits[j + 1] += carried_digits[j] >> LIMB_BITS
        carried_digits[j] &= LOW_HALF
    top = carried_digits[-1]
    if top.size and (int(top.max()) >= 2**31 or int(top.min()) < -(2**31)):
        low, high = top & LOW_HALF, top >> LIMB_BITS
        return np.concatenate((carried_digits[:-1], low[None], high[None]))
    return carried_digits


def absolute(digits: IntArray) -> IntArray:
    """Return the magnitudes of digits of shape (L, n), carried; every digit in [0, 2**32)."""
    result = carried(digits)
    negative = result[-1] < 0
    if negative.any():
        result = carried(np.where(negative, -result, result))
    return result


def as_integer(limbs: Limbs, position: int) -> int:
    """Return one number times ``2**-exponent`` as a Python integer."""
    digits = limbs.digits[:, position].tolist()
    return sum(int(digit) << (LIMB_BITS * j) for j, digit in enumerate(digits))


def used_limbs(limbs: Limbs) -> tuple[IntArray, IntArray]:
    """Return per number the lowest and one past the highest limb that it needs.

    Args:
        limbs: Normalised numbers.

    Returns:
        Two int64 arrays of shape (n,): cutting each number's two's complement digits to
        ``[first, stop)`` loses nothing. Zero gives (L, 0), the neutral element of min and max.
    """
    digits = limbs.digits
    length, count = digits.shape
    first = np.full(count, length, np.int64)
    stop = np.zeros(count, np.int64)
    negative = digits[-1] < 0
    for j in range(length - 1, -1, -1):
        first[digits[j] != 0] = j
    # A digit is only sign extension if it and all above equal the sign's filling; the digit
    # below must then still show the sign in its bit 31.
    for j in range(length):
        filling = np.where(negative, -1 if j == length - 1 else LOW_HALF, 0)
        stop[digits[j] != filling] = j + 1
    shown = np.take_along_axis(digits, np.maximum(stop - 1, 0)[None], axis=0)[0]
    sign_lost = (stop > 0) & (((shown >> (LIMB_BITS - 1)) & 1).astype(np.bool_) != negative)
    stop += sign_lost
    stop = np.maximum(stop, np.where(first < length, first + 1, 0))
    return first, stop


def _decompose(values: FloatArray) -> tuple[Unsigned, IntArray, BoolArray]:
    """Split floats into integer magnitude below 2**53, exponent of its unit, and sign."""
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(
            f"value {bad} is {values[bad]}; sums are of finite numbers only",
            hint="NaN and infinities must be quarantined or made null before aggregation",
        )
    fraction, exponent = np.frexp(values)
    integer = np.ldexp(fraction, _MANTISSA_BITS).astype(np.int64)
    unit = exponent.astype(np.int64) - _MANTISSA_BITS
    if values.size:
        # A zero has no exponent; give it one that does not widen the array's range.
        nonzero = integer != 0
        unit[~nonzero] = unit[nonzero].min() if nonzero.any() else 0
    return np.abs(integer).view(np.uint64), unit, integer < 0


def _square_digits(magnitude: Unsigned) -> list[Unsigned]:
    """Return the four 32-bit digits of ``magnitude ** 2`` for magnitudes up to 2**63."""
    low, high = magnitude & _LOW, magnitude >> _BITS
    low_square, cross, high_square = low * low, low * high, high * high
    two = np.uint64(2)
    second = (low_square >> _BITS) + two * (cross & _LOW)
    third = (second >> _BITS) + two * (cross >> _BITS) + (high_square & _LOW)
    fourth = (third >> _BITS) + (high_square >> _BITS)
    return [low_square & _LOW, second & _LOW, third & _LOW, fourth]


def _place(digits: Sequence[Unsigned], unit: IntArray, negative: BoolArray | None) -> Limbs:
    """Lay numbers of 32-bit digits, each times ``2**unit``, over limbs of one common exponent."""
    count = unit.size
    if count == 0:
        return zeros(0)
    exponent = int(unit.min()) // LIMB_BITS * LIMB_BITS
    shift = unit - exponent
    parts = _shifted(digits, (shift & (LIMB_BITS - 1)).view(np.uint64))
    if negative is not None and negative.any():
        sign = np.where(negative, -1, 1)
        parts = [part * sign for part in parts]
    offset = shift >> 5
    highest = int(offset.max())
    if highest == 0:
        return _trimmed(np.stack(parts), exponent)
    placed = np.zeros((highest + len(parts), count), np.int64)
    flat = placed.reshape(-1)
    position = offset * count + np.arange(count)
    for j, part in enumerate(parts):
        flat[position + j * count] = part
    return _trimmed(placed, exponent)


def _shifted(digits: Sequence[Unsigned], bits: Unsigned) -> list[IntArray]:
    """Shift multi-digit numbers left by 0..31 bits; one digit longer, all below 2**32."""
    shifted: list[IntArray] = []
    carry: Unsigned = np.zeros_like(bits)
    for digit in digits:
        moved = digit << bits
        shifted.append(((moved & _LOW) | carry).view(np.int64))
        carry = moved >> _BITS
    shifted.append(carry.view(np.int64))
    return shifted


def _trimmed(digits: IntArray, exponent: int) -> Limbs:
    """Drop limbs that are zero for every number."""
    first, stop = 0, len(digits)
    while stop > 1 and not digits[stop - 1].any():
        stop -= 1
    while first < stop - 1 and not digits[first].any():
        first += 1
    return Limbs(digits[first:stop], exponent + LIMB_BITS * first)


def _aligned(left: Limbs, right: Limbs) -> tuple[IntArray, IntArray, int]:
    """Give two arrays the same exponent and length."""
    if left.exponent == right.exponent and len(left.digits) == len(right.digits):
        return left.digits, right.digits, left.exponent
    exponent = min(left.exponent, right.exponent)
    top = max(limbs.exponent + LIMB_BITS * len(limbs.digits) for limbs in (left, right))
    length = (top - exponent) // LIMB_BITS
    return _padded(left, exponent, length), _padded(right, exponent, length), exponent


def _padded(limbs: Limbs, exponent: int, length: int) -> IntArray:
    """Return the digits as ``length`` limbs from ``exponent`` on, which must cover the old ones."""
    below = (limbs.exponent - exponent) // LIMB_BITS
    if below == 0 and length == len(limbs.digits):
        return limbs.digits
    padded = np.zeros((length, len(limbs)), np.int64)
    padded[below : below + len(limbs.digits)] = limbs.digits
    return padded


def _largest(values: npt.NDArray[Any]) -> int:
    """Return the largest magnitude, as a Python integer; 0 for no values."""
    return max(int(values.max()), -int(values.min())) if values.size else 0
