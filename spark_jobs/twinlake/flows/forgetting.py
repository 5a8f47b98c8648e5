"""Forget a key: erase it wherever the state holds it, and know it if it comes again.

Order: the ledger first, so that from then on nothing brings the key back; then what is derived from
the events, then the events themselves, by which the rest is found; last the bytes that older
versions of tables keep. Whatever ends it in between, forgetting the same key again completes it.

Nobody else may land, publish or score meanwhile: what a running stream holds in memory would come
back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from twinlake.crash_points import reached
from twinlake.definitions.sources import Source
from twinlake.definitions.views import FeatureView
from twinlake.errors import StateError
from twinlake.flows import catalogue, erasable, publishing, refolding, unreachable
from twinlake.flows.erasable import DeltaPlace, EntityKey, Holders
from twinlake.flows.landing import land_marker, recover
from twinlake.flows.project import Project, online_table, view_table
from twinlake.flows.requests import STREAM
from twinlake.flows.unreachable import Left
from twinlake.lake import erasing, events, tables
from twinlake.registry.erasures import note_erasure
from twinlake.registry.ledger import Entry, Ledger
from twinlake.registry.places import Taken
from twinlake.registry.state import Landing

_ONLINE = "online"


@dataclass
class InTable:
    """Rows of a key in one table.

    Attributes:
        table: What it is, such as ``events SOURCE`` or ``online VIEW``.
        rows: How many there are; afterwards, how many were erased.
        files: In how many files; afterwards, how many were written anew or deleted.
        is_purged: Whether what older versions held of it is gone, too.
    """

    table: str
    rows: int
    files: int = 0
    is_purged: bool = False


@dataclass
class Forgetting:
    """What forgetting a key is to do, or has done.

    Attributes:
        key: The key.
        tables: Where it is; tables without it are left out.
        left: What is left to others.
        was_known: Whether it was forgotten before.
        refolded: Keys of other entities that were computed anew, by view.
    """

    key: EntityKey
    tables: list[InTable] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    was_known: bool = False
    refolded: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows in all tables together."""
        return sum(one.rows for one in self.tables)


def look(project: Project, key: EntityKey) -> Forgetting:
    """Find where a key is, and what of it cannot be reached; changes nothing."""
    holders = Holders.of(project, key)
    found = Forgetting(
        key, was_known=bool(Ledger(project.settings.state).find(key.entity, key.values))
    )
    _ = project.spark  # what rows are looked for by is made in a session
    project.tell(f"looking for the key in everything about {key.entity.name}")
    found.tables = [one for one in _looked_at(project, key, holders) if one.rows]
    found.left = unreachable.left(project, key, holders)
    return found


def _looked_at(project: Project, key: EntityKey, holders: Holders) -> Iterator[InTable]:
    for place in _delta_places(project, key, holders):
        found = place.find(project)
        yield InTable(place.table, found.rows, found.files)
    for view in erasable.online_views(project, holders):
        _, rows = erasable.online_keys(project, key, view)
        yield InTable(f"{_ONLINE} {view_table(view)}", rows)
    for files in erasable.file_places(project, key, holders):
        of_files = files.find()
        yield InTable(files.table, of_files.rows, of_files.files)


def _delta_places(project: Project, key: EntityKey, holders: Holders) -> Iterator[DeltaPlace]:
    yield from erasable.event_places(project, key, holders)
    yield from erasable.view_places(project, key, holders)
    yield from erasable.prediction_places(project, key, holders)
    yield from erasable.set_places(project, key)


