"""Read a service's features for some keys: the one way, in process and over HTTP.

What takes longer than a read is worked out once, by ``make_ready``: types, tables, functions. Then
keys and request fields get their types (``questions``), the rows of all keys of all views come in
one round (``read_views``), and ``answers`` puts together what was found. A view that could not be
read is None there; its features, and those computed from them, have the status ``error``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinlake.definitions.clocks import DATA, WALL
from twinlake.definitions.fingerprints import on_demand_fingerprint
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.resolution import request_types
from twinlake.definitions.services import FeatureService
from twinlake.definitions.times import format_instant, parse_instant_us
from twinlake.definitions.typed_values import exact_value, typed_value
from twinlake.definitions.types import canonical_type
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError
from twinlake.kernel.on_demand import Computation
from twinlake.online.on_demand import served
from twinlake.online.opening import online_table
from twinlake.online.reader import ERROR, Served, ServedView, serve_rows
from twinlake.online.store import OnlineStore, OnlineTable

# A moment that a caller names itself.
INSTANT = "instant"


@dataclass(frozen=True)
class Reading:
    """What a clock says for a source.

    Attributes:
        at_us: The moment.
        clock: ``wall``, ``data`` or ``instant``.
    """

    at_us: int
    clock: str

    def __str__(self) -> str:
        said = "as asked" if self.clock == INSTANT else f"{self.clock} clock"
        return f"{format_instant(self.at_us)} ({said})"


@dataclass(frozen=True)
class Answer:
    """A service's features for one key.

    Attributes:
        key: Join key names to values.
        request: Request fields that the question brought, by name.
        features: Feature name to what was served, in the service's order.
        as_of: View name to the moment that its features are of.
        known_us: View name to when the key's newest event became known; None where there is no
            event, or the store cannot tell.
    """

    key: Mapping[str, Any]
    request: Mapping[str, Any]
    features: dict[str, Served]
    as_of: dict[str, Reading]
    known_us: dict[str, int | None]


@dataclass(frozen=True)
class Questions:
    """What was asked, each part with its type: join keys and request fields by name."""

    keys: Sequence[Mapping[str, Any]]
    requests: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ReadyService:
    """A service with all that reading it takes.

    Attributes:
        service: The service.
        key_types: Its join keys: name to canonical type.
        request_types: Its request fields: name to canonical type.
        views: Each stored view that it needs, with the features read of it.
        tables: The online table of each of them, in the same order.
        functions: What is computed on demand.
        names: All its features, in order.
    """

    service: FeatureService
    key_types: Mapping[str, str]
    request_types: Mapping[str, str]
    views: Sequence[tuple[FeatureView, tuple[str, ...]]]
    tables: Sequence[OnlineTable]
    functions: Sequence[Computation]
    names: Sequence[str]

    def questions(self, rows: Sequence[Mapping[str, Any]]) -> Questions:
        """Give join keys and request fields their types; text is read as what it stands for.

        Raises:
            InputError: A row lacks a name, has another, or a value does not fit its type.
        """
        keys, requests = [], []
        wanted = {**self.key_types, **self.request_types}
        for row in rows:
            if row.keys() != wanted.keys():
                raise self._other_names(row, list(wanted))
            keys.append(
                {name: typed_key(name, row[name], kind) for name, kind in self.key_types.items()}
            )
            requests.append(
                {
                    name: exact_value(name, typed_value(name, row[name], kind), kind)
                    for name, kind in self.request_types.items()
                }
            )
        return Questions(keys, requests)

    def _other_names(self, row: Mapping[str, Any], wanted: Sequence[str]) -> InputError:
        unknown = sorted(set(row) - set(wanted))
        missing = [name for name in wanted if name not in row]
        named = " ".join([*unknown, *(f"without {name}" for name in missing)])
        return InputError(
            f"service {self.service.name} cannot be read by the key {named}",
            hint="give " + " ".join(f"{name}=VALUE" for name in wanted),
        )


def typed_key(name: str, value: Any, kind: str) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a part of a key its type; what nearly all keys are is told at a glance.

    Raises:
        InputError: It is null, or does not say a value of that type.
    """
    if type(value) is str and kind == "string":
        return value
    if type(value) is int and kind == "bigint" and -(1 << 63) <= value < 1 << 63:
        return value
    if value is None:
        raise InputError(f"{name} is null", hint=f"give a {kind}; a key has all its parts")
    value = typed_value(name, value, kind)
    return value if kind == "binary" else exact_value(name, value, kind)


