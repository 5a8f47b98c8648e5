"""A sum that does not fit 64 bits is traced to its measure and its question."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.kernel.cases import events_of, queries_of
from tests.unit.kernel.oracle import Row
from twinlake.errors import InputError
from twinlake.kernel.aggregates import compute
from twinlake.kernel.events import Queries
from twinlake.kernel.measures import Measure
from twinlake.kernel.overflows import first_overflow

MUCH = 2**62
MEASURES = [Measure("count", None, 10), Measure("sum", "n", 2), Measure("sum", "n", 10)]


def events(*cells: tuple[int, int, int]) -> object:
    rows = [
        Row(key, at, at, number, {"x": None, "n": value, "d": None, "s": None})
        for number, (key, at, value) in enumerate(cells)
    ]
    return events_of(rows)[0]


HAPPENED = events((0, 1, MUCH), (0, 9, MUCH), (1, 1, -MUCH), (1, 9, -MUCH), (1, 9, -MUCH))


def answer(queries: Queries, measures: Sequence[Measure]) -> object:
    return compute(HAPPENED, queries, measures, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "place", "total"),
    [
        ([(0, 9, 9)], (2, 0), 2 * MUCH),
        ([(0, 1, 1), (2, 9, 9), (0, 12, 12), (0, 9, 9), (0, 10, 10)], (2, 3), 2 * MUCH),
        ([(0, 1, 1), (0, 9, 9), (1, 9, 9), (0, 9, 9)], (2, 1), 2 * MUCH),
        ([(1, 8, 8)] * 5 + [(1, 9, 9)], (2, 5), -3 * MUCH),
    ],
)
def test_the_first_sum_that_overflows_is_found(
    asked: list[tuple[int, int, int]], place: tuple[int, int], total: int
) -> None:
    queries = queries_of(asked)
    with pytest.raises(InputError, match="does not fit 64 bits"):
        answer(queries, MEASURES)
    found = first_overflow(answer, queries, MEASURES)
    assert found is not None
    assert found[:2] == place
    assert f"the sum {total} does not fit 64 bits" in found[2].message
    assert "double" in str(found[2].hint)


def test_what_fits_is_nobodys_fault() -> None:
    # Two times -2**62 in the window of two: just what fits.
    assert first_overflow(answer, queries_of([(0, 12, 12), (1, 8, 8)]), MEASURES) is None
    assert first_overflow(answer, queries_of([(1, 9, 9)]), MEASURES[:2]) is None
