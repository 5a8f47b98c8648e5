"""How two tables of rows differ, where rows are known by hashes and may be there several times.

Each row has an identity and some cells. Rows of one identity are a multiset: of ``a`` rows in one
table and ``b`` in the other, ``min(a, b)`` meet. A column's cells differ as often as the values
that both multisets share leave rows that met without a partner, whatever the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

# Odd, so that multiplying by it loses nothing.
_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)


@dataclass(frozen=True)
class Example:
    """An identity, and how many rows of it are meant."""

    high: int
    low: int
    times: int


@dataclass(frozen=True)
class Overlap:
    """What two tables share and what not.

    Attributes:
        only_a, only_b: Rows that are in one of them alone.
        met: Rows whose identity is in both, as often as in both.
        equal: Those of them that have all cells in common.
        cells: Per column, how many cells of the rows that met differ.
        first_only_a, first_only_b, first_unequal: Some of each, smallest hashes first.
    """

    only_a: int
    only_b: int
    met: int
    equal: int
    cells: tuple[int, ...]
    first_only_a: tuple[Example, ...]
    first_only_b: tuple[Example, ...]
    first_unequal: tuple[Example, ...]


def overlap(
    high: Words, low: Words, in_b: Flags, columns: Sequence[Words], examples: int
) -> Overlap:
    """Compare two tables that stand in one, row by row.

    Args:
        high: One half of each row's identity.
        low: The other half.
        in_b: Whether a row is of the second table.
        columns: Per column, the hash of each row's cell.
        examples: How many examples to give of each kind.
    """
    order = np.lexsort((low, high))
    high, low, in_b = high[order], low[order], in_b[order]
    columns = [cells[order] for cells in columns]
    starts = _starts(high, low)
    code = np.cumsum(starts) - 1
    count = int(code[-1]) + 1 if code.size else 0
    in_a_of, in_b_of = _counts(code, ~in_b, count), _counts(code, in_b, count)
    met = np.minimum(in_a_of, in_b_of)
    equal = _shared(code, _row_hash(columns, code.size), in_b, count)
    # What has all cells in common has nothing to tell column by column.
    unequal = met > equal
    left = unequal[code] if count else np.zeros(0, np.bool_)
    differing = []
    for cells in columns:
        shared = _shared(code[left], cells[left], in_b[left], count)
        differing.append(int(np.sum((met - shared)[unequal])))
    first = np.flatnonzero(starts)

    def some(times: Counts) -> tuple[Example, ...]:
        chosen = np.flatnonzero(times > 0)[:examples]
        rows = first[chosen]
        return tuple(
            Example(int(h), int(w), int(n))
            for h, w, n in zip(high[rows], low[rows], times[chosen], strict=True)
        )

    return Overlap(
        only_a=int(np.sum(in_a_of - met)),
        only_b=int(np.sum(in_b_of - met)),
        met=int(np.sum(met)),
        equal=int(np.sum(equal)),
        cells=tuple(differing),
        first_only_a=some(in_a_of - met),
        first_only_b=some(in_b_of - met),
        first_unequal=some(met - equal),
    )


def _starts(*keys: npt.NDArray[np.generic]) -> Flags:
    """Mark where a run of equal keys begins, in rows that are sorted by them."""
    starts = np.ones(len(keys[0]), np.bool_)
    starts[1:] = False
    for key in keys:
        starts[1:] |= key[1:] != key[:-1]
    return starts


def _counts(code: Counts, chosen: Flags, count: int) -> Counts:
    return np.bincount(code[chosen], minlength=count).astype(np.int64)


def _shared(code: Counts, value: Words, in_b: Flags, count: int) -> Counts:
    """Count per identity the rows that find one of the same value on the other side."""
    order = np.lexsort((value, code))
    code, value, in_b = code[order], value[order], in_b[order]
    starts = _starts(code, value)
    run = np.cumsum(starts) - 1
    runs = int(run[-1]) + 1 if run.size else 0
    both = np.minimum(_counts(run, ~in_b, runs), _counts(run, in_b, runs))
    shared = np.zeros(count, np.int64)
    np.add.at(shared, code[starts], both)
    return shared


def _row_hash(columns: Sequence[Words], rows: int) -> Words:
    """Hash all cells of a row: 64 bits of hashes that are spread over 64 bits already."""
    hashed = np.zeros(rows, np.uint64)
    for cells in columns:
        hashed = hashed * _SPREAD + cells
    return hashed
