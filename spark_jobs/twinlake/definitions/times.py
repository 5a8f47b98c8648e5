"""Instants, durations and intervals, all as whole microseconds since 1970-01-01T00:00:00Z.

An interval here is open at its start and closed at its end, ``(start_us, end_us]``, because a
window is ``(t - W, t]``: what is materialized to the end ``t`` is exactly what is visible as of it.
Nothing in this module reads a clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from twinlake.errors import InputError

MICROSECOND = 1
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Far enough out that no instant reaches them, near enough that sums of two still fit 64 bits.
MIN_US = -(2**62)
MAX_US = 2**62
ALWAYS = (MIN_US, MAX_US)

_UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": SECOND_US,
    "m": 60 * SECOND_US,
    "h": 3_600 * SECOND_US,
    "d": DAY_US,
    "w": 7 * DAY_US,
}
_DURATION = re.compile(r"(\d+)\s*(us|ms|s|m|h|d|w)")


def parse_duration_us(text: str) -> int:
    """Read a duration such as ``10m``, ``7d`` or ``1h30m``.

    Args:
        text: One or more whole numbers, each with a unit: us, ms, s, m, h, d, w.

    Returns:
        The length in microseconds.

    Raises:
        ValueError: The text is not such a duration.

    Examples:
        >>> parse_duration_us("10m") == 600 * SECOND_US
        True
        >>> parse_duration_us("1w") == parse_duration_us("7d")
        True
    """
    compact = text.strip()
    if not compact or _DURATION.sub("", compact).strip():
        raise ValueError(f"{text!r} is not a duration")
    length_us = sum(int(count) * _UNITS_US[unit] for count, unit in _DURATION.findall(compact))
    if length_us > MAX_US:
        raise ValueError(f"{text!r} is longer than {MAX_US // DAY_US} days")
    return length_us


def format_duration(length_us: int) -> str:
    """Write a duration with the largest unit that divides it: ``604800000000`` as ``7d``."""
    for unit in ("d", "h", "m", "s", "ms"):
        if length_us and length_us % _UNITS_US[unit] == 0:
            return f"{length_us // _UNITS_US[unit]}{unit}"
    return f"{length_us}us"


def parse_instant_us(text: str) -> int:
    """Read an ISO 8601 date or time; one without a zone is UTC.

    Args:
        text: ``2014-02-28``, ``2014-02-28T00:00:00Z``, ``2014-02-28T01:00+01:00``.

    Returns:
        Microseconds since the epoch.

    Raises:
        InputError: The text is not such an instant.

    Examples:
        >>> parse_instant_us("1970-01-02")
        86400000000
        >>> parse_instant_us("1970-01-01T01:00:00+01:00")
        0
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"{text!r} is not a time",
            hint="write it as 2014-02-28 or 2014-02-28T12:30:00Z (UTC unless a zone is given)",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return to_us(moment)


def to_us(moment: datetime) -> int:
    """Give the microseconds since the epoch of a datetime that knows its zone, without rounding."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def to_datetime(instant_us: int) -> datetime:
    """Give the UTC datetime of an instant in microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=instant_us)


def format_instant(instant_us: int | None) -> str:
    """Write an instant as ``2014-02-28T00:00:00Z``; None and the far ends as ``-``."""
    if instant_us is None or not MIN_US < instant_us < MAX_US:
        return "-"
    try:
        text = to_datetime(instant_us).isoformat()
    except OverflowError:  # before the year 1 or after 9999
        return f"{instant_us} us"
    return text.replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """The instants ``start_us < t <= end_us``.

    Attributes:
        start_us: Not part of the interval.
        end_us: Part of it.
    """

    start_us: int = MIN_US
    end_us: int = MAX_US

    def __post_init__(self) -> None:
        if self.end_us <= self.start_us:
            raise InputError(
                f"the interval from {format_instant(self.start_us)} to "
                f"{format_instant(self.end_us)} is empty",
                hint="give an --end that is later than --start",
            )

    def __str__(self) -> str:
        start = "the beginning" if self.start_us <= MIN_US else format_instant(self.start_us)
        end = "everything" if self.end_us >= MAX_US else format_instant(self.end_us)
        return f"({start}, {end}]"
