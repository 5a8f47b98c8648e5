"""Read features online: rows from the store, windows computed as of the request from their state.

Every value has one status: present, null, missing, expired or overflow. A read is exact for any
moment at or after the row's newest event; an earlier one is refused, because what came before is no
longer held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.times import format_instant
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError
from twinlake.kernel.asof import expired_at
from twinlake.kernel.cells import to_python
from twinlake.kernel.events import Queries
from twinlake.kernel.measures import Measured
from twinlake.kernel.opened import OpenedStates, compute_states, newest_event_us, open_states
from twinlake.kernel.shape import Shape
from twinlake.kernel.views import ViewShape
from twinlake.online.store import Key, OnlineRow, OnlineStore, OnlineTable

PRESENT, NULL, MISSING, EXPIRED, ERROR = "present", "null", "missing", "expired", "error"
OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class Served:
    """One feature of one key, as served.

    Attributes:
        value: The value; None unless the status is ``present``.
        status: present, null, missing, expired or overflow; of an on-demand feature also error.
        event_us: Event timestamp of the key's newest event; None where there is none.
        message: What went wrong, where the status is ``error``.
    """

    value: Any
    status: str
    event_us: int | None
    message: str | None = None


@dataclass(frozen=True)
class ServedView:
    """A view's features for some keys, in the order asked for.

    Attributes:
        rows: Per key, feature name to what was served.
        stored: Per key, the row as it lies in the store.
        versions: Per key, the ingest version that its row reflects; None where there is none.
    """

    rows: list[dict[str, Served]]
    stored: list[OnlineRow | None]
    versions: list[int | None]


def serve(
    store: OnlineStore,
    table: OnlineTable,
    view: FeatureView,
    keys: Sequence[Key],
    as_of_us: int,
    names: Sequence[str] | None = None,
) -> ServedView:
    """Serve a view's features for many keys in one round.

    Args:
        store: The online store.
        table: The view's table.
        view: The view.
        keys: The keys, each in the order of the entity's join keys.
        as_of_us: The moment of the request.
        names: Which features; all by default.

    Raises:
        InputError: The moment lies before the newest event of one of the keys.
        StateError: A state is damaged or of another definition.
    """
    serving = _serving(view, None if names is None else tuple(names))
    shape = serving.shape
    stored = store.read(table, keys)
    there = [position for position, row in enumerate(stored) if row is not None]
    rows: list[dict[str, Served]] = [_absent(shape) for _ in keys]
    versions: list[int | None] = [None] * len(keys)
    if there:
        found = [row for row in stored if row is not None]
        states = open_states(
            [row.state for row in found],
            serving.state,
            serving.fingerprint,
        )
        keys = [keys[position] for position in there]
        _refuse_earlier(states, shape, keys, as_of_us)
        for position, row, version in zip(
            there, _answers(states, shape, as_of_us), states.version, strict=True
        ):
            rows[position] = row
            versions[position] = int(version)
    return ServedView(rows, stored, versions)


class _Serving(NamedTuple):
    """What is worked out once per view, for it takes longer than to read a row."""

    view: FeatureView  # held, so that no other view gets its identity
    shape: ViewShape
    state: Shape
    fingerprint: bytes


def _serving(view: FeatureView, names: tuple[str, ...] | None) -> _Serving:
    found = _known.get((id(view), names))
    if found is None:
        fingerprint = bytes.fromhex(view_fingerprint(view))
        whole = ViewShape.of(view)
        shape = whole if names is None else ViewShape.of(view, names)
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[id(view), names] = _Serving(view, shape, whole.state, fingerprint)
    return found


_MOST_KNOWN = 100
_known: dict[tuple[int, tuple[str, ...] | None], _Serving] = {}


def _absent(shape: ViewShape) -> dict[str, Served]:
    return {feature.name: Served(None, MISSING, None) for feature in shape.features}


def _refuse_earlier(
    states: OpenedStates, shape: ViewShape, keys: Sequence[Key], as_of_us: int
) -> None:
    early = np.flatnonzero(states.exact_from_us > as_of_us)
    if early.size:
        position = int(early[0])
        raise InputError(
            f"as of {format_instant(as_of_us)} cannot be read online: "
            f"{_named(shape, keys[position])} has "
            f"events up to {format_instant(int(states.exact_from_us[position]))}",
            hint="ask for that moment or a later one; for the past, build a training set",
        )


def _named(shape: ViewShape, key: Key) -> str:
    return ", ".join(f"{name}={part}" for name, part in zip(shape.keys, key, strict=True))


def _answers(states: OpenedStates, shape: ViewShape, as_of_us: int) -> list[dict[str, Served]]:
    count = len(states)
    queries = Queries.at(np.arange(count), np.full(count, as_of_us, np.int64))
    newest_us, exists = newest_event_us(states, queries)
    is_expired = np.zeros(count, np.bool_)
    if shape.ttl_us is not None:
        is_expired = exists & expired_at(newest_us, queries.as_of_us, shape.ttl_us)
    measured = compute_states(states, queries, shape.measures)
    served: list[dict[str, Served]] = [{} for _ in range(count)]
    for feature, answers in zip(shape.features, measured, strict=True):
        cells = _cells(answers, feature.type)
        for position, value in enumerate(cells):
            at_us = int(newest_us[position]) if exists[position] else None
            if not exists[position]:
                answer = Served(None, MISSING, None)
            elif is_expired[position]:
                answer = Served(None, EXPIRED, at_us)
            elif answers.overflow is not None and answers.overflow[position]:
                answer = Served(None, OVERFLOW, at_us)
            else:
                answer = Served(value, NULL if value is None else PRESENT, at_us)
            served[position][feature.name] = answer
    return served


def _cells(measured: Measured, type_name: str) -> list[Any]:
    """Give answers as Python values of a feature's type."""
    if measured.values is None:
        raise StateError("a state does not hold a column that its view serves")
    return to_python(measured.values, measured.valid, type_name)
