"""The rules in a few lines of plain Python: slow, obvious, and sharing nothing with the kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Row:
    key: int
    event_us: int
    known_us: int
    tie: int
    cells: dict[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[int, int, int]:
        return (self.event_us, self.known_us, self.tie)


def rounded(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def visible(rows: list[Row], key: int, t: int, k: int) -> list[Row]:
    mine = [r for r in rows if r.key == key and r.event_us <= t and r.known_us <= k]
    return sorted(mine, key=lambda r: r.rank)


def tail(t: int, window_us: int, hop_us: int | None) -> int:
    return t - window_us if hop_us is None else math.floor(Fraction(t - window_us, hop_us)) * hop_us


def in_window(rows: Any, key: Any, t: Any, k: Any, window_us: Any, hop_us: Any) -> list[Row]:
    seen = visible(rows, key, t, k)
    if window_us is None:
        return seen
    return [r for r in seen if r.event_us > tail(t, window_us, hop_us)]


def aggregate(function: str, column: str | None, held: list[Row], scale10: int | None) -> Any:
    """``scale10`` is None for a float or text column, 0 for int64, more for a decimal."""
    if column is None:
        return len(held)
    cells = [r.cells[column] for r in held]
    if function in ("first", "last"):
        return cells[0 if function == "first" else -1] if cells else None
    there = [cell for cell in cells if cell is not None]
    if function == "count":
        return len(there)
    if not there or (function == "stddev" and len(there) < 2):
        return None
    if function in ("min", "max"):
        return (min if function == "min" else max)(there)
    unit = Fraction(1, 10 ** (scale10 or 0))
    exact = [Fraction(cell) * unit for cell in there]
    n, s = len(exact), sum(exact, Fraction(0))
    if function == "sum":
        return int(s) if scale10 == 0 else rounded(s)
    if function == "mean":
        return rounded(s) / n
    spread = rounded(n * sum((x * x for x in exact), Fraction(0)) - s * s)
    return math.sqrt(spread / (n * (n - 1)))


def picture(rows: Any, key: Any, t: Any, windows: Any, hop_us: Any, ttl_us: Any) -> Any:
    """Everything about a key that can change by itself."""
    seen = visible(rows, key, t, t)
    windows_hold = [[r.rank for r in in_window(rows, key, t, t, w, hop_us)] for w in windows]
    is_expired = bool(seen) and ttl_us is not None and t - seen[-1].event_us > ttl_us
    return windows_hold, seen[-1].rank if seen else None, is_expired
