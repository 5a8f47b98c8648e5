"""The laws in a few lines of plain Python: slow, obvious, sharing nothing with the product."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Event:
    key: tuple[Any, ...]
    event_us: int
    known_us: int
    tie: tuple[int, int]
    cells: dict[str, Any]


@dataclass(frozen=True)
class Feature:
    """A plain column where there is no function."""

    name: str
    column: str | None
    function: str | None = None
    window_us: int = 0


@dataclass(frozen=True)
class View:
    features: Sequence[Feature]
    hop_us: int | None = None
    ttl_us: int | None = None


def visible(events: Sequence[Event], t: int, k: int) -> list[Event]:
    seen = [e for e in events if e.event_us <= t and e.known_us <= k]
    return sorted(seen, key=lambda e: (e.event_us, e.known_us, e.tie))


def status(events: Sequence[Event], t: int, k: int, view: View) -> str:
    seen = visible(events, t, k)
    if not seen:
        return "not_yet_known" if any(e.event_us <= t for e in events) else "missing"
    if view.ttl_us is not None and t - seen[-1].event_us > view.ttl_us:
        return "expired"
    return "present"


def values(events: Sequence[Event], t: int, k: int, view: View) -> list[Any]:
    """One value per feature, None where there is none, whatever the ttl."""
    seen = visible(events, t, k)
    return [_value(feature, seen, t, view.hop_us) for feature in view.features]


def answer(events: Sequence[Event], t: int, k: int, view: View) -> list[tuple[str, Any]]:
    """Status and value of every feature."""
    whole = status(events, t, k, view)
    if whole != "present":
        return [(whole, None)] * len(view.features)
    return [("null" if v is None else "present", v) for v in values(events, t, k, view)]


def _value(feature: Feature, seen: list[Event], t: int, hop_us: int | None) -> Any:
    if feature.function is None:
        return seen[-1].cells[str(feature.column)] if seen else None
    tail = t - feature.window_us
    if hop_us is not None:
        tail -= tail % hop_us
    held = [event for event in seen if event.event_us > tail]
    if feature.column is None:
        return len(held)
    return _aggregate(feature.function, [event.cells[feature.column] for event in held])


def _aggregate(function: str, cells: list[Any]) -> Any:
    if function in {"first", "last"}:
        return cells[0 if function == "first" else -1] if cells else None
    there = [cell for cell in cells if cell is not None]
    if function == "count":
        return len(there)
    if not there or (function == "stddev" and len(there) < 2):
        return None
    if function in {"min", "max"}:
        return min(there) if function == "min" else max(there)
    n, exact = len(there), [Fraction(cell) for cell in there]
    total = sum(exact)
    if function == "sum":
        return int(total) if isinstance(there[0], int) else float(total)
    if function == "mean":
        return float(total) / n
    return math.sqrt(float(n * sum(x * x for x in exact) - total * total) / (n * (n - 1)))


def bits(value: Any) -> Any:
    """A value that is equal only to one of the same type, bit for bit."""
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    if isinstance(value, Decimal):
        return ("decimal", value.as_tuple())
    return (type(value).__name__, value)
