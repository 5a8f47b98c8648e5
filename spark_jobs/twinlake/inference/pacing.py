"""When an endpoint is asked again, and when it is left alone; pure, in whatever time is given.

Seconds throughout. ``now`` is any clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from typing import Final

CALL: Final = "call"
PROBE: Final = "probe"


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Waits between the tries of one record: each longer than the last, and blurred.

    Without the blur, all records that one outage hit would come back at the same moment.

    Attributes:
        first_s: The first wait.
        factor: How much longer each wait is than the one before; at least 1.
        longest_s: No wait is longer.
        jitter: Share of each wait that is drawn: 0 for none, 1 for anything up to the whole wait.
        seed: Of the draws.
    """

    first_s: float
    factor: float
    longest_s: float
    jitter: float
    seed: int

    def waits(self, index: int) -> Iterator[float]:
        """Give the waits of one record, without end; the same ones whenever they are asked for.

        Args:
            index: Of the record.
        """
        draw = Random(f"{self.seed}:{index}")  # noqa: S311 (spreads load; guards nothing)
        wait = min(self.first_s, self.longest_s)
        while True:
            yield wait * (1 - self.jitter * draw.random())
            wait = min(wait * self.factor, self.longest_s)


class Breaker:
    """Lets calls through until too many failed in a row, then only one at a time, to probe.

    Args:
        failures: So many failures in a row open it; at least 1.
        open_s: How long nothing is asked after it opened or a probe failed.
    """

    def __init__(self, failures: int, open_s: float) -> None:
        self._most = failures
        self._open_s = open_s
        self._in_a_row = 0
        self._probe_from: float | None = None
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Whether only probes are let through."""
        return self._probe_from is not None

    def admit(self, now: float) -> str | None:
        """Tell whether a call may be made: as any other, as the one probe, or not at all."""
        if self._probe_from is None:
            return CALL
        if self._is_probing or now < self._probe_from:
            return None
        self._is_probing = True
        return PROBE

    def wait_s(self, now: float) -> float | None:
        """Tell how long until the next probe may start; None while one is under way."""
        if self._probe_from is None:
            return 0.0
        return None if self._is_probing else max(0.0, self._probe_from - now)

    def succeeded(self, ticket: str) -> None:
        """An endpoint that answered is up, whoever asked; calls go through again."""
        self._in_a_row = 0
        self._probe_from = None
        if ticket == PROBE:
            self._is_probing = False

    def failed(self, ticket: str, now: float) -> None:
        """A call failed; one that began before the circuit opened tells nothing new."""
        if ticket == PROBE:
            self._is_probing = False
            if self._probe_from is not None:
                self._probe_from = now + self._open_s
            return
        self._in_a_row += 1
        if self._probe_from is None and self._in_a_row >= self._most:
            self._probe_from = now + self._open_s

    def abandoned(self, ticket: str) -> None:
        """A call was given up for reasons of our own, which say nothing; another may probe."""
        if ticket == PROBE:
            self._is_probing = False


def retry_after_s(value: str | None, date: str | None) -> float | None:
    """Read how long a server asks to be left alone.

    A date is taken against the server's own ``Date``: two machines' clocks are never compared.

    Args:
        value: The header ``Retry-After``: whole seconds, or an HTTP date.
        date: The header ``Date`` of the same answer.

    Returns:
        Seconds, at least 0; None where nothing is asked, or nothing that can be understood.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text) if len(text) < 300 else None
    until, sent = _instant(text), _instant(date or "")
    return None if until is None or sent is None else max(0.0, (until - sent).total_seconds())


def _instant(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # "-0000" gives a time without a zone; HTTP dates are UTC.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
