"""Read features online, as of the project's clock or a moment that the caller names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.views import FeatureView
from twinlake.errors import StateError
from twinlake.flows.project import Project, online_table
from twinlake.online.reader import ServedView, serve
from twinlake.serving.answers import Answer, answers
from twinlake.serving.reading import Reading, make_ready, read_views, reading_by


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
    source = view.source.name
    return reading_by(told, project.now_us, project.landings(source).newest_event_us, source)


def read_service(
    project: Project,
    service_name: str,
    rows: Sequence[Mapping[str, Any]],
    as_of: str | None = None,
) -> list[Answer]:
    """Read a service's features for many keys, all views in one round.

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
    # features.py is only run where the service takes something from it.
    defined = project.definitions.on_demand if service.on_demand() else {}
    ready = make_ready(service, defined)
    asked = ready.questions(rows)
    moments = {}
    for view, _ in ready.views:
        moments[view.name] = clock_reading(project, view, as_of)
        _require_published(project, view)
    return answers(ready, asked, moments, read_views(ready, project.store, asked.keys, moments))


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
    _require_published(project, view)
    parts = [tuple(key[name] for name in view.entity.join_keys) for key in keys]
    return serve(project.store, online_table(view), view, parts, as_of_us, names)


def _require_published(project: Project, view: FeatureView) -> None:
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
