"""Rows of Delta tables without Spark: bounded samples, and what they are distributed like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twinlake.errors import StateError

SAMPLE_ROWS = 5_000
# Quarantined rows that are looked at; a page shows the newest of them.
QUARANTINED_ROWS = 2_000
_BARS = 16
_VALUES = 8


@dataclass(frozen=True)
class Bar:
    """One bar of a distribution.

    Attributes:
        label: The value, or the range of values.
        count: How many rows have it.
        share: Of the longest bar, from 0 to 1.
    """

    label: str
    count: int
    share: float


@dataclass(frozen=True)
class Distribution:
    """What the values of a column are like, in a sample.

    Attributes:
        rows: Rows of the sample.
        nulls: How many of them are null.
        bars: Ranges of numbers in order, or the most frequent texts.
        is_numeric: Whether they are ranges.
        low, high: The least and the greatest number.
        others: Rows with other texts than those shown.
    """

    rows: int
    nulls: int
    bars: Sequence[Bar]
    is_numeric: bool
    low: str = ""
    high: str = ""
    others: int = 0


def read_rows(
    path: Path,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
    most: int = SAMPLE_ROWS,
) -> pa.Table:
    """Read at most so many rows of a Delta table's newest version, whichever come first.

    Raises:
        StateError: There is no such table, or it cannot be read.
    """
    from deltalake import DeltaTable  # most of a second, which not every page should wait for
    from deltalake.exceptions import DeltaError

    if not (path / "_delta_log").is_dir():
        raise StateError(f"there is no table at {path}", hint="run `twinlake materialize` first")
    try:
        rows = DeltaTable(str(path)).to_pyarrow_dataset()
        held = None if columns is None else [name for name in columns if name in rows.schema.names]
        return rows.head(most, columns=held, filter=where)
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise StateError(
            f"the table at {path} cannot be read: {error}",
            hint="look at it with `twinlake doctor --lake`",
        ) from error


def distributions(table: pa.Table, names: Sequence[str]) -> dict[str, Distribution]:
    """Describe the columns of a sample."""
    return {name: _distribution(table[name]) for name in names if name in table.column_names}


def _distribution(column: pa.ChunkedArray) -> Distribution:
    kind = column.type
    if pa.types.is_decimal(kind) or pa.types.is_boolean(kind):
        column = (
            column.cast(pa.float64()) if pa.types.is_decimal(kind) else column.cast(pa.string())
        )
        kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _of_numbers(column)
    return _of_values(column)


def _of_numbers(column: pa.ChunkedArray) -> Distribution:
    import numpy as np

    values = column.drop_null().to_numpy().astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return Distribution(len(column), column.null_count, (), is_numeric=True)
    distinct = len(np.unique(values[:SAMPLE_ROWS]))
    counts, edges = np.histogram(values, bins=min(_BARS, max(distinct, 1)))
    longest = max(counts)
    bars = [
        Bar(f"{_number(low)} to {_number(high)}", int(count), float(count / longest))
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]
    low, high = _number(float(values.min())), _number(float(values.max()))
    return Distribution(len(column), column.null_count, bars, is_numeric=True, low=low, high=high)


def _of_values(column: pa.ChunkedArray) -> Distribution:
    counted = Counter(str(cell)[:80] for cell in column.drop_null().to_pylist())
    shown = counted.most_common(_VALUES)
    longest = shown[0][1] if shown else 1
    bars = [Bar(label, count, count / longest) for label, count in shown]
    others = counted.total() - sum(count for _, count in shown)
    return Distribution(len(column), column.null_count, bars, is_numeric=False, others=others)


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 10**15:
        return f"{int(value):,}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 6)}f}"


def quarantined(path: Path, most_shown: int) -> tuple[list[dict[str, Any]], int, bool]:
    """Give the quarantined rows that no later row replays.

    Returns:
        The newest of them, how many there are, and whether that is only how many were looked at.

    Raises:
        StateError: As ``read_rows``.
    """
    verdict = pc.field("_verdict") == "quarantined"
    rows = read_rows(path, where=verdict, most=QUARANTINED_ROWS)
    replayed = read_rows(
        path, ["_replay_of"], pc.field("_replay_of").is_valid(), most=QUARANTINED_ROWS
    )
    done = set(replayed["_replay_of"].to_pylist()) if "_replay_of" in replayed.column_names else ()
    waiting = [row for row in rows.to_pylist() if f"{row['_version']}/{row['_row']}" not in done]
    waiting.sort(key=lambda row: (-row["_version"], row["_row"]))
    is_bounded = rows.num_rows == QUARANTINED_ROWS
    return waiting[:most_shown], len(waiting), is_bounded
