"""Lay out rows and documents as text that a person reads."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lay out rows as text in columns; numbers stand to the right."""
    raw = [list(row) for row in rows]
    cells = [[_text(cell) for cell in row] for row in raw]
    widths = [max(len(row[i]) for row in [list(heads), *cells]) for i in range(len(heads))]
    right = [
        all(isinstance(row[i], int | float | None) for row in raw)
        and any(row[i] is not None for row in raw)
        for i in range(len(heads))
    ]
    lines = []
    for row in [list(heads), *cells]:
        parts = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def aligned(values: Sequence[float], digits: int) -> list[str]:
    """Write numbers with as many digits, their points below each other."""
    texts = [f"{value:,.{digits}f}" for value in values]
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]


def _text(cell: Any) -> str:  # noqa: ANN401 (a cell of any type)
    if cell is None:
        return "-"
    if isinstance(cell, bool) or not isinstance(cell, int):
        return str(cell)
    return f"{cell:,}"


def tree(value: Any, depth: int) -> list[str]:  # noqa: ANN401 (any JSON document)
    """Lay out a JSON document as indented lines, with tables for what is one."""
    indent = "  " * depth
    if isinstance(value, dict):
        if _is_counts(value):
            heads = ["", *next(iter(value.values()))]
            rows = [[name, *counts.values()] for name, counts in value.items()]
            return [indent + line for line in table(heads, rows).splitlines()]
        lines = []
        for name, item in value.items():
            if isinstance(item, dict | list) and item:
                lines += [f"{indent}{name}:", *tree(item, depth + 1)]
            else:
                lines.append(f"{indent}{name}: {'-' if item in (None, '', [], {}) else item}")
        return lines
    if isinstance(value, list) and value and isinstance(value[0], dict):
        heads = list(dict.fromkeys(head for item in value for head in item))
        rows = [[joined(item.get(head)) for head in heads] for item in value]
        return [indent + line for line in table(heads, rows).splitlines()]
    if isinstance(value, list):
        return textwrap.wrap(joined(value), 96, initial_indent=indent, subsequent_indent=indent)
    return [f"{indent}{value}"]


def _is_counts(value: dict[str, Any]) -> bool:
    """Tell whether a mapping is a table: names to rows of the same numbers."""
    rows = list(value.values())
    return (
        len(rows) > 1
        and all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows)
        and all(isinstance(cell, int) for row in rows for cell in row.values())
    )


def joined(value: Any) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a list as its items in one line, and anything else as it is."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value
