"""Features by their definition: a list of rows, fractions, and no regard for speed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from twinlake.definitions.views import Feature


@dataclass(frozen=True)
class Happened:
    """One event of one key."""

    event_us: int
    known_us: int
    tie: int
    cells: dict[str, Any]


def visible(rows: list[Happened], as_of_us: int, known_by_us: int) -> list[Happened]:
    """Law 1, in the order of law 2."""
    seen = [row for row in rows if row.event_us <= as_of_us and row.known_us <= known_by_us]
    return sorted(seen, key=lambda row: (row.event_us, row.known_us, row.tie))


OVER = "there is a value, but it cannot be given"


def value(
    feature: Feature,
    seen: list[Happened],
    as_of_us: int,
    hop_us: int | None,
    most_rows: int | None = None,
) -> Any:
    """A feature of the visible rows of a key that has some."""
    if feature.window_us is None:
        return seen[-1].cells[str(feature.column)]
    tail = as_of_us - feature.window_us
    if hop_us is not None:
        tail -= tail % hop_us
    held = [row for row in seen if row.event_us > tail]
    if most_rows is not None and len(held) > most_rows:
        return OVER
    if feature.column is None:
        return len(held)
    cells = [row.cells[feature.column] for row in held]
    if feature.function in {"first", "last"}:
        return (cells[0] if feature.function == "first" else cells[-1]) if cells else None
    return aggregate(str(feature.function), [cell for cell in cells if cell is not None])


def aggregate(function: str, cells: list[Any]) -> Any:
    """An aggregate of the cells that are there."""
    if function == "count":
        return len(cells)
    if len(cells) < (2 if function == "stddev" else 1):
        return None
    if function in {"min", "max"}:
        return min(cells) if function == "min" else max(cells)
    exact = [Fraction(cell) for cell in cells]
    total, count = sum(exact, Fraction()), len(exact)
    if function == "sum":
        if not isinstance(cells[0], int):
            return rounded(total)
        return int(total) if -(2**63) <= total < 2**63 else OVER
    if function == "mean":
        return rounded(total) / count
    spread = rounded(count * sum((x * x for x in exact), Fraction()) - total * total)
    return math.sqrt(spread / (count * (count - 1)))


def rounded(exact: Fraction) -> float:
    """The nearest double; infinite where none is near."""
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
