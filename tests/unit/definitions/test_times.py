"""Durations, instants and intervals: what is written reads back, what is not is refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twinlake.definitions.times import (
    DAY_US,
    MAX_US,
    MIN_US,
    Interval,
    format_duration,
    format_instant,
    parse_duration_us,
    parse_instant_us,
    to_datetime,
    to_us,
)
from twinlake.errors import InputError

UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 10**6,
    "m": 6 * 10**7,
    "h": 36 * 10**8,
    "d": DAY_US,
    "w": 7 * DAY_US,
}
SPACES = st.sampled_from(["", " ", "  "])
MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(st.integers(0, MAX_US))
@example(0)
@example(MAX_US)
def test_a_written_duration_reads_back(length_us: int) -> None:
    assert parse_duration_us(format_duration(length_us)) == length_us


@given(
    st.lists(
        st.tuples(st.integers(0, 9_999), SPACES, st.sampled_from(sorted(UNITS)), SPACES),
        min_size=1,
        max_size=4,
    )
)
def test_parts_of_a_duration_add_up(parts: list[tuple[int, str, str, str]]) -> None:
    text = "".join(f"{count}{gap}{unit}{end}" for count, gap, unit, end in parts)
    assert parse_duration_us(text) == sum(count * UNITS[unit] for count, _, unit, _ in parts)


@pytest.mark.parametrize(
    ("length_us", "text"),
    [
        (7 * DAY_US, "7d"),
        (90 * 60 * 10**6, "90m"),
        (3_600 * 10**6, "1h"),
        (1_500_000, "1500ms"),
        (1, "1us"),
        (0, "0us"),
    ],
)
def test_a_duration_is_written_with_its_largest_unit(length_us: int, text: str) -> None:
    assert format_duration(length_us) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "7",
        "d",
        "7 days",
        "-1d",
        "+1d",
        "1.5h",
        "1d,2h",
        "7D",
        "1y",
        "1 2h",
        "inf",
        "9" * 30 + "d",
        "9" * 5_000 + "d",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer|limit"):
        parse_duration_us(text)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse_duration_us(text) <= MAX_US


@given(MOMENTS)
def test_a_written_instant_reads_back(moment: datetime) -> None:
    instant_us = to_us(moment)
    assert to_datetime(instant_us) == moment
    text = format_instant(instant_us)
    assert text.endswith("Z")
    assert parse_instant_us(text) == instant_us


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_a_zone_moves_an_instant(moment: datetime, minutes: int) -> None:
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    local = moment.replace(tzinfo=None).isoformat()
    moved_us = parse_instant_us(f"{local}{sign}{hours:02}:{rest:02}")
    assert parse_instant_us(local) - moved_us == minutes * 60 * 10**6


def test_a_date_is_its_midnight_in_utc() -> None:
    assert parse_instant_us(" 1970-01-02 ") == DAY_US
    assert to_datetime(-1) == datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2014-02-30", "2014-02-28T25:00", "1393545600", "28.02.2014"]
)
def test_what_is_no_instant_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(InputError, match="is not a time") as failure:
        parse_instant_us(text)
    assert "2014-02-28T12:30:00Z" in (failure.value.hint or "")


@given(st.none() | st.integers(-(2**63), 2**63 - 1))
@example(None)
@example(MIN_US)
@example(MAX_US)
@example(MAX_US - 1)
def test_any_instant_can_be_written(instant_us: int | None) -> None:
    text = format_instant(instant_us)
    assert (text == "-") == (instant_us is None or not MIN_US < instant_us < MAX_US)


@given(st.integers(MIN_US, MAX_US), st.integers(MIN_US, MAX_US))
def test_an_interval_ends_after_its_start(start_us: int, end_us: int) -> None:
    if start_us < end_us:
        assert str(Interval(start_us, end_us)).startswith("(")
        return
    with pytest.raises(InputError, match="is empty"):
        Interval(start_us, end_us)


def test_the_ends_of_time_have_words() -> None:
    assert str(Interval()) == "(the beginning, everything]"
    assert str(Interval(0, DAY_US)) == "(1970-01-01T00:00:00Z, 1970-01-02T00:00:00Z]"
