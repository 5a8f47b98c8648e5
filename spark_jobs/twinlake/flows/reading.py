"""Read features online, as of the project's clock or a moment that the caller names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinlake.definitions.clocks import DATA, WALL
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import request_types
from twinlake.definitions.services import FeatureService
from twinlake.definitions.times import format_instant, parse_instant_us
from twinlake.definitions.typed_values import exact_value, typed_value
from twinlake.definitions.types import canonical_type
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError
from twinlake.flows import on_demand
from twinlake.flows.project import Project, online_table
from twinlake.online.on_demand import served
from twinlake.online.reader import Served, ServedView, serve


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
        said = "as asked" if self.clock == "instant" else f"{self.clock} clock"
        return f"{format_instant(self.at_us)} ({said})"


@dataclass(frozen=True)
class Answer:
    """A service's features for one key.

    Attributes:
        key: Join key names to values.
        request: Request fields that the question brought, by name.
        features: Feature name to what was served, in the service's order.
        as_of: View name to the moment that its features are of.
    """

    key: Mapping[str, Any]
    request: Mapping[str, Any]
    features: dict[str, Served]
    as_of: dict[str, Reading]


def clock_reading(project: Project, view: FeatureView, as_of: str | None) -> Reading:
    """Tell as of when a view is read.

    Args:
        project: The project.
        view: The view.
        as_of: A time, ``wall`` or ``data``; None for the project's own clock.

    Raises:
        StateError: The ``data`` clock is asked before anything was landed.
    """
    told = as_of or project.applied().definitions.clock.reading
    if told == WALL:
        return Reading(project.now_us(), WALL)
    if told != DATA:
        return Reading(parse_instant_us(told), "instant")
    newest_us = project.landings(view.source.name).newest_event_us()
    if newest_us is None:
        raise StateError.nothing_landed(view.source.name)
    return Reading(newest_us, DATA)


def read_service(
    project: Project,
    service_name: str,
    rows: Sequence[Mapping[str, Any]],
    as_of: str | None = None,
) -> list[Answer]:
    """Read a service's features for many keys, one round per view.

    Args:
        project: The project.
        service_name: The service.
        rows: Per question the join keys of its entities, and its request fields, by name.
        as_of: A time, ``wall`` or ``data``; None for the project's own clock.

    Raises:
        InputError: An unknown service, a key that lacks a part, a request field that is missing or
            of another type, too early a moment, or a function that is not the one applied.
    """
    service = project.service(service_name)
    functions = on_demand.computations(project, service)
    keys, requests = _typed_rows(service, rows)
    found: list[dict[str, Served]] = [{} for _ in rows]
    moments = {}
    for view, names in service.needed():
        moments[view.name] = clock_reading(project, view, as_of)
        at_us = moments[view.name].at_us
        for features, row in zip(
            found, read_view(project, view, keys, at_us, names).rows, strict=True
        ):
            features.update(row)
    for function in functions if found else ():
        computed = served(function, found, requests)
        for features, more in zip(found, computed, strict=True):
            features.update(more)
    wanted = service.feature_names()
    return [
        Answer(key, asked, {name: features[name] for name in wanted}, dict(moments))
        for key, asked, features in zip(keys, requests, found, strict=True)
    ]


def read_view(
    project: Project,
    view: FeatureView,
    keys: Sequence[Mapping[str, Any]],
    as_of_us: int,
    names: Sequence[str] | None = None,
) -> ServedView:
    """Read a view's features for many keys in one round.

    Raises:
        StateError: The view was never published, or the online store is gone.
    """
    stored = view.stored
    if not project.publications(stored.name).all(view_fingerprint(stored)):
        raise StateError(
            f"view {stored.name} was never published", hint="run `twinlake materialize` first"
        )
    if not project.has_online_store():
        raise StateError(
            f"the online store of {project.settings.state} is gone",
            hint="`twinlake apply` and `twinlake materialize` make it anew from the events",
        )
    parts = [tuple(key[name] for name in view.entity.join_keys) for key in keys]
    return serve(project.store, online_table(view), view, parts, as_of_us, names)


def _typed_rows(
    service: FeatureService, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give join keys and request fields their types; from a command line they come as text."""
    types: dict[str, str] = {}
    for view, _ in service.needed():
        types |= {name: canonical_type(kind) for name, kind in view.entity.join_keys.items()}
    fields = request_types(service.request_fields())
    keys, requests = [], []
    for row in rows:
        _refuse_other_names(service, row, [*types, *fields])
        keys.append({name: typed_value(name, row[name], kind) for name, kind in types.items()})
        requests.append(
            {
                name: exact_value(name, typed_value(name, row[name], kind), kind)
                for name, kind in fields.items()
            }
        )
    return keys, requests


def _refuse_other_names(
    service: FeatureService, row: Mapping[str, Any], wanted: Sequence[str]
) -> None:
    unknown = sorted(set(row) - set(wanted))
    missing = [name for name in wanted if name not in row]
    if unknown or missing:
        named = " ".join([*unknown, *(f"without {name}" for name in missing)])
        raise InputError(
            f"service {service.name} cannot be read by the key {named}",
            hint="give " + " ".join(f"{name}=VALUE" for name in wanted),
        )
