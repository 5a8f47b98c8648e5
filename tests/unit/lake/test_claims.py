"""Claims settle identities as a dictionary does that reads one row after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlake.lake.claims import ACCEPTED, CONFLICT, DUPLICATE, ClaimIndex, Claims, settle

Row = tuple[int, int, int, int, int]
# Few values, so that identities and contents meet; equal first halves of unequal identities too.
ROWS = st.tuples(
    st.sampled_from([-(2**63), -1, 0, 7]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 1),
    st.integers(1, 4),
)


def claims_of(rows: list[Row]) -> Claims:
    columns = np.array(rows, np.int64).reshape(len(rows), 5).T
    return Claims(*(np.ascontiguousarray(column) for column in columns))


def expected(batches: list[list[Row]]) -> list[list[int]]:
    owners: dict[tuple[int, int], tuple[int, int]] = {}
    told = []
    for batch in batches:
        verdicts = [ACCEPTED] * len(batch)
        # Within a batch the smallest content wins, and of equal ones the first.
        for number in sorted(range(len(batch)), key=lambda n: (batch[n][2], batch[n][3], n)):
            identity, content = batch[number][:2], batch[number][2:4]
            if identity not in owners:
                owners[identity] = content
            else:
                verdicts[number] = DUPLICATE if owners[identity] == content else CONFLICT
        told.append(verdicts)
    return told


@given(batches=st.lists(st.lists(ROWS, max_size=12), max_size=25))
def test_verdicts_are_those_of_a_dictionary(batches: list[list[Row]]) -> None:
    index, found = ClaimIndex(since_us=0), []
    for batch in batches:
        asked = claims_of(batch)
        order = np.lexsort((asked.row_b, asked.row_a))
        verdict = settle(asked, index.find(asked), order)
        index.add(asked.take(verdict == ACCEPTED))
        found.append(verdict.tolist())
    assert found == expected(batches)
    assert len(index) == len({row[:2] for batch in batches for row in batch})


@given(rows=st.lists(ROWS, max_size=30, unique_by=lambda row: row[:2]), until=st.integers(0, 5))
def test_what_is_forgotten_is_not_found_and_the_rest_is(rows: list[Row], until: int) -> None:
    index, asked = ClaimIndex(since_us=0), claims_of(rows)
    for row in rows:
        index.add(claims_of([row]))
    index.forget_through(until)
    owners = index.find(asked)
    assert owners.found.tolist() == [row[4] > until for row in rows]
    held = [(int(a), int(b)) for a, b in zip(owners.row_a, owners.row_b, strict=True)]
    assert [pair for pair, hit in zip(held, owners.found, strict=True) if hit] == [
        row[2:4] for row in rows if row[4] > until
    ]
    index.add(asked)  # what is too old is not held again
    assert len(index) >= int(np.count_nonzero(asked.event_us > until))


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one(count: int) -> None:
    asked = claims_of([(1, 2, 3, 4, 5)] * count)
    verdict = settle(asked, ClaimIndex(0).find(asked), np.arange(count))
    assert verdict.tolist() == [ACCEPTED] * count
