"""What became of a record: one result, or one dead letter that says why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TIMEOUT: Final = "timeout"
REFUSED: Final = "refused"
THROTTLED: Final = "throttled"
FAILED: Final = "failed"
UNREACHABLE: Final = "unreachable"
BAD_ANSWER: Final = "bad_answer"
BAD_RECORD: Final = "bad_record"
CIRCUIT_OPEN: Final = "circuit_open"
BUDGET: Final = "budget"

REASONS: Final[Mapping[str, str]] = {
    TIMEOUT: "no answer came within the timeout",
    REFUSED: "the endpoint will not answer this record (4xx), or the key for it is not there",
    THROTTLED: "the endpoint asked for fewer calls (429), for longer than the timeout",
    FAILED: "the endpoint failed (5xx) until the tries were over",
    UNREACHABLE: "no connection, or one that broke, until the tries were over",
    BAD_ANSWER: "an answer came that is none: its form, its numbers, its rows or its id",
    BAD_RECORD: "the record cannot be written as the contract asks; nothing was sent",
    CIRCUIT_OPEN: "the endpoint was down, and not up again within the timeout; nothing was sent",
    BUDGET: "the time for the whole batch was over",
}
"""Why a record has no result: code to meaning."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record.

    Attributes:
        index: Place of the record among those given to the call, from 0.
        value: A number, or what the model says by name; None for a dead letter.
        reason: None, else one of ``REASONS``.
        detail: What was found, for people; holds no secret. Empty with a value.
        attempts: How many times the endpoint was asked.
        latency_ms: From when it took its place among the calls under way to its end, all waits
            included, in milliseconds.
        status: The last HTTP status; None where no answer came.
        model_version: Which version answered, where the endpoint tells.
    """

    index: int
    value: Mapping[str, Any] | float | None
    reason: str | None = None
    detail: str = ""
    attempts: int = 0
    latency_ms: float = 0.0
    status: int | None = None
    model_version: str | None = None
