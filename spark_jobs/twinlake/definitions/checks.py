"""Check definitions as a whole: every problem at once, each with its place and a hint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from twinlake.definitions.clocks import DATA, WALL, Clock
from twinlake.definitions.documents import Definitions
from twinlake.definitions.entities import Entity
from twinlake.definitions.expectation_checks import expectation_problems
from twinlake.definitions.kinds import kind_problems
from twinlake.definitions.names import RESERVED_COLUMNS, RESERVED_KEYS, SYSTEM_COLUMNS
from twinlake.definitions.names import attempt as _try
from twinlake.definitions.names import name_problems as _name_problems
from twinlake.definitions.names import online_name_problems as _online_name_problems
from twinlake.definitions.on_demand import OnDemandSelection, OnDemandView, Request
from twinlake.definitions.resolution import all_columns
from twinlake.definitions.service_checks import (
    model_problems,
    on_demand_problems,
    service_problems,
)
from twinlake.definitions.services import FeatureService, Model
from twinlake.definitions.sources import KNOWN_AT_ARRIVAL, KNOWN_AT_EVENT, Source
from twinlake.definitions.stream_checks import stream_problems, topic_problems
from twinlake.definitions.times import format_duration, parse_duration_us, parse_instant_us
from twinlake.definitions.types import (
    COLUMN_NAME,
    FLOAT_TYPES,
    canonical_type,
    is_numeric,
    parse_schema,
)
from twinlake.definitions.views import FUNCTIONS, NUMERIC_ONLY, Aggregate, FeatureView, Selection
from twinlake.errors import DefinitionError, InputError, Problem

# What one INSERT may name on Keyspaces.
MAX_COLUMNS = 225


def check(definitions: Definitions) -> None:
    """Check all definitions together.

    Raises:
        DefinitionError: Something does not hold; carries every problem found.
    """
    problems = list(find_problems(definitions))
    if problems:
        raise DefinitionError(problems)


def find_problems(definitions: Definitions) -> Iterator[Problem]:
    """Yield every problem of the definitions, in the order entities, sources, views, services."""
    # What is not made of the right Python types is not looked at any closer, nor is what uses it.
    unsound: set[tuple[type, str]] = set()
    kinds: list[tuple[str, Mapping[str, Any], Callable[[Any], Iterator[Problem]]]] = [
        ("entity", definitions.entities, _entity_problems),
        ("source", definitions.sources, _source_problems),
        ("view", definitions.views, _view_problems),
        ("on-demand view", definitions.on_demand, partial(on_demand_problems, definitions.views)),
        ("service", definitions.services, service_problems),
        ("model", definitions.models, model_problems),
    ]
    for kind, items, find in kinds:
        for item in items.values():
            wrong = list(kind_problems(f"{kind} {item.name}", item))
            yield from wrong
            if wrong or any((type(used), str(used.name)) in unsound for used in _used(item)):
                unsound.add((type(item), str(item.name)))
            else:
                yield from find(item)
    yield from _clock_problems(definitions.clock)


def _used(item: Any) -> list[Any]:  # noqa: ANN401 (any of the definitions)
    if isinstance(item, FeatureView):
        return [item.entity, item.source]
    if isinstance(item, FeatureService | OnDemandView):
        told = item.features if isinstance(item, FeatureService) else item.inputs
        used = [
            each.view if isinstance(each, Selection | OnDemandSelection) else each for each in told
        ]
        return [each for each in used if not isinstance(each, Request)]
    if isinstance(item, Model):
        labels = item.quality.labels if item.quality else None
        read = [item.source, labels.source if labels else None]
        return [item.service, *(source for source in read if source is not None)]
    return []


def _clock_problems(clock: Clock) -> Iterator[Problem]:
    wrong = list(kind_problems("clock", clock))
    yield from wrong
    if not wrong and clock.reading not in {WALL, DATA}:
        try:
            parse_instant_us(clock.reading)
        except InputError as error:
            yield Problem("clock", error.message, "use wall, data or a time such as 2021-08-26")


def _entity_problems(entity: Entity) -> Iterator[Problem]:
    place = f"entity {entity.name}"
    yield from _name_problems(place, entity.name)
    if not entity.join_keys:
        yield Problem(place, "has no join keys", 'write join_keys={"household_id": "string"}')
    for name, kind in entity.join_keys.items():
        yield from _online_name_problems(f"{place}, join key {name}", name)
        if name in RESERVED_KEYS:
            yield Problem(f"{place}, join key {name}", "is a reserved name", "choose another")
        hint = "use a type such as string, bigint or date"
        known, problems = _try(f"{place}, join key {name}", hint, partial(canonical_type, kind))
        yield from problems
        if known in FLOAT_TYPES:
            yield Problem(f"{place}, join key {name}", f"a {known} cannot be a key", hint)


def _source_problems(source: Source) -> Iterator[Problem]:
    place = f"source {source.name}"
    yield from _name_problems(place, source.name)
    fields, problems = _try(
        f"{place}, schema",
        'write it as "id string, at timestamp"',
        partial(parse_schema, source.schema),
    )
    yield from problems
    for name, column in source.with_columns.items():
        hint = 'write Derived("timestamp", "date_add(day, 1)")'
        read = partial(canonical_type, column.type)
        type_problems = _try(f"{place}, column {name}", hint, read)[1]
        yield from type_problems
        problems = problems + type_problems
    if fields is not None and not problems:
        names = [field.name for field in fields] + list(source.with_columns)
        yield from _column_name_problems(place, names)
        yield from _source_column_problems(source, place)
        yield from _file_column_problems(source, place, names)
        for expectation in source.expectations:
            yield from expectation_problems(expectation, place, all_columns(source))
    yield from _try(
        f"{place}, max_ahead", "write it as 1d", partial(parse_duration_us, source.max_ahead)
    )[1]
    if source.batch is None and source.stream is None:
        yield Problem(
            place, "can be read neither in batch nor as a stream", "give batch=Files(...)"
        )
    if source.batch is not None and source.batch.format not in {"parquet", "csv"}:
        yield Problem(place, f"format {source.batch.format!r} is unknown", "use parquet or csv")
    if source.stream is not None:
        yield from stream_problems(source.stream, place)
    if source.batch is not None and source.stream is not None and not source.event_id_columns:
        yield Problem(
            place, "has two paths but no event_id", "name the column that identifies a row"
        )


def _file_column_problems(source: Source, place: str, names: list[str]) -> Iterator[Problem]:
    for column in source.batch.may_lack if source.batch else ():
        if column not in names or column in source.with_columns:
            where = f"{place}, may_lack {column}"
            yield Problem(where, f"the schema has no column {column!r}", f"columns: {names}")
    others = source.batch.also_named if source.batch else {}
    for column, other in others.items():
        where = f"{place}, also_named {column}"
        if column not in names or column in source.with_columns:
            yield Problem(where, f"the schema has no column {column!r}", f"columns: {names}")
        if other in names:
            yield Problem(where, f"{other!r} is a column itself", "name what only files call it")
        if other in list(others.values())[: list(others).index(column)]:
            yield Problem(where, f"{other!r} stands for two columns", "leave one of them out")


def _column_name_problems(place: str, names: Iterable[str]) -> Iterator[Problem]:
    names = list(names)
    for name in names:
        if not COLUMN_NAME.fullmatch(name):
            yield Problem(
                f"{place}, column {name}", "is no safe name", "use letters, digits and underscores"
            )
    # Spark does not tell upper from lower case in column names.
    for name, count in Counter(name.lower() for name in names).items():
        if count > 1:
            yield Problem(
                f"{place}, column {name}", f"is there {count} times", "rename all but one"
            )


def _source_column_problems(source: Source, place: str) -> Iterator[Problem]:
    types = all_columns(source)
    listed = ", ".join(types)
    wanted = [("event_timestamp", source.event_timestamp)]
    wanted += [("event_id", name) for name in source.event_id_columns]
    if source.known not in {KNOWN_AT_EVENT, KNOWN_AT_ARRIVAL}:
        wanted.append(("known", source.known))
    for role, name in wanted:
        if name not in types:
            yield Problem(f"{place}, {role}", f"there is no column {name!r}", f"columns: {listed}")
        elif role in {"event_timestamp", "known"} and types[name] != "timestamp":
            yield Problem(
                f"{place}, {role}",
                f"column {name!r} is a {types[name]}",
                'derive a timestamp: with_columns={"at": Derived("timestamp", "...")}',
            )


def _publish_problems(view: FeatureView, place: str) -> Iterator[Problem]:
    if view.publish not in {"batch", "stream"}:
        yield Problem(f"{place}, publish", f"{view.publish!r} is unknown", "use batch or stream")
    if view.publish == "stream" and view.source.stream is None:
        found = f"source {view.source.name} has no stream"
        yield Problem(f"{place}, publish", found, "give the source a stream, or publish in batch")
    if view.topic is not None:
        yield from topic_problems(view.topic, place)


def _view_problems(view: FeatureView) -> Iterator[Problem]:
    place = f"view {view.name}"
    yield from _online_name_problems(place, view.name)
    # Columns that cannot be read were reported with their source.
    types = _try(place, "", partial(all_columns, view.source))[0]
    yield from _join_key_problems(view, place, types or {})
    yield from _publish_problems(view, place)
    declared = list(view.declared())
    if not declared:
        yield Problem(place, "has no features", "give it a Column or an Aggregate with windows")
    for item in view.features:
        if declared and isinstance(item, Aggregate) and not item.windows:
            found = f"{item.function} of {item.column or 'rows'} has no windows"
            yield Problem(place, found, 'give it windows={"name": "7d"}')
    most = MAX_COLUMNS - SYSTEM_COLUMNS - len(view.entity.join_keys)
    if len(declared) > most:
        found = f"has {len(declared)} features; a row of {MAX_COLUMNS} columns holds {most}"
        yield Problem(place, found, "split the view in two and give the service both")
    for name, count in Counter(name for name, *_ in declared).items():
        if count > 1:
            yield Problem(
                f"{place}, feature {name}", f"is there {count} times", "rename all but one"
            )
    for name, column, function, window in declared:
        yield from _feature_problems(view, types, name, column, function, window)
    windows = [window for *_, window in declared if window is not None]
    yield from _time_problems(view, place, windows)


def _join_key_problems(view: FeatureView, place: str, types: dict[str, str]) -> Iterator[Problem]:
    for name, kind in view.entity.join_keys.items() if types else ():
        known = _try(place, "", partial(canonical_type, kind))[0]
        if name not in types:
            yield Problem(
                f"{place}, join key {name}",
                f"source {view.source.name} has no such column",
                f"columns: {', '.join(types)}",
            )
        elif known is not None and known != types[name]:
            yield Problem(
                f"{place}, join key {name}",
                f"is a {kind} in entity {view.entity.name} but a {types[name]} in the source",
                "declare the same type in both",
            )


def _feature_problems(
    view: FeatureView,
    types: dict[str, str] | None,
    name: str,
    column: str | None,
    function: str | None,
    window: str | None,
) -> Iterator[Problem]:
    place = f"view {view.name}, feature {name}"
    yield from _online_name_problems(place, name)
    if name in RESERVED_COLUMNS or name in view.entity.join_keys:
        yield Problem(place, "is the name of a join key or reserved", "choose another")
    kind = None if types is None or column is None else types.get(column)
    if types is not None and column is not None and kind is None:
        yield Problem(
            place,
            f"source {view.source.name} has no column {column!r}",
            f"columns: {', '.join(types)}",
        )
        return
    if kind == "binary":
        yield Problem(place, "reads a binary column", "derive a string: hex(...) or base64(...)")
    if window is None:
        return
    if function not in FUNCTIONS:
        yield Problem(place, f"there is no function {function!r}", f"use {', '.join(FUNCTIONS)}")
    elif column is None and function != "count":
        yield Problem(place, f"{function} needs a column", "name the column to aggregate")
    elif kind is not None and function in NUMERIC_ONLY and not is_numeric(kind):
        yield Problem(place, f"{function} of a {kind}", "aggregate a number, or derive one")


def _time_problems(view: FeatureView, place: str, windows: list[str]) -> Iterator[Problem]:
    read: dict[str, int] = {}
    for role, text in [("window", w) for w in windows] + [("ttl", view.ttl), ("hop", view.hop)]:
        if text is None:
            continue
        hint = "write it as 10m, 1h or 7d"
        length_us, problems = _try(f"{place}, {role}", hint, partial(parse_duration_us, text))
        yield from problems
        if length_us == 0:
            yield Problem(f"{place}, {role}", f"{text!r} is empty", hint)
        if length_us:
            read[text] = length_us
    hop_us = read.get(view.hop or "")
    for window in dict.fromkeys(windows):
        if hop_us and window in read and read[window] % hop_us:
            yield Problem(
                f"{place}, window {window}",
                f"is no whole number of hops of {view.hop}",
                f"make it a multiple of {view.hop}, or change the hop",
            )
    longest = max((read[window] for window in windows if window in read), default=0)
    if view.ttl in read and read[view.ttl] < longest:
        yield Problem(
            f"{place}, ttl {view.ttl}",
            f"is shorter than the longest window, {format_duration(longest)}",
            f"use {format_duration(longest)} or more",
        )
    if view.max_events_per_key is not None and view.max_events_per_key < 1:
        found = f"is {view.max_events_per_key}"
        yield Problem(f"{place}, max_events_per_key", found, "use at least 1, or leave it out")
    if windows and view.hop is None and view.max_events_per_key is None:
        yield Problem(
            place,
            "has windows but neither hop nor max_events_per_key, so its state has no bound",
            'give hop="1d", or max_events_per_key=10_000 for windows exact to the event',
        )
