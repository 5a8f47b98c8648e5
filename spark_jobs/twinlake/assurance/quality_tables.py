"""The tables that quality windows are given as."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from twinlake.assurance.quality_rows import NO_VERSION

_TIME = pa.timestamp("us", "UTC")
COUNTS = pa.schema(
    {
        "window_start": _TIME,
        "window_end": _TIME,
        "model_version": pa.int64(),
        "label": pa.string(),
        "predicted": pa.string(),
        "count": pa.int64(),
    }
)
METRICS = pa.schema(
    {
        "window_start": _TIME,
        "window_end": _TIME,
        "model_version": pa.int64(),
        "metric": pa.string(),
        "of": pa.string(),
        "value": pa.float64(),
        "records": pa.int64(),
    }
)
RUNNING = pa.schema(
    {
        "label": pa.string(),
        "predicted": pa.string(),
        "correct": pa.bool_(),
        "records": pa.int64(),
    }
)
UNKNOWN = pa.schema(
    {"event_timestamp": _TIME, "id": pa.string(), "label": pa.string(), "message": pa.string()}
)
# Window start, model version, label, predicted, count.
CountRow = tuple[int, int, str, str, int]
# Window start, model version, metric, of, value, records.
MetricRow = tuple[int, int, str, str | None, float, int]


def count_table(rows: Iterable[CountRow], width_us: int) -> pa.Table:
    """Lay out counts, sorted."""
    return _table(COUNTS, [_with_end(row, width_us) for row in sorted(rows)])


def metric_table(rows: Iterable[MetricRow], width_us: int) -> pa.Table:
    """Lay out metrics, sorted; what is of nothing stands first."""
    ordered = sorted(rows, key=lambda row: (*row[:3], row[3] or ""))
    return _table(METRICS, [_with_end(row, width_us) for row in ordered])


def running_table(rows: Iterable[tuple[str, str, bool, int]]) -> pa.Table:
    """Lay out the running table, sorted."""
    return _table(RUNNING, sorted(rows))


def unknown_table(rows: Iterable[tuple[int, str, str, str]]) -> pa.Table:
    """Lay out labels that no prediction came for."""
    return _table(UNKNOWN, list(rows))


def _with_end(row: tuple[Any, ...], width_us: int) -> tuple[Any, ...]:
    start, version, *others = row
    return (start, start + width_us, None if version == NO_VERSION else version, *others)


def _table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [
        pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)
    ]
    return pa.table(arrays, schema=schema)
