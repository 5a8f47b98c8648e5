from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from twinlake.inference.pacing import CALL, PROBE, Breaker, RetrySchedule, retry_after_s

SECONDS = st.floats(0.001, 100)


@given(SECONDS, st.floats(1, 10), SECONDS, st.floats(0, 1), st.integers(0, 9), st.integers(0, 9))
def test_waits_grow_within_their_blur(
    first: float, factor: float, longest: float, jitter: float, seed: int, index: int
) -> None:
    schedule = RetrySchedule(first, factor, longest, jitter, seed)
    waits = list(islice(schedule.waits(index), 12))
    for number, wait in enumerate(waits):
        whole = min(first * factor**number, longest)
        assert whole * (1 - jitter) * 0.999999 <= wait <= whole * 1.000001
    assert waits == list(islice(schedule.waits(index), 12))


def test_records_that_fail_together_come_back_apart() -> None:
    schedule = RetrySchedule(1, 2, 60, 0.5, 7)
    assert len({next(schedule.waits(index)) for index in range(100)}) == 100


@given(st.integers(0, 10**9), st.integers(-(10**6), 10**6))
def test_retry_after_is_read_as_seconds_and_as_a_date(seconds: int, later: int) -> None:
    sent = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert retry_after_s(f" {seconds} ", None) == seconds
    until = format_datetime(sent + timedelta(seconds=later), usegmt=True)
    assert retry_after_s(until, format_datetime(sent, usegmt=True)) == max(0, later)
    assert retry_after_s(until, None) is None


@given(st.text())
def test_what_is_no_retry_after_asks_for_nothing(value: str) -> None:
    found = retry_after_s(value, "Sun, 01 Mar 2026 12:00:00 GMT")
    assert found is None or found >= 0


class Plain:
    """The circuit once more, from the list of all that happened."""

    def __init__(self, failures: int, open_s: float) -> None:
        self.failures, self.open_s = failures, open_s
        self.told: list[tuple[str, str, float]] = []

    def state(self) -> tuple[str, float]:
        row, is_open, since, probing = 0, False, 0.0, False
        for what, ticket, now in self.told:
            if what == "admit":
                probing = probing or ticket == PROBE
                continue
            if what == "succeeded":
                row, is_open = 0, False
            elif what == "failed" and ticket == CALL:
                row += 1
                if not is_open and row >= self.failures:
                    is_open, since = True, now
            elif what == "failed" and is_open:
                since = now
            probing = probing and ticket != PROBE
        if not is_open:
            return "closed", 0.0
        return ("probing" if probing else "open"), since + self.open_s

    def admit(self, now: float) -> str | None:
        state, until = self.state()
        if state == "closed":
            return CALL
        return PROBE if state == "open" and now >= until else None


@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "succeeded", "failed", "abandoned"]),
            st.integers(0, 20),
            st.integers(0, 3),
        ),
        max_size=80,
    ),
)
def test_the_circuit_is_what_its_history_says(
    failures: int, open_s: int, steps: list[tuple[str, int, int]]
) -> None:
    breaker, plain, now = Breaker(failures, open_s), Plain(failures, open_s), 0.0
    out: list[str] = []
    for what, place, passed in steps:
        now += passed
        if what == "admit" or not out:
            ticket = plain.admit(now)
            waits = plain.state()
            assert breaker.wait_s(now) == (
                None if waits[0] == "probing" else max(0.0, waits[1] - now) if waits[1] else 0.0
            )
            assert breaker.admit(now) == ticket
            if ticket is not None:
                out.append(ticket)
                plain.told.append(("admit", ticket, now))
        else:
            ticket = out.pop(place % len(out))
            if what == "failed":
                breaker.failed(ticket, now)
            else:
                getattr(breaker, what)(ticket)
            plain.told.append((what, ticket, now))
        # A success may close it while a probe is under way, and it may open again before that one
        # ends; else there is never more than one.
        assert breaker.is_open == (plain.state()[0] != "closed")


def test_only_failures_in_a_row_open_the_circuit() -> None:
    breaker = Breaker(2, 1)
    for _ in range(5):
        breaker.failed(CALL, 0)
        breaker.succeeded(CALL)
    breaker.failed(CALL, 0)
    assert not breaker.is_open
    breaker.failed(CALL, 0)
    assert breaker.is_open
