"""How pages write numbers, times and values."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from twinlake.definitions.times import format_instant

_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60
_LONGEST = 120


def cell(value: Any) -> str:  # noqa: ANN401 (a cell of any type)
    """Write a value; a dash for none."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value)) or "-"
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "..."


def exact(value: Any) -> str:  # noqa: ANN401 (a cell of any type)
    """Write a value of a key or a feature as it is: no separators, for it is no count."""
    if isinstance(value, float):
        return f"{value:.10g}"
    is_plain = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_plain else cell(value)


def number(value: float) -> str:
    """Write a number with four digits that count."""
    if not math.isfinite(value) or value == int(value):
        return str(value) if not math.isfinite(value) else f"{value:,.0f}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def instant(at_us: int | None) -> str:
    """Write a moment to the second."""
    return moment(format_instant(at_us))


def moment(told: str | None) -> str:
    """Write a moment that is text already, without what a person does not read."""
    if not told:
        return "-"
    return told.replace("T", " ").removesuffix("Z").split(".")[0] + " UTC"


def age(seconds: float | None) -> str:
    """Write how long ago something was."""
    if seconds is None:
        return "-"
    for length, word in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= length:
            return f"{seconds / length:,.0f} {word}"
    return f"{seconds:,.1f} s"


def title(name: str) -> str:
    """Write a name as a title."""
    return name.replace("_", " ").capitalize()
