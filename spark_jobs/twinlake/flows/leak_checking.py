"""Leak check: plant rows that nobody may see yet, build a real training set, look for them.

All of it happens in a sandbox below the state's scratch folder; the events of the project are only
read. What is checked is the path that builds training sets, with nothing of it replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twinlake.assurance.planting import (
    HIGH,
    Copy,
    Examined,
    Plant,
    SpineRow,
    copies,
    examine,
    plants_at,
)
from twinlake.definitions.documents import Definitions
from twinlake.definitions.resolution import needed_columns, view_features
from twinlake.definitions.services import FeatureService
from twinlake.definitions.sources import KNOWN_AT_EVENT
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError
from twinlake.flows import training_sets
from twinlake.flows.project import Project
from twinlake.lake import leak_sandbox, point_in_time, training_tables
from twinlake.registry.state import Applied, Landing, Registry

DEFAULT_KEYS = 10
_HOUR_US = 3_600_000_000
# As many rows of a given spine as moments of a key are chosen without one.
_MOMENTS = 5


@dataclass(frozen=True)
class LeakCheck:
    """What a leak check of one service found.

    Attributes:
        service: The service.
        examined: Counts and leaks.
        notes: What could not be checked, and why.
    """

    service: str
    examined: Examined
    notes: Sequence[str]


@dataclass(frozen=True)
class _Route:
    """One way from events to features: a source, the keys that find its rows, the views.

    Attributes:
        keys: The columns of the spine that hold the keys, with their types.
        columns: The columns of the source that hold them, in the same order, with their types.
        views: What is found.
        named: The key column of the spine that carries the number of a copy.
    """

    keys: Mapping[str, str]
    columns: Mapping[str, str]
    views: Sequence[FeatureView]
    named: str

    @property
    def named_column(self) -> str:
        """The column of the source that carries the number of a copy."""
        return dict(zip(self.keys, self.columns, strict=True))[self.named]

    @property
    def source(self) -> Any:  # noqa: ANN401 (a Source)
        return self.views[0].source


def check_leaks(
    project: Project,
    service_name: str,
    spine: Path | None = None,
    *,
    keys: int = DEFAULT_KEYS,
    seed: int = 0,
) -> LeakCheck:
    """Plant rows that no spine row may see, and find those that arrive in a training set.

    Args:
        project: The project.
        service_name: The service whose training sets are checked.
        spine: Check rows of this spine; without it, moments around the events of some keys: before
            the first, at one, a microsecond before that, after it, and after the last.
        keys: How many keys; of a given spine, five times as many rows.
        seed: Chooses others.

    Raises:
        InputError: There is no such service, or the spine does not fit it.
        StateError: Nothing was landed of a source.
    """
    # What is computed on demand is made of stored features alone, so those are what can leak.
    service = project.service(service_name).stored()
    routes = _routes(service)
    rows = _spine_rows(project, routes, spine, keys, seed)
    plants = {row.number: list(_plants(row, routes)) for row in rows}
    made = copies(rows, plants)
    for route in routes:
        capacity = leak_sandbox.copy_capacity(route.keys[route.named])
        if capacity < len(made):
            raise InputError(
                f"key {route.named} is a {route.keys[route.named]}, which has no room for "
                f"{len(made):,} copies of keys",
                hint="check fewer with --keys",
            )
    project.tell(f"leak check of {service_name}: {len(rows)} spine rows, {len(made):,} copies")
    with _sandbox(project, service) as sandbox:
        _fill(project, sandbox, routes, made)
        all_keys = {name: kind for route in routes for name, kind in route.keys.items()}
        frame = leak_sandbox.spine_of(
            project.spark,
            [(copy.number, copy.row.keys, copy.row.at_us) for copy in made],
            all_keys,
            sorted({route.named for route in routes}),
        )
        file = sandbox.settings.state / "spine.parquet"
        frame.write.parquet(str(file))
        built = training_sets.build(sandbox, service_name, file)
        table = training_tables.read_arrow(project.spark, built.path, built.version)
    columns = _columns(service)
    cells = {
        record[leak_sandbox.COPY]: {name: _seen(record[name]) for name in columns}
        for record in table.select([leak_sandbox.COPY, *columns]).to_pylist()
    }
    return LeakCheck(service_name, examine(made, cells, columns), _notes(routes))


def _routes(service: FeatureService) -> list[_Route]:
    grouped: dict[object, list[FeatureView]] = {}
    for view, _ in service.selections():
        place = (
            view.source.name,
            tuple(view.entity.join_keys),
            tuple(view.stored.entity.join_keys),
        )
        grouped.setdefault(place, []).append(view)
    routes = []
    for views in grouped.values():
        keys = point_in_time.key_types(views[0])
        named = max(keys, key=lambda name: leak_sandbox.copy_capacity(keys[name]))
        columns = dict(zip(point_in_time.event_keys(views[0]), keys.values(), strict=True))
        routes.append(_Route(keys, columns, views, named))
    return routes


def _spine_rows(
    project: Project, routes: Sequence[_Route], spine: Path | None, keys: int, seed: int
) -> list[SpineRow]:
    if spine is not None:
        types = {name: kind for route in routes for name, kind in route.keys.items()}
        found = leak_sandbox.sample_spine(project.spark, spine, types, keys * _MOMENTS, seed)
        return [SpineRow(number, told, at_us) for number, (told, at_us) in enumerate(found)]
    sampled = [
        leak_sandbox.sample_keys(
            project.spark, _events(project, route), route.source, list(route.columns), keys, seed
        )
        for route in routes
    ]
    for route, known in zip(routes, sampled, strict=True):
        if not known:
            raise StateError(
                f"source {route.source.name} has no accepted event",
                hint="run `twinlake materialize` first",
            )
    rows: list[SpineRow] = []
    for number, (_, first, some, last) in enumerate(sampled[0]):
        told: dict[str, Any] = {}
        for route, known in zip(routes, sampled, strict=True):
            told |= dict(zip(route.keys, known[number % len(known)][0], strict=True))
        moments = [first - 1, some - 1, some, some + (last - some) // 2 + 1, last + _HOUR_US]
        rows += [SpineRow(len(rows) + i, told, at_us) for i, at_us in enumerate(moments)]
    return rows


def _plants(row: SpineRow, routes: Sequence[_Route]) -> Iterator[Plant]:
    for route in routes:
        windows = [
            feature.window_us
            for view in route.views
            for feature in view_features(view)
            if feature.window_us is not None
        ]
        source = route.source
        yield from plants_at(row.at_us, source.name, tuple(route.keys), source.known, windows)


@contextmanager
def _sandbox(project: Project, service: FeatureService) -> Iterator[Project]:
    """Open a project with the service whose state is a folder that goes away."""
    applied = replace(
        project.applied().definitions, services={service.name: service}, models={}, on_demand={}
    )
    with project.places.sandbox("leak-check") as folder:
        settings = replace(project.settings, state=folder, online_path=folder / "online.sqlite")
        Registry(folder).write(Applied(0, Definitions(), None), applied, project.now_us())
        yield Project(
            settings,
            environ=project.environ,
            now_us=project.now_us,
            tell=project.tell,
            spark=project.spark,
        )


def _fill(
    project: Project, sandbox: Project, routes: Sequence[_Route], made: Sequence[Copy]
) -> None:
    """Write histories and planted rows into the sandbox, a source at a time."""
    for name in dict.fromkeys(route.source.name for route in routes):
        frames = []
        of_source = [route for route in routes if route.source.name == name]
        for route in of_source:
            others = [k for other in of_source for k in other.columns if k not in route.columns]
            path, source = _events(project, route), route.source
            whole = [(copy.number, tuple(copy.row.keys[k] for k in route.keys)) for copy in made]
            carried = (route.columns, route.named_column)
            past = leak_sandbox.history(project.spark, path, *carried, whole)
            needed = {column for view in route.views for column in needed_columns(view)}
            planted = [
                (
                    copy.number,
                    tuple(copy.row.keys[k] for k in route.keys),
                    copy.plant.event_us,
                    copy.plant.known_us,
                    copy.plant.values == HIGH,
                )
                for copy in made
                if copy.plant and (copy.plant.source, copy.plant.keys) == (name, tuple(route.keys))
            ]
            rows = leak_sandbox.planted(project.spark, path, source, *carried, needed, planted)
            frames += [leak_sandbox.without_keys(frame, others) for frame in (past, rows)]
        source = sandbox.applied().definitions.sources[name]
        events = sandbox.places.events(name)
        rows_made = leak_sandbox.write(project.spark, events, source, frames)
        landed = Landing(1, "leak-check", (), 0, read=rows_made, accepted=rows_made)
        sandbox.landings(name).begin(landed)
        sandbox.landings(name).finish(landed)


def _events(project: Project, route: _Route) -> Path:
    name = route.source.name
    if not project.landings(name).all():
        raise StateError.nothing_landed(name)
    return project.places.events(name)


def _seen(cell: Any) -> Any:  # noqa: ANN401 (a cell of any type)
    # That a row is there but not known yet is what this status is for; no value comes of it.
    return "missing" if cell == "not_yet_known" else cell


def _columns(service: FeatureService) -> dict[str, str]:
    """The columns to compare, with the view of each."""
    columns: dict[str, str] = {}
    for view, names in service.selections():
        columns |= dict.fromkeys(names, view.name)
        # What overflows is null among the features too, and a few planted rows bury no window.
        for mark in (point_in_time.status_column, point_in_time.matched_column):
            columns[mark(view.name)] = view.name
    return columns


def _notes(routes: Sequence[_Route]) -> list[str]:
    sources = {route.source.name: route.source for route in routes}
    return [
        f"source {name}: a row is known when it happens, so none can be not yet known; "
        "only future rows were planted"
        for name, source in sources.items()
        if source.known == KNOWN_AT_EVENT
    ]
