"""What two tables share, counted with multiplicity: as a plain count over dictionaries says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinlake.kernel.multisets import Example, Overlap, overlap

# Few values of each, so that rows meet, repeat and differ.
ROW = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2))
ROWS = st.lists(ROW, max_size=12)
# As hashes are: also such that only one half or the highest bit tells them apart.
WORDS = (0, 2**63, 2**64 - 1)


def compared(a: list[Any], b: list[Any], examples: int = 100) -> Overlap:
    rows = [*a, *b]
    high, low, *columns = (
        np.array([WORDS[row[place]] for row in rows], np.uint64) for place in range(4)
    )
    return overlap(high, low, np.arange(len(rows)) >= len(a), columns, examples)


def naive(a: list[Any], b: list[Any]) -> dict[str, Any]:
    """The same by dictionaries: what is left of a multiset after the other is taken away."""
    ids_a, ids_b = Counter(row[:2] for row in a), Counter(row[:2] for row in b)
    met = ids_a & ids_b
    rows = Counter(a) & Counter(b)
    equal: Counter[Any] = Counter()
    for row, times in rows.items():
        equal[row[:2]] += times
    cells = []
    for place in (2, 3):
        shared = Counter((*r[:2], r[place]) for r in a) & Counter((*r[:2], r[place]) for r in b)
        cells.append(met.total() - shared.total())
    return {
        "only_a": ids_a - ids_b,
        "only_b": ids_b - ids_a,
        "met": met.total(),
        "equal": equal.total(),
        "cells": tuple(cells),
        "unequal": met - equal,
    }


def as_counter(examples: tuple[Example, ...]) -> Counter[Any]:
    return Counter({(WORDS.index(one.high), WORDS.index(one.low)): one.times for one in examples})


@given(ROWS, ROWS)
def test_it_is_what_a_plain_count_says(a: list[Any], b: list[Any]) -> None:
    found, expected = compared(a, b), naive(a, b)
    assert (found.met, found.equal, found.cells) == (
        expected["met"],
        expected["equal"],
        expected["cells"],
    )
    assert (found.only_a, found.only_b) == (expected["only_a"].total(), expected["only_b"].total())
    assert as_counter(found.first_only_a) == expected["only_a"]
    assert as_counter(found.first_only_b) == expected["only_b"]
    assert as_counter(found.first_unequal) == expected["unequal"]


@given(ROWS, st.randoms(use_true_random=False))
def test_a_table_in_another_order_is_the_same(a: list[Any], draw: Any) -> None:
    b = list(a)
    draw.shuffle(b)
    found = compared(a, b)
    assert (found.only_a, found.only_b, found.met, found.equal) == (0, 0, len(a), len(a))
    assert found.cells == (0, 0)


@given(ROWS, ROWS)
def test_the_other_way_round_is_the_same_but_for_the_sides(a: list[Any], b: list[Any]) -> None:
    one, other = compared(a, b), compared(b, a)
    assert (one.only_a, one.first_only_a) == (other.only_b, other.first_only_b)
    assert (one.met, one.equal, one.cells) == (other.met, other.equal, other.cells)


def test_examples_are_as_many_as_asked_for() -> None:
    rows = [(n, 0, 0, 0) for n in range(3)]
    found = compared(rows, [], examples=2)
    assert found.only_a == 3
    assert [one.high for one in found.first_only_a] == list(WORDS[:2])
    assert found.first_only_b == ()
