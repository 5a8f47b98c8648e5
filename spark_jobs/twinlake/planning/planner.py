"""From definitions, what is applied and what is stored to a plan. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinlake.definitions.documents import Definitions, to_document
from twinlake.definitions.fingerprints import (
    SHORT_DIGITS,
    normal_sql,
    on_demand_fingerprint,
    service_fingerprint,
    source_fingerprint,
    source_meaning,
    view_fingerprint,
    with_mentioned,
)
from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.times import MAX_US, MIN_US, Interval
from twinlake.definitions.types import Field
from twinlake.errors import DefinitionError, Problem
from twinlake.planning.lineage import Built, dependents_of_service
from twinlake.planning.steps import (
    AddColumns,
    Affected,
    CreateEventsTable,
    CreateViewTables,
    DropTables,
    Pending,
    Plan,
    Recompute,
    Register,
    Step,
    Unregister,
)

KINDS = {
    "entity": "entities",
    "source": "sources",
    "view": "views",
    "on-demand": "on_demand",
    "service": "services",
    "model": "models",
}
_CLOCK = "clock"


@dataclass(frozen=True)
class SourceFacts:
    """What is stored of a source.

    Attributes:
        has_table: Whether its events table is there.
        ingest_version: The newest ingest version; 0 when nothing was landed.
        accepted_rows: Rows by ingest version.
        new_files: Files that are not landed: rows in each, None where unknown.
    """

    has_table: bool = False
    ingest_version: int = 0
    accepted_rows: Mapping[int, int] = field(default_factory=dict)
    new_files: Sequence[int | None] = ()


@dataclass(frozen=True)
class ViewFacts:
    """What is stored of a view as it is defined now, and as it was applied.

    Attributes:
        has_tables: Whether the tables of its present meaning are there.
        covered_until_us: Until when its present meaning was computed.
        events_version: Up to which ingest version.
        applied_covered: The interval that the applied meaning covers; None when never published.
    """

    has_tables: bool = False
    covered_until_us: int = MIN_US
    events_version: int = 0
    applied_covered: Interval | None = None


@dataclass(frozen=True)
class Facts:
    """What is stored, as far as a plan depends on it."""

    sources: Mapping[str, SourceFacts] = field(default_factory=dict)
    views: Mapping[str, ViewFacts] = field(default_factory=dict)
    leftover_tables: Sequence[str] = ()
    built: Built = field(default_factory=Built)


def build_plan(
    applied: Definitions, registry_version: int, desired: Definitions, facts: Facts
) -> Plan:
    """Plan how to get from what is applied to what is desired.

    Raises:
        DefinitionError: A source changed in a way that its events table cannot follow.
    """
    _refuse_incompatible(applied, desired)
    steps: list[Step] = [DropTables(table) for table in facts.leftover_tables]
    steps += _registrations(applied, desired)
    for name, source in desired.sources.items():
        if not facts.sources.get(name, SourceFacts()).has_table:
            steps.append(CreateEventsTable(name))
        elif name in applied.sources and (new := added_columns(applied.sources[name], source)):
            steps.append(AddColumns(name, new))
    for name, view in desired.views.items():
        view_facts = facts.views.get(name, ViewFacts())
        fingerprint = view_fingerprint(view)
        table = f"{name[:38]}__{fingerprint[:SHORT_DIGITS]}"
        if not view_facts.has_tables:
            steps.append(CreateViewTables(name, table))
        changed = name in applied.views and view_fingerprint(applied.views[name]) != fingerprint
        if changed and view_facts.applied_covered and view_facts.covered_until_us == MIN_US:
            rows = sum(facts.sources[view.source.name].accepted_rows.values())
            steps.append(Recompute(name, table, view_facts.applied_covered, rows))
    affected = tuple(_affected(applied, desired, facts.built))
    return Plan(tuple(steps), tuple(_pending(desired, facts)), registry_version, affected)


def _affected(applied: Definitions, desired: Definitions, built: Built) -> Iterator[Affected]:
    for name in applied.services:
        if _meaning(applied, "service", name) != _meaning(desired, "service", name):
            found = dependents_of_service(applied, built, name)
            if found.were_built:
                versions = tuple((one.model, one.version) for one in found.versions)
                yield Affected(name, found.training_sets, versions)


def _registrations(applied: Definitions, desired: Definitions) -> Iterator[Step]:
    before, after = to_document(applied), to_document(desired)
    for kind, plural in KINDS.items():
        # As text, in which the order of join keys and windows counts, as it does in the registry.
        old = {item["name"]: json.dumps(item) for item in before[plural]}
        new = {item["name"]: json.dumps(item) for item in after[plural]}
        for name, item in new.items():
            if old.get(name) != item:
                meaning = _meaning(applied, kind, name) != _meaning(desired, kind, name)
                yield Register(kind, name, name not in old, meaning)
        for name in old:
            if name not in new:
                yield Unregister(kind, name)
    # An empty registry has the default clock; naming it is news only beside other news.
    if applied.clock != desired.clock:
        yield Register(_CLOCK, desired.clock.reading, not before["views"], True)


def _meaning(definitions: Definitions, kind: str, name: str) -> Any:  # noqa: ANN401
    """What of a definition decides values; None where it is not defined."""
    item = getattr(definitions, KINDS[kind]).get(name)
    if item is None:
        return None
    if kind == "entity":
        return list(item.join_keys.items())
    if kind == "source":
        # What ``where`` leaves out is landed all the same, but no feature sees it.
        return (source_fingerprint(item), normal_sql(item.where or ""))
    if kind == "view":
        return view_fingerprint(item)
    if kind == "on-demand":
        return on_demand_fingerprint(item)
    if kind == "service":
        return service_fingerprint(item)
    taken = (service_fingerprint(item.service), item.label, tuple(item.spine_features))
    return (*taken, item.threshold, tuple(item.classes))


def added_columns(before: Source, after: Source) -> tuple[Field, ...]:
    """Give the columns that a source arrives with now and did not before."""
    old = raw_columns(before)
    return tuple(Field(n, kind) for n, kind in raw_columns(after).items() if n not in old)


def widens(before: Source, after: Source) -> bool:
    """Tell whether a source changed by further columns and in nothing else that decides rows."""
    old, new = source_meaning(before), source_meaning(after)
    is_wider = old["schema"].items() < new["schema"].items()
    return bool(is_wider) and old == new | {"schema": old["schema"]}


def _refuse_incompatible(applied: Definitions, desired: Definitions) -> None:
    """An events table holds what happened; its columns and what they mean are settled."""
    problems = []
    for name, source in desired.sources.items():
        before = applied.sources.get(name)
        if before is None:
            continue
        place = f"source {name}"
        hint = "define a source with another name, or start a new --state folder"
        problems += [Problem(place, found, hint) for found in _other_columns(before, source)]
        for role in ("event_timestamp", "event_id_columns", "known"):
            if getattr(before, role) != getattr(source, role):
                found = f"its {role} changed from {getattr(before, role)!r}"
                problems.append(Problem(place, found, hint))
        for role, column in (("event", source.event_timestamp), ("known", source.known)):
            if _derivation(before, column) != _derivation(source, column):
                problems.append(Problem(place, f"its {role} timestamp is derived otherwise", hint))
    if problems:
        raise DefinitionError(problems)


def _other_columns(before: Source, after: Source) -> Iterator[str]:
    """Say what became of the columns that an events table has."""
    now = raw_columns(after)
    for column, kind in raw_columns(before).items():
        if column not in now:
            yield f"its events table has a column {column}, which its schema lacks"
        elif now[column] != kind:
            yield f"column {column} is {kind} in its events table, not {now[column]}"


def _derivation(source: Source, column: str) -> list[Any]:
    """How a column is derived, with those that it is derived from; empty for one that arrives."""
    derived = source_meaning(source)["derived"]
    names = sorted(with_mentioned(source, {column}))
    return [(name, derived[name]) for name in names if name in derived]


def _pending(desired: Definitions, facts: Facts) -> Iterator[Pending]:
    for name, view in desired.views.items():
        source = facts.sources.get(view.source.name, SourceFacts())
        seen = facts.views.get(name, ViewFacts())
        landed = sum(
            rows for version, rows in source.accepted_rows.items() if version > seen.events_version
        )
        known = [rows for rows in source.new_files if rows is not None]
        new_rows = sum(known) if len(known) == len(source.new_files) else None
        if landed or source.new_files:
            start_us = seen.covered_until_us if seen.covered_until_us < MAX_US else MIN_US
            yield Pending(name, Interval(start_us, MAX_US), landed, new_rows, len(source.new_files))
