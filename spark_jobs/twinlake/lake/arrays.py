"""Between Arrow, which Spark speaks, and the kernel's numpy arrays. Runs in Spark's workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.definitions.types import decimal_scale, is_decimal
from twinlake.kernel.events import Column, Events, NumericColumn, TextColumn, sort_order
from twinlake.kernel.measures import Measured
from twinlake.lake.arrow_types import arrow_type

IntArray = npt.NDArray[np.int64]

_FLOATS = {pa.float32(), pa.float64()}


def gather(batches: Iterable[pa.RecordBatch]) -> pa.Table | None:
    """Gather a part's batches into one table of whole columns; None for an empty part."""
    kept = [batch for batch in batches if batch.num_rows]
    return pa.Table.from_batches(kept).combine_chunks() if kept else None


def chunk(table: pa.Table, name: str) -> pa.Array:
    """Give a column of a gathered table as one array."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def integers(table: pa.Table, name: str) -> IntArray:
    """Give a column of integers without nulls."""
    values: IntArray = (
        chunk(table, name).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    )
    return values


def key_codes(table: pa.Table, keys: Sequence[str]) -> tuple[IntArray, int]:
    """Number the distinct keys of a table.

    Returns:
        The code of each row's key, 0..K-1, and K.
    """
    codes = np.zeros(table.num_rows, np.int64)
    count = 1
    for name in keys:
        # A null is a key of its own here; it meets no event, because those never have one.
        encoded = chunk(table, name).dictionary_encode(null_encoding="encode")
        size = max(len(encoded.dictionary), 1)
        part = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        if count == 1:
            codes, count = part, size
        else:
            # Renumber after each column, so that the product of sizes never overflows.
            distinct, codes = np.unique(codes * size + part, return_inverse=True)
            count = len(distinct)
    return codes, count


def kernel_column(array: pa.Array) -> Column | None:
    """Give a column as the kernel takes it; None for types that it does not compute with."""
    kind = array.type
    valid = np.ones(len(array), np.bool_)
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_string(kind):
        return TextColumn(array.fill_null("").to_numpy(zero_copy_only=False).astype(object), valid)
    if kind in _FLOATS:
        values = array.fill_null(0.0).to_numpy(zero_copy_only=False)
        return NumericColumn(values.astype(np.float64, copy=False), valid)
    if pa.types.is_decimal(kind):
        return NumericColumn(_scaled(array, valid), valid, kind.scale)
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    elif pa.types.is_date(kind):
        array = array.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        array = array.cast(pa.int64())
    elif not pa.types.is_integer(kind):
        return None
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return NumericColumn(values.astype(np.int64, copy=False), valid)


def _scaled(array: pa.Array, valid: npt.NDArray[np.bool_]) -> IntArray:
    """Read decimals of at most 18 digits as scaled integers: the low half of their 128 bits."""
    halves = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)
    low: IntArray = halves[array.offset : array.offset + len(array), 0]
    return np.where(valid, low, 0)


def arrow_column(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], type_name: str
) -> pa.Array:
    """Give kernel values as an Arrow array of a Spark SQL type."""
    kind = arrow_type(type_name)
    mask = None if valid.all() else ~valid
    if is_decimal(type_name):
        unit = decimal_scale(type_name)
        wide = pa.array(values, pa.int64(), mask=mask).cast(pa.decimal128(19, 0))
        # Reading the same 128 bits with another scale is what "scaled integer" means.
        shifted = pa.Array.from_buffers(pa.decimal128(19, unit), len(wide), wide.buffers())
        return shifted.cast(kind)
    if pa.types.is_boolean(kind):
        return pa.array(values.astype(np.bool_), kind, mask=mask)
    if pa.types.is_date(kind):
        return pa.array(values.astype(np.int32), pa.int32(), mask=mask).cast(kind)
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64(), mask=mask).cast(kind)
    if pa.types.is_string(kind):
        return pa.array(values, kind, mask=mask)
    return pa.array(values, mask=mask).cast(kind)


def measured_column(measured: Measured, cells: pa.Array | None, type_name: str) -> pa.Array:
    """Give the answers to one measure as an Arrow array of the feature's type.

    Args:
        measured: The answers.
        cells: The column that first and last read, in the order of the events.
        type_name: The feature's type.
    """
    if measured.row is not None and cells is not None:
        return take(cells, measured.row)
    if measured.values is None:
        raise ValueError(f"no values for a {type_name}")
    return arrow_column(measured.values, measured.valid, type_name)


def take(cells: pa.Array, rows: IntArray) -> pa.Array:
    """Take cells by row; a row of -1 gives null."""
    return cells.take(pa.array(rows, mask=rows < 0))


def instants(values_us: IntArray) -> pa.Array:
    """Give microseconds since the epoch as timestamps."""
    return pa.array(values_us, pa.int64()).cast(pa.timestamp("us", "UTC"))


def sorted_events(
    table: pa.Table, codes: IntArray, key_count: int, columns: Mapping[str, str]
) -> tuple[Events, pa.Table]:
    """Sort a table's rows by law 2 and give them to the kernel.

    Args:
        table: Columns ``event_us``, ``known_us``, ``hash_a``, ``hash_b`` and those of ``columns``.
        codes: The code of each row's key.
        key_count: How many codes there are.
        columns: Kernel name to column of the table.

    Returns:
        The events, and the table in their order.
    """
    order = sort_order(
        codes,
        integers(table, "event_us"),
        integers(table, "known_us"),
        integers(table, "hash_a"),
        integers(table, "hash_b"),
    )
    # Rows often come in order already, and taking all columns costs more than looking.
    if not np.array_equal(order, np.arange(len(order))):
        table = table.take(pa.array(order)).combine_chunks()
        codes = codes[order]
    held = {name: kernel_column(chunk(table, column)) for name, column in columns.items()}
    events = Events(
        key_count,
        codes,
        integers(table, "event_us"),
        integers(table, "known_us"),
        {name: column for name, column in held.items() if column is not None},
    )
    return events, table


def status_names(codes: npt.NDArray[np.int8], names: Sequence[str]) -> pa.Array:
    """Give codes as the names that they stand for."""
    return pc.take(pa.array(names), pa.array(codes))
