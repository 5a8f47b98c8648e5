"""Where rows of a key are: every table and file of the state that is, or was, about its entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlake.definitions.entities import Entity
from twinlake.definitions.services import FeatureService
from twinlake.definitions.sources import Source
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError
from twinlake.flows import catalogue
from twinlake.flows.project import Project, online_table, view_table
from twinlake.lake import erasing, events, forgotten, tables
from twinlake.lake.erased_files import KeyInFiles
from twinlake.lake.erasing import Found
from twinlake.registry.ledger import holds, key_kinds, texts
from twinlake.serving.reading import typed_key

if TYPE_CHECKING:
    from pyspark.sql import Column

Naming = Mapping[str, str]


@dataclass(frozen=True)
class EntityKey:
    """A key of an entity.

    Attributes:
        entity: The entity.
        values: Its parts by name, each of its column's type.
    """

    entity: Entity
    values: Mapping[str, Any]

    @classmethod
    def of(cls, project: Project, name: str, parts: Mapping[str, str]) -> EntityKey:
        """Read a key, as ``get`` does.

        Raises:
            InputError: There is no such entity, or its key has other parts or types.
        """
        entities = project.applied().definitions.entities
        if name not in entities:
            raise InputError.unknown("entity", name, entities)
        entity = entities[name]
        kinds = key_kinds(entity)
        if parts.keys() != kinds.keys():
            raise InputError(
                f"a key of entity {name} has the parts {', '.join(kinds)}, not {', '.join(parts)}",
                hint="give " + " ".join(f"{each}=VALUE" for each in kinds),
            )
        return cls(
            entity, {each: typed_key(each, parts[each], kind) for each, kind in kinds.items()}
        )

    @property
    def kinds(self) -> dict[str, str]:
        """Its parts' types."""
        return key_kinds(self.entity)

    @property
    def texts(self) -> list[str]:
        """Its parts as the ledger writes them."""
        return texts(self.kinds, self.values)

    def is_held_by(self, entity: Entity) -> bool:
        """Tell whether keys of an entity say which key of this one's entity they belong to."""
        return holds(entity, self.entity.name, self.kinds)

    def in_columns(self, namings: Sequence[Naming]) -> Column:
        """The rows of a table that are of the key."""
        return forgotten.is_in(namings, self.kinds, self.texts)


@dataclass(frozen=True)
class Holders:
    """What holds keys of an entity, as ever applied.

    Attributes:
        sources: Sources that a view about it reads, by name, as applied last.
        views: The views about it, of every meaning that they had.
        others: Applied views of other entities on those sources.
        services: Every service that there was, with the numbers of its definitions.
    """

    sources: Mapping[str, Source]
    views: Sequence[FeatureView]
    others: Sequence[FeatureView]
    services: Sequence[FeatureService]
    models: Mapping[str, FeatureService]

    @classmethod
    def of(cls, project: Project, key: EntityKey) -> Holders:
        """Look through everything that was ever applied, newest first."""
        sources: dict[str, Source] = {}
        views: dict[str, FeatureView] = {}
        services: list[FeatureService] = []
        models: dict[str, FeatureService] = {}
        for applied in project.registry.history():
            told = applied.definitions
            for view in told.views.values():
                if key.is_held_by(view.entity):
                    sources.setdefault(view.source.name, told.sources[view.source.name])
                    views.setdefault(view_table(view), view)
            services += told.services.values()
            for model in told.models.values():
                models.setdefault(model.name, model.service)
        others = [
            view
            for view in project.applied().definitions.views.values()
            if view.source.name in sources and not key.is_held_by(view.entity)
        ]
        return cls(sources, list(views.values()), others, services, models)


@dataclass(frozen=True)
class DeltaPlace:
    """A Delta table that may hold rows of a key.

    Attributes:
        table: What it is, such as ``events SOURCE``.
        name: Its own name.
        path: Where it lies.
        rows: Which of its rows are of the key.
    """

    table: str
    name: str
    path: Path
    rows: Column

    def find(self, project: Project) -> Found:
        """Count its rows of the key."""
        return erasing.find(project.spark, self.path, self.rows)


@dataclass(frozen=True)
class FilePlace:
    """Files that may hold rows of a key: logged vectors, pushed rows, spines."""

    table: str
    files: Sequence[Path]
    key: KeyInFiles

    def find(self) -> Found:
        """Count the rows of the key."""
        counts = [self.key.count(file) for file in self.files]
        return Found(sum(counts), sum(map(bool, counts)))


