"""What a service's features are for one key: values, why they are so, and the times of each view.

All features of a view have their times from one row, so times are kept once a view. A view that
could not be read gives its features, and those computed from them, the status ``error``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from twinlake.kernel.on_demand import Computation
from twinlake.online.on_demand import served
from twinlake.online.reader import ERROR, Served, ServedRow, ServedView
from twinlake.serving.reading import Questions, Reading, ReadyService

_NOTHING: Mapping[str, str] = {}
_SECOND_US = 1_000_000


class Answer(NamedTuple):
    """A service's features for one key.

    Attributes:
        key: Join key names to values.
        request: Request fields that the question brought, by name.
        values: Feature name to value, in the service's order; None unless its status is present.
        statuses: Feature name to why its value is what it is, likewise.
        messages: What went wrong, by name of each feature whose status is ``error``.
        as_of: View name to the moment that its features are of.
        event_us: View name to the event timestamp of the key's newest event; of an on-demand view
            the newest of what it was computed from. None where there is no event.
        known_us: View name to when that event became known; None where there is none, or the store
            cannot tell.
        origins: Feature name to its view, stored or on demand.
    """

    key: Mapping[str, Any]
    request: Mapping[str, Any]
    values: Mapping[str, Any]
    statuses: Mapping[str, str]
    messages: Mapping[str, str]
    as_of: Mapping[str, Reading]
    event_us: Mapping[str, int | None]
    known_us: Mapping[str, int | None]
    origins: Mapping[str, str]

    @property
    def features(self) -> dict[str, Served]:
        """Feature name to what was served, in the service's order."""
        events, origins, messages = self.event_us, self.origins, self.messages
        return {
            name: Served(value, self.statuses[name], events[origins[name]], messages.get(name))
            for name, value in self.values.items()
        }

    def age_s(self, view: str) -> float | None:
        """Give how long before the moment of its view its newest event was; None without events.

        What is computed on demand is as of the newest of the views that it was read from.
        """
        event_us = self.event_us[view]
        if event_us is None:
            return None
        moment = self.as_of.get(view) or max(self.as_of.values(), key=lambda read: read.at_us)
        return (moment.at_us - event_us) / _SECOND_US


# Values, statuses and messages of one key, by feature name.
_Cells = tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, str]]


class _Vector(NamedTuple):
    """The same, while it is put together."""

    values: dict[str, Any]
    statuses: dict[str, str]
    messages: dict[str, str]

    def fail(self, names: Iterable[str], why: str) -> None:
        """Note that features could not be had."""
        for name in names:
            self.values[name], self.statuses[name], self.messages[name] = None, ERROR, why


def answers(
    ready: ReadyService,
    asked: Questions,
    moments: Mapping[str, Reading],
    found: Sequence[ServedView | None],
    failed: str = "",
) -> list[Answer]:
    """Put together what was read, and compute what is computed on demand.

    Args:
        ready: The service.
        asked: The questions.
        moments: View name to as of when it was read.
        found: Per view what was read of it; None where it could not be.
        failed: What to say of features that could not be read.
    """
    event_us, known_us = _times(ready, len(asked.keys), moments, found)
    vectors: Sequence[_Cells] | None = _whole(ready, found)
    if vectors is None:
        vectors = _vectors(ready, asked, found, failed)
        for function in ready.functions:
            for events, known in zip(event_us, known_us, strict=True):
                events[function.view], known[function.view] = _newest_us(ready, function, events)
    as_of = dict(moments)
    return [
        Answer(key, request, *vector, as_of, events, known, ready.origins)
        for key, request, vector, events, known in zip(
            asked.keys, asked.requests, vectors, event_us, known_us, strict=True
        )
    ]


def _times(
    ready: ReadyService,
    count: int,
    moments: Mapping[str, Reading],
    found: Sequence[ServedView | None],
) -> tuple[list[dict[str, int | None]], list[dict[str, int | None]]]:
    """Give, per key, when each view's newest event happened and when it became known."""
    events: list[dict[str, int | None]] = [{} for _ in range(count)]
    known: list[dict[str, int | None]] = [{} for _ in range(count)]
    for (view, _), read in zip(ready.views, found, strict=True):
        name = view.name
        if read is None:
            for each in chain(events, known):
                each[name] = None
            continue
        at_us = moments[name].at_us
        for row, stored, event, knew in zip(read.rows, read.stored, events, known, strict=True):
            event[name] = row.event_us
            # The newest row that the store holds may be one that was not known yet.
            known_us = None if stored is None else stored.known_us
            knew[name] = None if known_us is None or known_us > at_us else known_us
    return events, known


def _whole(ready: ReadyService, found: Sequence[ServedView | None]) -> list[_Cells] | None:
    """Give the vectors where all is stored and present, as it nearly always is; else None."""
    if ready.present is None or None in found:
        return None
    vectors: list[_Cells] = []
    for rows in zip(*(read.rows for read in found if read is not None), strict=True):
        if not all(map(ServedRow.is_whole, rows)):
            return None
        cells = chain.from_iterable([row.cells() for row in rows])
        vectors.append((dict(zip(ready.names, cells, strict=True)), ready.present, _NOTHING))
    return vectors


def _vectors(
    ready: ReadyService, asked: Questions, found: Sequence[ServedView | None], failed: str
) -> list[_Vector]:
    """Give the vectors, whatever was found."""
    vectors = [_Vector({}, {}, {}) for _ in asked.keys]
    unread: set[str] = set()
    for (_, names), read in zip(ready.views, found, strict=True):
        if read is None:
            unread.update(names)
        for place, vector in enumerate(vectors):
            if read is None:
                vector.fail(names, failed)
            else:
                read.rows[place].add_to(vector.values, vector.statuses)
    for function in ready.functions if vectors else ():
        if unread.isdisjoint(function.inputs):
            _compute(function, vectors, asked.requests)
            continue
        for vector in vectors:
            vector.fail(function.outputs, failed)
    if vectors and list(vectors[0].values) != list(ready.names):
        return [
            _Vector(
                {name: vector.values[name] for name in ready.names},
                {name: vector.statuses[name] for name in ready.names},
                vector.messages,
            )
            for vector in vectors
        ]
    return vectors


def _compute(
    function: Computation, vectors: Sequence[_Vector], requests: Sequence[Mapping[str, Any]]
) -> None:
    """Add an on-demand view's features to each vector."""
    inputs = [
        {name: told[name] if name in told else vector.values[name] for name in function.inputs}
        for vector, told in zip(vectors, requests, strict=True)
    ]
    for vector, computed in zip(vectors, served(function, inputs), strict=True):
        for name, (value, status, _, message) in computed.items():
            vector.values[name], vector.statuses[name] = value, status
            if message is not None:
                vector.messages[name] = message


def _newest_us(
    ready: ReadyService, function: Computation, events: Mapping[str, int | None]
) -> tuple[int | None, None]:
    """Give the newest event of what a function takes, and nothing of when it became known."""
    views = {ready.origins[name] for name in function.inputs if name in ready.origins}
    return max((at for view in views if (at := events[view]) is not None), default=None), None
