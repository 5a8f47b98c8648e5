"""On-demand features as they are served: computed from what was read of some keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinlake.errors import InputError
from twinlake.kernel.cells import to_column, to_python
from twinlake.kernel.on_demand import Computation, compute
from twinlake.online.reader import ERROR, NULL, PRESENT, Served


def served(
    computation: Computation,
    rows: Sequence[Mapping[str, Served]],
    requests: Sequence[Mapping[str, Any]],
) -> list[dict[str, Served]]:
    """Compute on-demand features for what was read of some keys.

    Args:
        computation: What to compute.
        rows: Per question, the stored features by name.
        requests: Per question, the request fields by name.

    Returns:
        Per question the features. Where the function fails, the status is ``error``, with the
        reason; a question whose function fails spoils no other.
    """
    inputs = [
        {name: asked[name] if name in asked else row[name].value for name in computation.inputs}
        for row, asked in zip(rows, requests, strict=True)
    ]
    newest = [_newest_us(computation, row) for row in rows]
    try:
        return _computed(computation, inputs, newest)
    except InputError as error:
        if len(inputs) == 1:
            failed = Served(None, ERROR, newest[0], error.message)
            return [dict.fromkeys(computation.outputs, failed)]
    return [
        served(computation, [row], [asked])[0] for row, asked in zip(rows, requests, strict=True)
    ]


def _computed(
    computation: Computation, inputs: Sequence[Mapping[str, Any]], newest: Sequence[int | None]
) -> list[dict[str, Served]]:
    columns = {
        name: to_column([row[name] for row in inputs], kind)
        for name, kind in computation.inputs.items()
    }
    found = compute(computation, columns, len(inputs))
    features = {
        name: to_python(cells.values, cells.valid, kind)
        for (name, kind), cells in zip(computation.outputs.items(), found, strict=True)
    }
    return [
        {
            name: Served(cells[row], NULL if cells[row] is None else PRESENT, newest[row])
            for name, cells in features.items()
        }
        for row in range(len(inputs))
    ]


def _newest_us(computation: Computation, row: Mapping[str, Served]) -> int | None:
    times = [row[name].event_us for name in computation.inputs if name in row]
    return max((time for time in times if time is not None), default=None)