def forget(project: Project, key: EntityKey) -> Forgetting:
    """Forget a key; see above.

    Raises:
        StateError: A stream or another job works on one of the sources, views or models.
    """
    holders = Holders.of(project, key)
    with _alone(project, holders):
        reached("forgetting.begun")
        _finish_what_was_begun(project, holders)
        found = look(project, key)
        ledger = Ledger(project.settings.state)
        open_entries = [
            one for one in ledger.find(key.entity, key.values) if not ledger.is_done(one)
        ]
        if found.rows or not found.was_known:
            names = [one.table for one in found.tables]
            entry = ledger.begin(key.entity, key.values, names, project.now_us())
            open_entries.append(entry)
        reached("forgetting.written_down")
        if open_entries:
            _Eraser(project, holders, found, open_entries).erase()
        for entry in open_entries:
            ledger.finish(entry, project.now_us())
    return found


class _Eraser:
    """Erases one key.

    Args:
        project: The project, of which nobody else works on what the holders name.
        holders: What holds the key.
        found: Where it is; what is done is written down there.
        entries: What the ledger says of it that is not done.
    """

    def __init__(
        self, project: Project, holders: Holders, found: Forgetting, entries: Sequence[Entry]
    ) -> None:
        self._project = project
        self._holders = holders
        self._found = found
        self._key = found.key
        # Also what was found by a job that was killed: rows may be gone, but not what they left.
        self._tables = {name for entry in entries for name in entry.found}
        self._markers: dict[str, Landing] = {}
        self._purged_online: list[tuple[FeatureView, list[tuple[Any, ...]]]] = []

    def erase(self) -> None:
        """Do it all."""
        project, holders, key = self._project, self._holders, self._key
        self._erase_sets()
        reached("forgetting.sets_erased")
        for files in erasable.file_places(project, key, holders):
            if files.table in self._tables:
                project.tell(f"erasing from {files.table}")
                for file in files.files:
                    files.key.erase(file)
                self._note(files.table)
        for place in erasable.prediction_places(project, key, holders):
            self._delete(place)
        refolding.note_touched(project, key, holders.others)
        self._erase_online()
        reached("forgetting.online_erased")
        for place in erasable.view_places(project, key, holders):
            self._delete(place)
        for place in erasable.event_places(project, key, holders):
            if place.table in self._tables:
                project.tell(f"erasing from {place.table}")
                erasing.erase_events(project.spark, place.path, place.rows)
        reached("forgetting.rows_erased")
        self._refold()
        reached("forgetting.refolded")
        self._purge()
        reached("forgetting.purged")

    def _erase_sets(self) -> None:
        """Say of training sets that rows were erased, and then erase them."""
        project = self._project
        first = self._first_versions()
        rows = {one.table: one.rows for one in self._found.tables}
        for receipt in catalogue.receipts(project):
            name = receipt.training_set
            of_inputs = any(
                first.get(pin.name, (pin.sequence or 0) + 1) <= (pin.sequence or 0)
                for pin in receipt.tables
            ) and self._aggregates_others(receipt)
            if rows.get(f"training set {name}") or of_inputs:
                note_erasure(
                    project.places.receipts,
                    name,
                    rows.get(f"training set {name}", 0),
                    project.now_us(),
                    of_inputs=of_inputs,
                )
        for place in erasable.set_places(project, self._key):
            self._delete(place)

    def _first_versions(self) -> dict[str, int]:
        """Give per source the ingest version of the first event that is erased."""
        found = {}
        for place in erasable.event_places(self._project, self._key, self._holders):
            first = events.first_version(self._project.spark, place.path, place.rows)
            if first is not None:
                found[place.name] = first
        return found

    def _aggregates_others(self, receipt: Any) -> bool:  # noqa: ANN401 (a Receipt)
        """Tell whether a training set has features of other entities of the same events."""
        definition = catalogue.find_definition(self._project, receipt)
        if definition is None:
            return False
        return any(
            view.source.name in self._holders.sources and not self._key.is_held_by(view.entity)
            for view in definition[0].views()
        )

    def _delete(self, place: DeltaPlace) -> None:
        if place.table in self._tables:
            self._project.tell(f"erasing from {place.table}")
            erasing.delete(self._project.spark, place.path, place.rows)

    def _marker(self, source: Source) -> Landing:
        """Give an empty batch, as of which rows are written online."""
        name, project = source.name, self._project
        if name not in self._markers:
            landed = project.landings(name).newest_version()
            newest = tables.require_version(project.spark, project.places.events(name), landed)
            self._markers[name] = land_marker(project, source, newest.version + 1)
        return self._markers[name]

    def _erase_online(self) -> None:
        """Leave tombstones that no delayed write gets past; they go at the end."""
        project = self._project
        for view in erasable.online_views(project, self._holders):
            if f"{_ONLINE} {view_table(view)}" not in self._tables:
                continue
            project.tell(f"erasing from {_ONLINE} {view_table(view)}")
            keys, _ = erasable.online_keys(project, self._key, view)
            marker = self._marker(self._holders.sources[view.source.name])
            write_us = publishing.checked_write_us(project, marker.landed_us or 0)
            project.store.delete(online_table(view), keys, write_us)
            self._purged_online.append((view, keys))

    def _refold(self) -> None:
        project = self._project
        for view in refolding.touched(project, self._holders.others):
            marker = self._marker(view.source)
            self._found.refolded[view.name] = refolding.refold(project, view, marker)

    def _purge(self) -> None:
        """Remove what older versions still hold, of all tables in which the key was."""
        project = self._project
        anew = refolding.touched(project, self._holders.others)
        for view, keys in self._purged_online:
            project.tell(f"purging {_ONLINE} {view_table(view)}")
            project.store.purge(online_table(view), keys)
            self._note(f"{_ONLINE} {view_table(view)}")
        for view in anew:
            project.store.purge(online_table(view), [])
            erasing.purge(project.spark, project.places.view(view_table(view)))
        for place in _delta_places(project, self._key, self._holders):
            if place.table in self._tables:
                project.tell(f"purging {place.table}")
                told = erasing.newest_saying(project.spark, place.path, "ingest_version")
                erasing.purge(project.spark, place.path, told)
                self._note(place.table)
        for view in anew:
            refolding.touched_file(project, view).unlink()

    def _note(self, table: str) -> None:
        for one in self._found.tables:
            if one.table == table:
                one.is_purged = True
                return
        self._found.tables.append(InTable(table, 0, is_purged=True))


