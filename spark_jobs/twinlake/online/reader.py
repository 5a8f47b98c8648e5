"""Read features online: rows from the store, windows computed as of the request from their state.

Every value has one status: present, null, missing, expired or overflow. A read is exact for any
moment at or after the row's newest event; an earlier one is refused, because what came before is no
longer held. Until the row's ``valid_until`` its columns are the answer, and no state is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import stored_features
from twinlake.definitions.times import format_instant
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError
from twinlake.kernel.asof import expired_at
from twinlake.kernel.cells import to_python
from twinlake.kernel.events import Queries
from twinlake.kernel.measures import Measure, Measured
from twinlake.kernel.opened import OpenedStates, compute_states, newest_event_us, open_states
from twinlake.kernel.shape import Shape
from twinlake.kernel.state import peek
from twinlake.kernel.views import ViewShape
from twinlake.online.store import Key, OnlineRow, OnlineTable

PRESENT, NULL, MISSING, EXPIRED, ERROR = "present", "null", "missing", "expired", "error"
OVERFLOW = "overflow"


class Served(NamedTuple):
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


class ServedRow(Mapping[str, Served]):
    """One key's features by name; each is made when it is asked for, for many never are."""

    __slots__ = ("_event_us", "_overflow", "_places", "_status", "_values")

    def __init__(
        self,
        places: Mapping[str, int],
        status: str,
        values: Sequence[Any] = (),
        event_us: int | None = None,
        overflow: Collection[int] = (),
    ) -> None:
        """Wrap a row.

        Args:
            places: Where each feature stands in ``values``.
            status: What all of the row is: present, missing or expired.
            values: Its cells, if it is present.
            event_us: Event timestamp of the key's newest event.
            overflow: The places of values that cannot be given.
        """
        self._places, self._status, self._values = places, status, values
        self._overflow = overflow
        self._event_us = event_us

    def __getitem__(self, name: str) -> Served:
        place = self._places[name]
        if self._status != PRESENT:
            return Served(None, self._status, self._event_us)
        value = self._values[place]
        if value is not None:
            return Served(value, PRESENT, self._event_us)
        return Served(None, OVERFLOW if place in self._overflow else NULL, self._event_us)

    def is_whole(self) -> bool:
        """Tell whether every value is present."""
        return self._status == PRESENT and None not in self._values

    def cells(self) -> Sequence[Any]:
        """The values of a whole row, in the order of its names."""
        return self._values

    def add_to(self, values: dict[str, Any], statuses: dict[str, str]) -> None:
        """Add all of the row to what is put together of a key, in a tenth of the time."""
        if self._status != PRESENT:
            values.update(dict.fromkeys(self._places))
            statuses.update(dict.fromkeys(self._places, self._status))
            return
        values.update(zip(self._places, self._values, strict=True))
        statuses.update(dict.fromkeys(self._places, PRESENT))
        if None in self._values:
            for name, place in self._places.items():
                if self._values[place] is None:
                    statuses[name] = OVERFLOW if place in self._overflow else NULL

    @property
    def event_us(self) -> int | None:
        """Event timestamp of the key's newest event; None where there is none."""
        return self._event_us

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclass(frozen=True)
class ServedView:
    """A view's features for some keys, in the order asked for.

    Attributes:
        rows: Per key, feature name to what was served.
        stored: Per key, the row as it lies in the store.
        versions: Per key, the ingest version that its row reflects; None where there is none.
    """

    rows: list[ServedRow]
    stored: list[OnlineRow | None]
    versions: list[int | None]


class RowReader(Protocol):
    """What a read asks of an online store."""

    def read(self, table: OnlineTable, keys: Sequence[Key]) -> list[OnlineRow | None]:
        """The rows of these keys, in this order; None for a key without a row."""
        ...


def serve(
    store: RowReader,
    table: OnlineTable,
    view: FeatureView,
    keys: Sequence[Key],
    as_of_us: int,
    names: Sequence[str] | None = None,
    *,
    columns: bool = True,
) -> ServedView:
    """Serve a view's features for many keys in one round.

    Args:
        store: The online store, or what else holds rows.
        table: The view's table.
        view: The view.
        keys: The keys, each in the order of the entity's join keys.
        as_of_us: The moment of the request.
        names: Which features; all by default.
        columns: Whether to answer from a row's columns while they are valid. Without, everything
            is computed from the states: who checks rows wants to see both.

    Raises:
        InputError: The moment lies before the newest event of one of the keys.
        StateError: A state is damaged or of another definition.
    """
    return serve_rows(store.read(table, keys), view, as_of_us, names, columns=columns)


def serve_rows(
    stored: list[OnlineRow | None],
    view: FeatureView,
    as_of_us: int,
    names: Sequence[str] | None = None,
    *,
    columns: bool = True,
) -> ServedView:
    """Serve a view's features from rows that were read; see ``serve``."""
    serving = _serving(view, None if names is None else tuple(names))
    rows = [ServedRow(serving.places, MISSING)] * len(stored)
    versions: list[int | None] = [None] * len(stored)
    to_open: list[int] = []
    for position, row in enumerate(stored):
        if row is None:
            continue
        valid = _from_columns(row, serving, as_of_us) if columns else None
        if valid is None:
            to_open.append(position)
        else:
            rows[position], versions[position] = valid
    if to_open:
        opened = [row for position in to_open if (row := stored[position]) is not None]
        states = open_states([row.state for row in opened], serving.state, serving.fingerprint)
        _refuse_earlier(states, serving.shape, [row.key for row in opened], as_of_us)
        answers = _answers(states, serving, as_of_us)
        for position, answer, version in zip(
            to_open, answers, states.version.tolist(), strict=True
        ):
            rows[position] = answer
            versions[position] = version
    return ServedView(rows, stored, versions)


