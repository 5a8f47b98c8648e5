"""Spark SQL types as Arrow types."""

from __future__ import annotations

import pyarrow as pa

from twinlake.definitions.types import is_decimal

_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "binary": pa.binary(),
    # Of twinlake's own tables.
    "array<string>": pa.list_(pa.string()),
    "array<double>": pa.list_(pa.float64()),
}


def arrow_type(type_name: str) -> pa.DataType:
    """Give the Arrow type of a Spark SQL type."""
    if is_decimal(type_name):
        precision, scale = type_name[8:-1].split(",")
        return pa.decimal128(int(precision), int(scale))
    return _ARROW_TYPES[type_name]
