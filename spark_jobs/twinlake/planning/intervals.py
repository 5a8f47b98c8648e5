"""Arithmetic of intervals ``(start_us, end_us]``, as pairs of whole microseconds."""

from __future__ import annotations

from collections.abc import Iterable

Pair = tuple[int, int]


def merged(intervals: Iterable[Pair]) -> tuple[Pair, ...]:
    """Give the same instants with as few intervals as possible, in order.

    Examples:
        >>> merged([(5, 9), (0, 3), (3, 4)])
        ((0, 4), (5, 9))
    """
    out: list[Pair] = []
    for start_us, end_us in sorted(intervals):
        if out and start_us <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end_us))
        else:
            out.append((start_us, end_us))
    return tuple(out)


def subtracted(wanted: Pair, covered: Iterable[Pair]) -> tuple[Pair, ...]:
    """Give what of an interval is not covered.

    Examples:
        >>> subtracted((0, 10), [(2, 4), (6, 20)])
        ((0, 2), (4, 6))
    """
    start_us, end_us = wanted
    out: list[Pair] = []
    for low, high in merged(covered):
        if low > start_us:
            out.append((start_us, min(low, end_us)))
        start_us = max(start_us, high)
        if start_us >= end_us:
            break
    if start_us < end_us:
        out.append((start_us, end_us))
    return tuple((low, high) for low, high in out if low < high)
