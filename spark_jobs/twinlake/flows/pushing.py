"""Push rows into a source, and replay its quarantine: by its stream if one runs, else by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import json

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.errors import InputError, StateError
from twinlake.flows.project import Project
from twinlake.flows.requests import PUSH, REPLAY, ask_stream, by_stream_or
from twinlake.flows.stream_lander import SourceLander
from twinlake.flows.stream_requests import handle
from twinlake.lake import quarantine, tables
from twinlake.lake.arrow_types import arrow_type
from twinlake.registry.inbox import Inbox

_OWN = "a push or a replay"


def push(
    project: Project, source_name: str, rows: pa.Table | Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Land rows in a source and publish what they change in its views that a stream publishes.

    Args:
        project: The project.
        source_name: The source.
        rows: Its columns by name; what is left out is null.

    Returns:
        ``read``, ``accepted``, ``duplicate``, ``quarantined`` and ``erased``.

    Raises:
        InputError: There is no such source, or a column that it does not have or of another type.
    """
    source = _source(project, source_name)
    table = _typed(source, rows)
    inbox = Inbox(project.settings.state, source.name)
    request = inbox.new(PUSH, {}, project.now_us())
    pq.write_table(table, request.rows)
    try:
        return by_stream_or(
            project,
            source.name,
            lambda: _by_itself(project, source, request),
            lambda: ask_stream(project, source.name, request),
        )
    finally:
        request.rows.unlink(missing_ok=True)


def rows_of(file: Path, source: Source) -> pa.Table:
    """Read a file of rows to push.

    Raises:
        InputError: It is not there, or neither Parquet nor JSON with an object per line.
    """
    schema = pa.schema([(n, arrow_type(kind)) for n, kind in raw_columns(source).items()])
    try:
        if file.suffix == ".parquet":
            return pq.read_table(file)
        options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
        return json.read_json(file, parse_options=options)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"cannot read {file}: {str(error).splitlines()[0]}",
            hint="give a Parquet file, or JSON with an object per line, with the source's columns",
        ) from error


def replay(project: Project, source_name: str) -> Mapping[str, Any]:
    """Land the quarantined rows of a source that pass its gate now.

    Returns:
        ``read``, ``accepted``, ``duplicate``, ``quarantined``, ``erased``, and
        ``refused``: rows that are left.
    """
    source = _source(project, source_name)
    inbox = Inbox(project.settings.state, source.name)
    request = inbox.new(REPLAY, {}, project.now_us())
    return by_stream_or(
        project,
        source.name,
        lambda: _by_itself(project, source, request),
        lambda: ask_stream(project, source.name, request),
    )


def list_quarantined(
    project: Project, source_name: str, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Give quarantined rows that no replay took out, newest first, and how many there are."""
    source = _source(project, source_name)
    path = project.places.events(source.name)
    if not tables.exists(path):
        raise StateError.nothing_landed(source.name)
    return quarantine.listed(project.spark, path, limit)


def _by_itself(project: Project, source: Source, request: Any) -> Mapping[str, Any]:  # noqa: ANN401
    views = [
        view
        for view in project.applied().definitions.views.values()
        if view.source.name == source.name and view.publish == "stream"
    ]
    lander = SourceLander(project, source, views, _OWN)
    try:
        return handle(lander, request)
    finally:
        lander.close()


def _source(project: Project, name: str) -> Source:
    sources = project.applied().definitions.sources
    if name not in sources:
        raise InputError.unknown("source", name, sources)
    return sources[name]


def _typed(source: Source, rows: pa.Table | Sequence[Mapping[str, Any]]) -> pa.Table:
    """Give rows the source's types."""
    columns = raw_columns(source)
    schema = pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])
    if isinstance(rows, pa.Table):
        unknown = sorted(set(rows.column_names) - set(columns))
        there = {name: rows.column(name) for name in columns if name in rows.column_names}
    else:
        unknown = sorted({name for row in rows for name in row} - set(columns))
        there = {name: [row.get(name) for row in rows] for name in columns}
    if unknown:
        raise InputError.unknown("column", unknown[0], columns)
    count = rows.num_rows if isinstance(rows, pa.Table) else len(rows)
    made = [_cells(source, field, there.get(field.name, pa.nulls(count))) for field in schema]
    return pa.Table.from_arrays(made, schema=schema)


def _cells(source: Source, field: pa.Field, values: Any) -> pa.Array:  # noqa: ANN401 (any cells)
    try:
        if isinstance(values, pa.ChunkedArray | pa.Array):
            return values.cast(field.type)
        return pa.array(values, field.type)
    except (pa.ArrowException, TypeError) as error:
        raise InputError(
            f"source {source.name}, column {field.name}: no {raw_columns(source)[field.name]}: "
            f"{str(error).splitlines()[0]}",
            hint="give values of that type",
        ) from error
