"""Answers as JSON: each value with its status, its age, and when it happened and became known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from twinlake.definitions.times import format_instant
from twinlake.online.reader import Served
from twinlake.serving.reading import Answer, Reading

_SECOND_US = 1_000_000


class Instants:
    """Times as text; the same few stand in an answer again and again."""

    def __init__(self) -> None:
        self._written: dict[int | None, str | None] = {None: None}

    def text(self, at_us: int | None) -> str | None:
        """Write a time; None stays None."""
        try:
            return self._written[at_us]
        except KeyError:
            text = self._written[at_us] = format_instant(at_us)
            return text


def features_document(
    service: str,
    views: Mapping[str, str],
    moments: Mapping[str, Reading],
    answers: Sequence[Answer],
) -> dict[str, Any]:
    """Write down what was served.

    Args:
        service: Of which service.
        views: Feature name to the view that tells its times; none of what is computed on demand.
        moments: View name to as of when it was read.
        answers: Per entity, in the order asked for.
    """
    instants = Instants()
    return {
        "service": service,
        "as_of": as_of_document(moments, instants),
        "answers": [
            {
                "key": answer.key,
                **({"request": answer.request} if answer.request else {}),
                "features": vector_document(answer, views, instants),
            }
            for answer in answers
        ],
    }


def as_of_document(moments: Mapping[str, Reading], instants: Instants) -> dict[str, Any]:
    """Write down as of when views were read, and by which clock."""
    return {
        view: {"at": instants.text(moment.at_us), "clock": moment.clock}
        for view, moment in moments.items()
    }


def vector_document(
    answer: Answer, views: Mapping[str, str], instants: Instants
) -> dict[str, dict[str, Any]]:
    """Write down one entity's features."""
    text = instants.text
    # What is computed on demand is as of the newest of the views that it was read from.
    newest_us = max((moment.at_us for moment in answer.as_of.values()), default=0)
    # All features of a view have their times from one row.
    times: dict[tuple[str | None, int | None], tuple[float | None, str | None, str | None]] = {}
    told: dict[str, dict[str, Any]] = {}
    for name, (value, status, event_us, message) in answer.features.items():
        view = views.get(name)
        found = times.get((view, event_us))
        if found is None:
            at_us = newest_us if view is None else answer.as_of[view].at_us
            age_s = None if event_us is None else (at_us - event_us) / _SECOND_US
            known = None if view is None else text(answer.known_us[view])
            found = times[view, event_us] = age_s, text(event_us), known
        told[name] = {
            "value": value,
            "status": status,
            "age_s": found[0],
            "event_timestamp": found[1],
            "known_timestamp": found[2],
        }
        if message is not None:
            told[name]["message"] = message
    return told


def encoded(document: Mapping[str, Any]) -> bytes:
    """Write JSON; decimals as text, as the command line does."""
    return orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS)


def statuses(answers: Sequence[Answer]) -> dict[str, int]:
    """Count values by status."""
    return Counter([served[1] for answer in answers for served in answer.features.values()])


def has_error(features: Mapping[str, Served], error: str) -> bool:
    """Tell whether a vector has a feature that could not be read or computed."""
    return any(served.status == error for served in features.values())
