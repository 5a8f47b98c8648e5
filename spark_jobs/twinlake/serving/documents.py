"""Answers as JSON: values and statuses by feature; by view, when it happened and became known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from twinlake.definitions.times import format_instant
from twinlake.serving.answers import Answer
from twinlake.serving.reading import Reading, ReadyService


@lru_cache(10_000)
def _text(at_us: int | None) -> str | None:
    """Write a time, and None as None; the same few stand in answers again and again."""
    return None if at_us is None else format_instant(at_us)


def features_document(
    ready: ReadyService, moments: Mapping[str, Reading], answers: Sequence[Answer]
) -> dict[str, Any]:
    """Write down what was served.

    Args:
        ready: Of which service.
        moments: View name to as of when it was read.
        answers: Per entity, in the order asked for.
    """
    return {
        "service": ready.service.name,
        "as_of": as_of_document(moments),
        "views": {name: ready.origins[name] for name in ready.names},
        "answers": [
            {"key": answer.key, "request": answer.request, **vector_document(answer)}
            if answer.request
            else {"key": answer.key, **vector_document(answer)}
            for answer in answers
        ],
    }


def as_of_document(moments: Mapping[str, Reading]) -> dict[str, Any]:
    """Write down as of when views were read, and by which clock."""
    return {
        view: {"at": _text(moment.at_us), "clock": moment.clock} for view, moment in moments.items()
    }


def vector_document(answer: Answer) -> dict[str, Any]:
    """Write down one entity's features: values and statuses by feature, times by view."""
    times = {
        view: {
            "event_timestamp": _text(event_us),
            "known_timestamp": _text(answer.known_us[view]),
            "age_s": answer.age_s(view),
        }
        for view, event_us in answer.event_us.items()
    }
    told = {"values": answer.values, "statuses": answer.statuses, "times": times}
    if answer.messages:
        told["messages"] = answer.messages
    return told


def encoded(document: Mapping[str, Any]) -> bytes:
    """Write JSON; decimals as text, as the command line does."""
    return orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS)


def statuses(answers: Sequence[Answer]) -> dict[str, int]:
    """Count values by status."""
    counts: dict[str, int] = {}
    last, times = None, 0
    for answer in answers:
        # Where nothing is missing, all answers have the very same statuses.
        if answer.statuses is last:
            times += 1
            continue
        _add(counts, last, times)
        last, times = answer.statuses, 1
    _add(counts, last, times)
    return counts


def _add(counts: dict[str, int], statuses: Mapping[str, str] | None, times: int) -> None:
    for status in (statuses or {}).values():
        counts[status] = counts.get(status, 0) + times
