"""Spines that come from memory: each kept as a file, so that a receipt names what can be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.errors import InputError
from twinlake.models.content import content_hash

Spine = Any  # a path, a pandas DataFrame or an Arrow table; neither library has types of its own


def spine_file(spine: Spine, folder: Path) -> Path:
    """Give the file of a spine; one from memory is written into a folder, named by its content.

    Raises:
        InputError: It is no spine, or cannot be kept as it is.
    """
    if isinstance(spine, str | os.PathLike):
        return Path(spine)
    table = spine if isinstance(spine, pa.Table) else _arrow_table(spine)
    try:
        table = table.cast(pa.schema([_in_microseconds(field) for field in table.schema]))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"the spine holds times that are no whole microseconds: {error}",
            hint="round them, such as with .dt.floor('us')",
        ) from error
    name = content_hash(table.to_batches(), table.column_names)
    file = folder / f"{name}.parquet"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        pq.write_table(table, part)
        part.replace(file)
    return file


def _arrow_table(frame: Any) -> pa.Table:  # noqa: ANN401 (pandas has no types)
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (AttributeError, TypeError, pa.ArrowInvalid) as error:
        raise InputError(
            f"a {type(frame).__name__} is no spine: {error}",
            hint="give a path, a pandas DataFrame or an Arrow table",
        ) from error


def _in_microseconds(field: pa.Field) -> pa.Field:
    if not pa.types.is_timestamp(field.type):
        return field
    return field.with_type(pa.timestamp("us", field.type.tz))