def event_places(project: Project, key: EntityKey, holders: Holders) -> Iterator[DeltaPlace]:
    """Give the events tables, erased last: what is derived from them is found by them."""
    for name, source in holders.sources.items():
        path = project.places.events(name)
        if tables.exists(path):
            rows = forgotten.is_of_key(source, key.kinds, key.texts)
            yield DeltaPlace(f"events {name}", name, path, rows)


def view_places(project: Project, key: EntityKey, holders: Holders) -> Iterator[DeltaPlace]:
    """Give the feature view tables, also those that no applied view uses any more."""
    for view in holders.views:
        path = project.places.view(view_table(view))
        if tables.exists(path):
            rows = key.in_columns([{name: name for name in key.kinds}])
            yield DeltaPlace(f"view {view_table(view)}", view.name, path, rows)


def prediction_places(project: Project, key: EntityKey, holders: Holders) -> Iterator[DeltaPlace]:
    """Give the predictions of models."""
    for name, service in holders.models.items():
        path = project.places.predictions(name)
        if tables.exists(path):
            rows = key.in_columns(_namings(project, path, key, [service]))
            yield DeltaPlace(f"predictions {name}", name, path, rows)


def set_places(project: Project, key: EntityKey) -> Iterator[DeltaPlace]:
    """Give the training sets."""
    for receipt in catalogue.receipts(project):
        path = project.places.training_set(receipt.training_set)
        if not tables.exists(path):
            continue
        found = catalogue.find_definition(project, receipt)
        services = [] if found is None else [found[0]]
        rows = key.in_columns(_namings(project, path, key, services))
        name = receipt.training_set
        yield DeltaPlace(f"training set {name}", name, path, rows)


def _namings(
    project: Project, path: Path, key: EntityKey, services: Sequence[FeatureService]
) -> list[Naming]:
    """Say which columns of a table may name a key, as services join its views."""
    there = set(tables.read(project.spark, path).columns)
    return [naming for naming in namings(key, services) if set(naming.values()) <= there]


def namings(key: EntityKey, services: Sequence[FeatureService]) -> list[Naming]:
    """Say which columns of a spine may name a key: its own names, and those of aliases."""
    found: list[Naming] = [{name: name for name in key.kinds}]
    for service in services:
        for view, _ in service.needed():
            stored = view.stored.entity
            if key.is_held_by(stored):
                told = dict(zip(stored.join_keys, view.entity.join_keys, strict=True))
                naming = {name: told[name] for name in key.kinds}
                found += [] if naming in found else [naming]
    return found


def file_places(project: Project, key: EntityKey, holders: Holders) -> Iterator[FilePlace]:
    """Give the files beside the lake: served vectors, the inbox of landers, spines from memory."""
    places = project.places
    all_names = KeyInFiles(namings(key, holders.services), key.kinds, key.texts)
    for folder in sorted(places.served.glob("*/")):
        yield FilePlace(f"served {folder.name}", sorted(folder.rglob("*.parquet")), all_names)
    own_names = KeyInFiles(namings(key, ()), key.kinds, key.texts)
    for name in holders.sources:
        waiting = sorted((places.state / "inbox" / name).glob("*.parquet"))
        yield FilePlace(f"inbox {name}", waiting, own_names)
    yield FilePlace("spines", sorted(places.spines.glob("*.parquet")), all_names)


def online_keys(
    project: Project, key: EntityKey, view: FeatureView
) -> tuple[list[tuple[Any, ...]], int]:
    """Give the keys of an online table that are of a key, and how many of them have a row."""
    kinds = key_kinds(view.entity)
    if kinds.keys() == key.kinds.keys():
        keys = [tuple(key.values[name] for name in kinds)]
    else:
        path = project.places.events(view.source.name)
        rows = forgotten.is_of_key(view.source, key.kinds, key.texts)
        keys = events.distinct_keys(project.spark, path, view, rows) if tables.exists(path) else []
    stored = project.store.read(online_table(view), keys) if keys else []
    return keys, sum(row is not None for row in stored)


def online_views(project: Project, holders: Holders) -> list[FeatureView]:
    """Give the views that have an online table."""
    there = set(project.store.tables()) if project.has_online_store() else set()
    return [view for view in holders.views if view_table(view) in there]
