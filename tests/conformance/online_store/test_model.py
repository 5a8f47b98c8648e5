"""Random interleavings of writes, deletes and purges against a dictionary."""

from __future__ import annotations

import itertools
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.conformance.online_store.samples import PAIRS, pair
from tests.conformance.online_store.stores import Subject, Traits
from twinlake.online.store import OnlineRow, OnlineStore

KEYS = [("a", 1, b""), ("a", 2, b""), ("b", 1, b""), ("b", 1, b"\x00"), ("", -1, b"x")]
NUMBERS = st.integers(0, len(KEYS) - 1)
MOMENTS = st.integers(0, 15)


def content(key: tuple, moment: int) -> OnlineRow:
    """Rows have even write times and deletes odd ones: two never share one."""
    region, number, code = key
    row = pair(region, number, code, 2 * moment)
    if moment % 3 == 0:
        return OnlineRow(row.key, (None,), moment, moment, moment, b"", row.write_us)
    return row


class Machine(RuleBasedStateMachine):
    """Subclassed by the test, which gives it the store."""

    store: ClassVar[OnlineStore]
    traits: ClassVar[Traits]
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        # Keys of its own for each run, for making a table can take longer than a run.
        self.table, run = PAIRS, next(self.numbers)
        self.keys = [(f"{run}{region}", number, code) for region, number, code in KEYS]
        self.newest: dict[tuple, tuple[int, OnlineRow | None]] = {}

    def expect(self, key: tuple, write_us: int, row: OnlineRow | None) -> int:
        if key in self.newest and self.newest[key][0] >= write_us:
            return 0
        self.newest[key] = write_us, row
        return 1

    @rule(drawn=st.lists(st.tuples(NUMBERS, MOMENTS), max_size=6))
    def write(self, drawn: list[tuple[int, int]]) -> None:
        rows = [content(self.keys[number], moment) for number, moment in drawn]
        report = self.store.write(self.table, iter(rows))
        applied = sum(self.expect(row.key, row.write_us, row) for row in rows)
        assert report.applied + report.skipped == len(rows)
        assert not self.traits.reports_skips or report.applied == applied

    @rule(numbers=st.lists(NUMBERS, max_size=3), moment=MOMENTS)
    def delete(self, numbers: list[int], moment: int) -> None:
        keys = [self.keys[number] for number in numbers]
        self.store.delete(self.table, keys, 2 * moment + 1)
        for key in keys:
            self.expect(key, 2 * moment + 1, None)

    @rule(numbers=st.lists(NUMBERS, max_size=2))
    def purge(self, numbers: list[int]) -> None:
        keys = [self.keys[number] for number in numbers]
        if self.traits.purge_forgets_order:
            self.store.purge(self.table, keys)
            for key in keys:
                self.newest.pop(key, None)

    @invariant()
    def reads_like_the_dictionary(self) -> None:
        live = {key: row for key, (_, row) in self.newest.items() if row is not None}
        asked = [*self.keys, self.keys[0]]
        assert self.store.read(self.table, asked) == [live.get(key) for key in asked]
        assert {row.key: row for row in self.store.scan(self.table)} == live
        assert self.store.count(self.table) == len(live)

    def teardown(self) -> None:
        self.store.purge(self.table, self.keys)


def test_any_interleaving_ends_like_a_dictionary(subject: Subject, store: OnlineStore) -> None:
    bound = type("Bound", (Machine,), {"store": store, "traits": subject.traits})
    budget = settings(max_examples=40, stateful_step_count=25, deadline=None, database=None)
    run_state_machine_as_test(bound, settings=budget)