def make_ready(service: FeatureService, defined: Mapping[str, OnDemandView]) -> ReadyService:
    """Work out what reading an applied service takes.

    Args:
        service: The service.
        defined: On-demand views by name, as features.py defines them.

    Raises:
        InputError: features.py defines another function than was applied, or none.
    """
    views = service.needed()
    keys: dict[str, str] = {}
    for view, _ in views:
        keys |= {name: canonical_type(kind) for name, kind in view.entity.join_keys.items()}
    return ReadyService(
        service,
        keys,
        request_types(service.request_fields()),
        views,
        [online_table(view) for view, _ in views],
        computations(service, defined),
        service.feature_names(),
    )


def computations(service: FeatureService, defined: Mapping[str, OnDemandView]) -> list[Computation]:
    """Give the functions of an applied service, as features.py defines them.

    The registry holds what a function does as text, and never runs it: the function itself comes
    from features.py, and must be the one that was applied.

    Raises:
        InputError: features.py defines another function, or none, by that name.
    """
    found = []
    for applied in service.on_demand():
        there = defined.get(applied.name)
        if there is None or on_demand_fingerprint(there) != on_demand_fingerprint(applied):
            what = "is not in features.py" if there is None else "differs from what was applied"
            raise InputError(
                f"on-demand view {applied.name} {what}; service {service.name} takes it",
                hint="run `twinlake apply` first; `twinlake plan` shows what changes",
            )
        found.append(Computation.of(there))
    return found


def reading_by(
    told: str, now_us: Callable[[], int], newest_us: Callable[[], int | None], source: str
) -> Reading:
    """Tell as of when features of a source are read.

    Args:
        told: A time, ``wall`` or ``data``.
        now_us: Gives the present.
        newest_us: Gives the newest accepted event of the source, if there is one.
        source: Its name.

    Raises:
        InputError: It is none of these.
        StateError: The ``data`` clock is asked before anything was landed.
    """
    if told == WALL:
        return Reading(now_us(), WALL)
    if told != DATA:
        return Reading(parse_instant_us(told), INSTANT)
    at_us = newest_us()
    if at_us is None:
        raise StateError.nothing_landed(source)
    return Reading(at_us, DATA)


def read_views(
    ready: ReadyService,
    store: OnlineStore,
    keys: Sequence[Mapping[str, Any]],
    moments: Mapping[str, Reading],
) -> list[ServedView]:
    """Read what a service needs of its views, for many keys in one round to the store.

    Raises:
        InputError: A key does not fit, or a moment lies before its newest event.
        StateError: A state is damaged or of another definition.
        EnvironmentFailure: The store does not answer.
    """
    asked = [
        (table, [tuple([key[name] for name in view.entity.join_keys]) for key in keys])
        for (view, _), table in zip(ready.views, ready.tables, strict=True)
    ]
    stored = store.read_all(asked)
    return [
        serve_rows(rows, view, moments[view.name].at_us, names)
        for (view, names), rows in zip(ready.views, stored, strict=True)
    ]


def answers(
    ready: ReadyService,
    asked: Questions,
    moments: Mapping[str, Reading],
    found: Sequence[ServedView | None],
    failed: str | None = None,
) -> list[Answer]:
    """Put together what was read, and compute what is computed on demand.

    Args:
        ready: The service.
        asked: The questions.
        moments: View name to as of when it was read.
        found: Per view what was read of it; None where it could not be.
        failed: What to say of features that could not be read.
    """
    rows: list[dict[str, Served]] = [{} for _ in asked.keys]
    known: list[dict[str, int | None]] = [{} for _ in asked.keys]
    unread: set[str] = set()
    for (view, names), read in zip(ready.views, found, strict=True):
        if read is None:
            unread.update(names)
            of_none = dict.fromkeys(names, Served(None, ERROR, None, failed))
            for features, times in zip(rows, known, strict=True):
                features.update(of_none)
                times[view.name] = None
            continue
        at_us = moments[view.name].at_us
        for place, (features, times) in enumerate(zip(rows, known, strict=True)):
            features.update(read.rows[place].whole())
            stored = read.stored[place]
            # The newest row that the store holds may be one that was not known yet.
            is_told = stored is not None and stored.known_us <= at_us
            times[view.name] = stored.known_us if stored is not None and is_told else None
    for function in ready.functions if rows else ():
        if unread.isdisjoint(function.inputs):
            computed = served(function, rows, asked.requests)
        else:
            of_none = dict.fromkeys(function.outputs, Served(None, ERROR, None, failed))
            computed = [of_none] * len(rows)
        for features, more in zip(rows, computed, strict=True):
            features.update(more)
    if rows and list(rows[0]) != list(ready.names):
        rows = [{name: features[name] for name in ready.names} for features in rows]
    as_of = dict(moments)
    return [
        Answer(key, request, features, as_of, times)
        for key, request, features, times in zip(
            asked.keys, asked.requests, rows, known, strict=True
        )
    ]