@dataclass(frozen=True, slots=True)
class _Serving:
    """What is worked out once per view, for it takes longer than to read a row.

    Attributes:
        view: The view; held, so that no other gets its identity.
        shape: Of the features asked for.
        state: What its states hold.
        fingerprint: Of its definition.
        places: Where each feature stands among those asked for.
        columns: Where each of these stands among the table's columns; None if at the same place.
        measures: One for each.
        overflowing: The places of those that may have a value that cannot be given.
    """

    view: FeatureView
    shape: ViewShape
    state: Shape
    fingerprint: bytes
    places: Mapping[str, int]
    columns: Sequence[int] | None
    measures: Sequence[Measure]
    overflowing: Sequence[int]

    @classmethod
    def of(cls, view: FeatureView, names: Sequence[str] | None) -> _Serving:
        """Work it out for some features of a view, or for all."""
        whole = ViewShape.of(view)
        shape = whole if names is None else ViewShape.of(view, names)
        stands = {feature.name: place for place, feature in enumerate(stored_features(view))}
        columns = [stands[feature.name] for feature in shape.features]
        return cls(
            view,
            shape,
            whole.state,
            bytes.fromhex(view_fingerprint(view)),
            {feature.name: place for place, feature in enumerate(shape.features)},
            None if columns == list(range(len(stands))) else columns,
            shape.measures,
            shape.overflowing,
        )


def _serving(view: FeatureView, names: tuple[str, ...] | None) -> _Serving:
    found = _known.get((id(view), names))
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[id(view), names] = _Serving.of(view, names)
    return found


_MOST_KNOWN = 100
_known: dict[tuple[int, tuple[str, ...] | None], _Serving] = {}


def _from_columns(row: OnlineRow, serving: _Serving, as_of_us: int) -> tuple[ServedRow, int] | None:
    """Serve a row from its columns, if they are its values as of that moment; with its version."""
    until_us = row.valid_until_us
    if as_of_us < row.event_us or (until_us is not None and as_of_us >= until_us):
        return None
    head = peek(row.state, serving.fingerprint)
    # Later rows are not known yet, but the columns hold them.
    if head is None or as_of_us < head.exact_from_us or head.later:
        return None
    values: Sequence[Any] = row.values
    if serving.columns is not None:
        values = list(map(values.__getitem__, serving.columns))
    # Null and overflow look alike in a column.
    if serving.overflowing and any(values[place] is None for place in serving.overflowing):
        return None
    return ServedRow(serving.places, PRESENT, values, row.event_us), head.version


def has_valid_columns(view: FeatureView, row: OnlineRow, as_of_us: int) -> bool:
    """Tell whether a row's columns are what is served of it as of a moment."""
    return _from_columns(row, _serving(view, None), as_of_us) is not None


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


def _answers(states: OpenedStates, serving: _Serving, as_of_us: int) -> Iterator[ServedRow]:
    """Compute the rows of opened states."""
    count, shape, places = len(states), serving.shape, serving.places
    queries = Queries.at(np.arange(count), np.full(count, as_of_us, np.int64))
    newest_us, exists = newest_event_us(states, queries)
    is_expired = np.zeros(count, np.bool_)
    if shape.ttl_us is not None:
        is_expired = exists & expired_at(newest_us, queries.as_of_us, shape.ttl_us)
    measured = compute_states(states, queries, serving.measures)
    columns = [_cells(answers, f.type) for answers, f in zip(measured, shape.features, strict=True)]
    overflowing = _overflowing(measured)
    for position, (cells, at_us, there, gone) in enumerate(
        zip(
            zip(*columns, strict=True) if columns else [()] * count,
            newest_us.tolist(),
            exists.tolist(),
            is_expired.tolist(),
            strict=True,
        )
    ):
        if not there:
            yield ServedRow(places, MISSING)
        elif gone:
            yield ServedRow(places, EXPIRED, (), at_us)
        else:
            yield ServedRow(places, PRESENT, cells, at_us, overflowing.get(position, ()))


def _overflowing(measured: Sequence[Measured]) -> dict[int, set[int]]:
    """Return the places of cells that overflow, by key."""
    found: dict[int, set[int]] = {}
    for place, answers in enumerate(measured):
        if answers.overflow is not None:
            for position in np.flatnonzero(answers.overflow).tolist():
                found.setdefault(position, set()).add(place)
    return found


def _cells(measured: Measured, type_name: str) -> list[Any]:
    """Give answers as Python values of a feature's type."""
    if measured.values is None:
        raise StateError("a state does not hold a column that its view serves")
    return to_python(measured.values, measured.valid, type_name)
