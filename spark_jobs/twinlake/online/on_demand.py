"""On-demand features as they are served: computed from what was read of some keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinlake.errors import InputError
from twinlake.kernel.cells import to_column, to_python
from twinlake.kernel.on_demand import Computation, compute
from twinlake.online.reader import ERROR, NULL, PRESENT, Served


def served(
    computation: Computation, inputs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Served]]:
    """Compute on-demand features for what was read of some keys.

    Args:
        computation: What to compute.
        inputs: Per question, the stored features and request fields that it takes, by name.

    Returns:
        Per question the features, without a time. Where the function fails, the status is
        ``error``, with the reason; a question whose function fails spoils no other.
    """
    try:
        return _computed(computation, inputs)
    except InputError as error:
        if len(inputs) == 1:
            return [dict.fromkeys(computation.outputs, Served(None, ERROR, None, error.message))]
    return [served(computation, [one])[0] for one in inputs]


def _computed(
    computation: Computation, inputs: Sequence[Mapping[str, Any]]
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
            name: Served(cells[row], NULL if cells[row] is None else PRESENT, None)
            for name, cells in features.items()
        }
        for row in range(len(inputs))
    ]
