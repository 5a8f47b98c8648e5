"""On-demand features of a training set: the function called in the workers, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from pyspark.sql import DataFrame

from twinlake.errors import InputError
from twinlake.kernel.events import Column
from twinlake.kernel.on_demand import Computation, compute_checked, first_failing_row
from twinlake.lake import arrays, tables


def add_on_demand(
    frame: DataFrame, computations: Sequence[Computation], named_by: Sequence[str]
) -> DataFrame:
    """Add the features that functions compute from columns of a frame.

    Args:
        frame: Holds every input of every function, each of its type.
        computations: What to compute.
        named_by: The columns that name a row to the user, should its function fail.
    """
    if not computations:
        return frame
    columns = list(frame.dtypes)
    for computation in computations:
        columns += computation.outputs.items()
    schema = ", ".join(f"{tables.quoted(name)} {kind}" for name, kind in columns)

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield _with_features(batch, computations, named_by)

    return frame.mapInArrow(of_part, schema)


def _with_features(
    batch: pa.RecordBatch, computations: Sequence[Computation], named_by: Sequence[str]
) -> pa.RecordBatch:
    names, out = list(batch.schema.names), list(batch.columns)
    for computation in computations:
        columns = {name: _column(batch.column(name), name) for name in computation.inputs}
        try:
            found = compute_checked(computation, columns, batch.num_rows)
        except InputError as error:
            raise _with_row(error, computation, columns, batch, named_by) from error
        for (name, kind), cells in zip(computation.outputs.items(), found, strict=True):
            names.append(name)
            out.append(arrays.arrow_column(cells.values, cells.valid, kind))
    return pa.RecordBatch.from_arrays(out, names)


def _column(array: pa.Array, name: str) -> Column:
    column = arrays.kernel_column(array)
    if column is None:
        raise InputError(f"input {name} is a {array.type}, which no function can take")
    return column


def _with_row(
    error: InputError,
    computation: Computation,
    columns: dict[str, Column],
    batch: pa.RecordBatch,
    named_by: Sequence[str],
) -> InputError:
    """Say for which row a function failed, where it fails for one alone."""
    found = first_failing_row(computation, columns, batch.num_rows)
    row, cause = (0, error) if found is None else found
    told = ", ".join(f"{name}={batch.column(name)[row].as_py()}" for name in named_by)
    which = f"at {told}" if found else f"on {batch.num_rows:,} rows from {told}"
    return InputError(f"{cause.message} ({which})", hint=cause.hint)
