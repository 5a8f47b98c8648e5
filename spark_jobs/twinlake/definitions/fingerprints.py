"""Fingerprints: they change when, and only when, the meaning of a definition changes.

A fingerprint is the start of the SHA-256 of a canonical JSON document. The document leaves out what
does not change a value: descriptions, owners, paths, the order of features, how a duration or a
type was spelled, white space in SQL, and by which job a view is published.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.resolution import (
    all_columns,
    on_demand_inputs,
    on_demand_outputs,
    raw_columns,
    view_features,
)
from twinlake.definitions.services import FeatureService
from twinlake.definitions.sources import Source
from twinlake.definitions.types import canonical_type
from twinlake.definitions.views import AliasedView, FeatureView

# 128 bits; written as 32 hexadecimal digits, of which table names carry the first 8.
FINGERPRINT_DIGITS = 32
SHORT_DIGITS = 8
_QUOTED = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`)""")


def _digest(document: Any) -> str:  # noqa: ANN401 (any JSON document)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def normal_sql(sql: str) -> str:
    r"""Fold white space outside quotes, where it has no meaning.

    Examples:
        >>> normal_sql("date_add( day,\n 1)") == normal_sql("date_add( day, 1)")
        True
        >>> normal_sql("x = 'a  b'")
        "x = 'a  b'"
    """
    parts = _QUOTED.split(sql.strip())
    return "".join(
        part if index % 2 else re.sub(r"\s+", " ", part) for index, part in enumerate(parts)
    )


def source_meaning(source: Source) -> dict[str, Any]:
    """Give what decides how a row is landed and which verdict it gets."""
    return {
        "name": source.name,
        "schema": raw_columns(source),
        "derived": {
            name: [canonical_type(column.type), normal_sql(column.sql)]
            for name, column in source.with_columns.items()
        },
        "event_timestamp": source.event_timestamp,
        "event_id": sorted(source.event_id_columns),
        "known": source.known,
        "max_ahead": source.max_ahead,
        # Those on batches decide whether a batch lands, not what becomes of its rows.
        "expectations": sorted(str(expectation) for expectation in source.row_expectations),
    }


def source_fingerprint(source: Source) -> str:
    """Fingerprint what decides how a source's rows are landed."""
    return _digest(source_meaning(source))


def view_meaning(view: FeatureView) -> dict[str, Any]:
    """Give what decides the values of a view; expectations decide verdicts, not values."""
    columns = all_columns(view.source)
    used = {feature.column for feature in view_features(view) if feature.column}
    source = view.source
    derived = {
        name: [canonical_type(column.type), normal_sql(column.sql)]
        for name, column in source.with_columns.items()
        if source.where
        or name in with_mentioned(source, used | {source.event_timestamp, source.known})
    }
    return {
        "join_keys": [[name, canonical_type(kind)] for name, kind in view.entity.join_keys.items()],
        "source": view.source.name,
        "event_timestamp": view.source.event_timestamp,
        "known": view.source.known,
        "where": normal_sql(view.source.where) if view.source.where else None,
        "derived": derived,
        "columns": {name: columns[name] for name in sorted(used)},
        "ttl_us": view.ttl_us,
        "hop_us": view.hop_us,
        "max_events_per_key": view.max_events_per_key,
        "features": sorted(
            [feature.name, feature.type, feature.column, feature.function, feature.window_us]
            for feature in view_features(view)
        ),
    }


def with_mentioned(source: Source, names: set[str]) -> set[str]:
    """Add the derived columns whose names stand in the SQL of others: Spark lets them be used."""
    found, unseen = set(names), list(names)
    while unseen:
        column = source.with_columns.get(unseen.pop())
        words = set(re.findall(r"\w+", column.sql.lower())) if column else set()
        mentioned = {name for name in source.with_columns if name.lower() in words} - found
        found |= mentioned
        unseen += mentioned
    return found


def view_fingerprint(view: FeatureView) -> str:
    """Fingerprint what decides the values of a view."""
    return _digest(view_meaning(view.stored))


def service_fingerprint(service: FeatureService) -> str:
    """Fingerprint what decides a service's vectors: its features in order, and their meaning."""
    return _digest([[*_meanings(view), view.name, list(names)] for view, names in service.parts()])


def _meanings(view: FeatureView | OnDemandView) -> list[str]:
    """What decides the values of a view: an on-demand one's inputs count as well."""
    if not isinstance(view, OnDemandView):
        return _joined_meaning(view)
    read = [meaning for view, _ in view.reads() for meaning in _joined_meaning(view)]
    return [on_demand_fingerprint(view), *read]


def _joined_meaning(view: FeatureView) -> list[str]:
    """What decides which values of a view come to a question: by which of its columns too."""
    meaning = [view_fingerprint(view)]
    if isinstance(view, AliasedView):
        meaning += [view.name, *view.entity.join_keys]
    return meaning


def on_demand_meaning(view: OnDemandView) -> dict[str, Any]:
    """Give what an on-demand view makes of its inputs; how those came to be is their meaning."""
    return {
        "inputs": sorted([name, kind] for name, kind in on_demand_inputs(view).items()),
        "outputs": sorted([name, kind] for name, kind in on_demand_outputs(view).items()),
        "function": [view.function.name, dict(view.function.code)],
        "nulls": view.nulls,
    }


def on_demand_fingerprint(view: OnDemandView) -> str:
    """Fingerprint what an on-demand view makes of its inputs."""
    return _digest(on_demand_meaning(view))