def _finish_what_was_begun(project: Project, holders: Holders) -> None:
    """Finish landings and publications that were killed: they are found by logs that go."""
    views = project.applied().definitions.views.values()
    for name, source in holders.sources.items():
        if tables.exists(project.places.events(name)):
            recover(project, source)
    for view in views:
        if view.source.name in holders.sources and tables.exists(
            project.places.view(view_table(view))
        ):
            while publishing.finish_interrupted(project, view) is not None:
                pass


@contextmanager
def _alone(project: Project, holders: Holders) -> Iterator[None]:
    """Be the only one who writes what may hold a key.

    Raises:
        StateError: Somebody else does.
    """
    definitions = project.applied().definitions
    offices = [("forgetter", "lake")]
    offices += [("lander", name) for name in holders.sources]
    views = [
        view.name for view in definitions.views.values() if view.source.name in holders.sources
    ]
    views += [view.name for view in holders.views]
    offices += [("publisher", name) for name in dict.fromkeys(views)]
    offices += [("scorer", name) for name in holders.models]
    offices += [("builder", receipt.training_set) for receipt in catalogue.receipts(project)]
    with ExitStack() as held:
        for what, name in offices:
            try:
                held.enter_context(project.places.exclusively(what, name, "forget"))
            except Taken as taken:
                who = f"the stream of {name}" if taken.by == STREAM else f"the {what} of {name}"
                raise StateError(
                    f"{who} is running, and would bring the key back: nothing was forgotten",
                    hint="end `twinlake stream`, `score` or what else works on it, forget, and "
                    "start it again: it goes on where it ended",
                ) from taken
        yield
