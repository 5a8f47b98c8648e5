"""On-demand features of a service: which functions may run, and what they give when served."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from twinlake.definitions.fingerprints import on_demand_fingerprint
from twinlake.definitions.services import FeatureService
from twinlake.definitions.types import FLOAT_TYPES, INTEGER_BITS, decimal_scale, is_decimal
from twinlake.errors import InputError
from twinlake.flows.project import Project
from twinlake.kernel.cells import to_column, to_python
from twinlake.kernel.on_demand import Computation, compute
from twinlake.online.reader import ERROR, NULL, PRESENT, Served


def computations(project: Project, service: FeatureService) -> list[Computation]:
    """Give the functions of an applied service, as features.py defines them.

    The registry holds what a function does as text, and never runs it: the function itself comes
    from features.py, and must be the one that was applied.

    Raises:
        InputError: features.py defines another function, or none, by that name.
    """
    found = []
    for applied in service.on_demand():
        defined = project.definitions.on_demand.get(applied.name)
        if defined is None or on_demand_fingerprint(defined) != on_demand_fingerprint(applied):
            what = "is not in features.py" if defined is None else "differs from what was applied"
            raise InputError(
                f"on-demand view {applied.name} {what}; service {service.name} takes it",
                hint="run `twinlake apply` first; `twinlake plan` shows what changes",
            )
        found.append(Computation.of(defined))
    return found


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


def request_value(name: str, value: Any, kind: str) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a request field the type it is declared with, losing nothing; None stays None.

    Raises:
        InputError: The value does not say a value of that type.
    """
    if value is None:
        return None
    if not isinstance(value, str | bytes) and hasattr(value, "item"):
        value = value.item()  # of numpy
    read = _of_kind(value, kind)
    if read is None:
        raise InputError(f"{name}={value!r} is no {kind}", hint=f"give a {kind}")
    return read


def _of_kind(value: Any, kind: str) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a value as its type; None where it does not fit."""
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if kind in FLOAT_TYPES and is_number:
        double = float(value)
        exact = isinstance(value, float | Decimal) or int(double) == value
        return double if exact and math.isfinite(double) else None
    if kind in INTEGER_BITS and is_number and value == value // 1:
        half = 1 << INTEGER_BITS[kind] - 1
        return int(value) if -half <= value < half else None
    if is_decimal(kind) and is_number:
        return _decimal(value, kind)
    if kind == "timestamp" and isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if kind == "date" and isinstance(value, date) and not isinstance(value, datetime):
        return value
    wanted = {"boolean": bool, "string": str}.get(kind)
    return value if wanted and isinstance(value, wanted) else None


def _decimal(value: float | Decimal, kind: str) -> Decimal | None:
    """Read a decimal; a float stands for the shortest number that is written like it."""
    precision, scale = int(kind[8:].split(",", maxsplit=1)[0]), decimal_scale(kind)
    try:
        read = value if isinstance(value, Decimal) else Decimal(str(value))
        units = int(read.scaleb(scale))
        exact = Decimal(units).scaleb(-scale)
    except (InvalidOperation, OverflowError, ValueError):
        return None
    return exact if exact == read and abs(units) < 10**precision else None
