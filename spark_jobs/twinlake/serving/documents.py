"""Answers as JSON: values and statuses by feature; by view, when it happened and became known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from twinlake.definitions.times import format_instant
from twinlake.serving.answers import Answer
from twinlake.serving.reading import Reading, ReadyService

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
    ready: ReadyService, moments: Mapping[str, Reading], answers: Sequence[Answer]
) -> dict[str, Any]:
    """Write down what was served.

    Args:
        ready: Of which service.
        moments: View name to as of when it was read.
        answers: Per entity, in the order asked for.
    """
    instants = Instants()
    return {
        "service": ready.service.name,
        "as_of": as_of_document(moments, instants),
        "views": {name: ready.origins[name] for name in ready.names},
        "answers": [
            {"key": answer.key, "request": answer.request, **vector_document(answer, instants)}
            if answer.request
            else {"key": answer.key, **vector_document(answer, instants)}
            for answer in answers
        ],
    }


def as_of_document(moments: Mapping[str, Reading], instants: Instants) -> dict[str, Any]:
    """Write down as of when views were read, and by which clock."""
    return {
        view: {"at": instants.text(moment.at_us), "clock": moment.clock}
        for view, moment in moments.items()
    }


def vector_document(answer: Answer, instants: Instants) -> dict[str, Any]:
    """Write down one entity's features: values and statuses by feature, times by view."""
    text, as_of = instants.text, answer.as_of
    times = {}
    for view, event_us in answer.event_us.items():
        age_s = None
        if event_us is not None:
            moment = as_of.get(view)
            # What is computed on demand is as of the newest of the views that it was read from.
            at_us = max(m.at_us for m in as_of.values()) if moment is None else moment.at_us
            age_s = (at_us - event_us) / _SECOND_US
        times[view] = {
            "event_timestamp": text(event_us),
            "known_timestamp": text(answer.known_us[view]),
            "age_s": age_s,
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
    counts: Counter[str] = Counter()
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


def _add(counts: Counter[str], statuses: Mapping[str, str] | None, times: int) -> None:
    for status in (statuses or {}).values():
        counts[status] += times
