"""Recent events: those of chosen keys after a moment, however they were added."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from twinlake.lake.recent import RecentEvents, distinct_keys

Row = tuple[str | None, int, int, int]
ROWS = st.tuples(
    st.sampled_from([None, "a", "b", "c"]), st.integers(0, 2), st.integers(0, 9), st.integers(1, 5)
)
NAMES = ("k", "g", "event_us", "version")


def table_of(rows: list[Row]) -> pa.Table:
    types = (pa.string(), pa.int64(), pa.int64(), pa.int64())
    return pa.table(
        {
            n: pa.array([r[i] for r in rows], t)
            for i, (n, t) in enumerate(zip(NAMES, types, strict=True))
        }
    )


def rows_of(table: pa.Table | None) -> Counter[tuple[object, ...]]:
    if table is None:
        return Counter()
    return Counter(tuple(row[name] for name in NAMES) for row in table.to_pylist())


@given(
    pieces=st.lists(st.lists(ROWS, max_size=6), max_size=40),
    since=st.integers(-1, 5),
    until=st.integers(-1, 9),
    asked=st.lists(ROWS, max_size=4),
    keys=st.sampled_from([["k"], ["g"], ["k", "g"]]),
)
def test_events_of_keys(
    pieces: list[list[Row]], since: int, until: int, asked: list[Row], keys: list[str]
) -> None:
    recent = RecentEvents(since)
    for piece in pieces:
        recent.add(table_of(piece))
    recent.forget_through(until)
    held = [row for piece in pieces for row in piece if row[2] > max(since, until)]
    assert len(recent) == len(held)
    wanted = distinct_keys(table_of(asked), keys)
    places = [NAMES.index(key) for key in keys]
    named = {tuple(row[i] for i in places) for row in asked} - {(None,)}
    named = {key for key in named if None not in key}
    assert {tuple(row[k] for k in keys) for row in wanted.to_pylist()} == named
    found = rows_of(recent.of_keys(wanted))
    assert found == Counter(row for row in held if tuple(row[i] for i in places) in named)
    assert rows_of(recent.after_version(3)) == Counter(row for row in held if row[3] > 3)
