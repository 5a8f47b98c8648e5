"""A view's values as of many moments, from events in Arrow to vectors in Arrow. Runs in workers.

The one place where batch, training and publication meet the kernel, so that they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinlake.kernel.aggregates import compute
from twinlake.kernel.asof import Lookup, expired, newest
from twinlake.kernel.events import Events, Queries
from twinlake.kernel.exact import BoolArray
from twinlake.kernel.views import EXPIRED, MISSING, NOT_YET_KNOWN, PRESENT, ViewShape
from twinlake.lake.arrays import chunk, measured_column, take

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Vectors:
    """Values as of some moments.

    Attributes:
        columns: One Arrow array per feature, in order.
        status: Code of each row's status.
        event_us: Event timestamp of each row's newest visible event; 0 where there is none.
        overflow: Per feature, which rows have a value that cannot be given; None: none.
    """

    columns: list[pa.Array]
    status: npt.NDArray[np.int8]
    event_us: IntArray
    overflow: list[BoolArray | None]


def vectors(
    events: Events, rows: pa.Table, queries: Queries, shape: ViewShape, prefix: str
) -> Vectors:
    """Compute a view's values as of some moments.

    Args:
        events: The events, sorted.
        rows: The same rows in the same order, for cells of types that the kernel does not hold.
        queries: The moments.
        shape: The view.
        prefix: What stands before a column's name in ``rows``.
    """
    lookup = Lookup(events)
    newest_row, not_yet_known = newest(lookup, queries)
    status = np.where(newest_row < 0, MISSING, PRESENT).astype(np.int8)
    status[not_yet_known] = NOT_YET_KNOWN
    status[expired(events, newest_row, queries.as_of_us, shape.ttl_us)] = EXPIRED
    measured = compute(lookup, queries, shape.measures, shape.hop_us, shape.most_rows)
    columns = []
    for feature, answers in zip(shape.features, measured, strict=True):
        cells = None if feature.column is None else chunk(rows, prefix + feature.column)
        columns.append(_where_present(measured_column(answers, cells, feature.type), status))
    event_us = np.zeros(len(queries), np.int64)
    if len(events):
        event_us = np.where(newest_row < 0, 0, events.event_us[newest_row])
    is_present = status == PRESENT
    overflow = [None if m.overflow is None else m.overflow & is_present for m in measured]
    return Vectors(columns, status, event_us, overflow)


def _where_present(array: pa.Array, status: npt.NDArray[np.int8]) -> pa.Array:
    """Leave values only where the row is present: an expired key has no count of 0 either."""
    absent = status != PRESENT
    if not absent.any():
        return array
    rows = np.arange(len(array), dtype=np.int64)
    return take(array, np.where(absent, -1, rows))
