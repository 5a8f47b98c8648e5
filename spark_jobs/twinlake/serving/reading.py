"""Read a service's features for some keys: the one way, in process and over HTTP.

What takes longer than a read is worked out once, by ``make_ready``: types, tables, functions. Then
keys and request fields get their types (``questions``), the rows of all keys of all views come in
one round (``read_views``), and ``answers`` (of ``twinlake.serving.answers``) puts together what was
found.
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
from twinlake.online.opening import online_table
from twinlake.online.reader import PRESENT, ServedView, serve_rows
from twinlake.online.store import Key, OnlineRow, OnlineStore, OnlineTable
from twinlake.online.values import INT64_HIGH, INT64_LOW

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
        origins: The view, stored or on demand, of each feature and of what is computed from.
        present: The statuses of a vector that is stored and present, the same for all keys; None
            where the service's features are not its views' features, one view after the other.
    """

    service: FeatureService
    key_types: Mapping[str, str]
    request_types: Mapping[str, str]
    views: Sequence[tuple[FeatureView, tuple[str, ...]]]
    tables: Sequence[OnlineTable]
    functions: Sequence[Computation]
    names: Sequence[str]
    origins: Mapping[str, str]
    present: Mapping[str, str] | None

    def questions(self, rows: Sequence[Mapping[str, Any]]) -> Questions:
        """Give join keys and request fields their types; text is read as what it stands for.

        Raises:
            InputError: A row lacks a name, has another, or a value does not fit its type.
        """
        wanted = self.key_types.keys() | self.request_types.keys()
        for row in rows:
            if row.keys() != wanted:
                raise self._other_names(row, [*self.key_types, *self.request_types])
        # Column by column, for nearly all rows are of the right types, which a set tells at once.
        told = {name: [row[name] for row in rows] for name in self.key_types}
        keys = {name: _keys(name, told[name], kind) for name, kind in self.key_types.items()}
        requests = {
            name: [exact_value(name, typed_value(name, row[name], kind), kind) for row in rows]
            for name, kind in self.request_types.items()
        }
        if not requests and all(keys[name] is column for name, column in told.items()):
            return Questions(rows, [{}] * len(rows))
        return Questions(_by_row(keys, len(rows)), _by_row(requests, len(rows)))

    def _other_names(self, row: Mapping[str, Any], wanted: Sequence[str]) -> InputError:
        unknown = sorted(set(row) - set(wanted))
        missing = [name for name in wanted if name not in row]
        named = " ".join([*unknown, *(f"without {name}" for name in missing)])
        return InputError(
            f"service {self.service.name} cannot be read by the key {named}",
            hint="give " + " ".join(f"{name}=VALUE" for name in wanted),
        )


def _by_row(columns: Mapping[str, Sequence[Any]], count: int) -> list[dict[str, Any]]:
    if not columns:
        return [{} for _ in range(count)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _keys(name: str, values: list[Any], kind: str) -> list[Any]:
    """Give a part of some keys its type."""
    found = set(map(type, values))
    if kind == "string" and found == {str}:
        return values
    is_whole = kind == "bigint" and found == {int}
    if is_whole and min(values) >= INT64_LOW and max(values) <= INT64_HIGH:
        return values
    return [typed_key(name, value, kind) for value in values]


def typed_key(name: str, value: Any, kind: str) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a part of a key its type.

    Raises:
        InputError: It is null, or does not say a value of that type.
    """
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
    functions = computations(service, defined)
    origins = {name: view.name for view, read in views for name in read}
    names, stored = list(service.feature_names()), list(origins)
    origins |= {name: function.view for function in functions for name in function.outputs}
    return ReadyService(
        service,
        keys,
        request_types(service.request_fields()),
        views,
        [online_table(view) for view, _ in views],
        functions,
        names,
        origins,
        dict.fromkeys(names, PRESENT) if names == stored else None,
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
    return _served(ready, store.read_all(_asked(ready, keys)), moments)


def read_views_at_once(
    ready: ReadyService,
    store: OnlineStore,
    keys: Sequence[Mapping[str, Any]],
    moments: Mapping[str, Reading],
) -> list[ServedView] | None:
    """The same, if it takes no waiting; else None."""
    stored = store.read_at_once(_asked(ready, keys))
    return None if stored is None else _served(ready, stored, moments)


def _asked(
    ready: ReadyService, keys: Sequence[Mapping[str, Any]]
) -> list[tuple[OnlineTable, list[Key]]]:
    return [
        (table, [tuple([key[name] for name in view.entity.join_keys]) for key in keys])
        for (view, _), table in zip(ready.views, ready.tables, strict=True)
    ]


def _served(
    ready: ReadyService,
    stored: Sequence[list[OnlineRow | None]],
    moments: Mapping[str, Reading],
) -> list[ServedView]:
    return [
        serve_rows(rows, view, moments[view.name].at_us, names)
        for (view, names), rows in zip(ready.views, stored, strict=True)
    ]
