"""Reading: many keys, their order, composite keys, scans, and readers beside a writer."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from tests.conformance.online_store.samples import METERS, PAIRS, meter, pair
from tests.conformance.online_store.stores import Subject
from twinlake.errors import InputError, StateError
from twinlake.online.store import OnlineRow, OnlineStore, OnlineTable


def test_ten_thousand_keys_come_in_the_order_asked(store: OnlineStore) -> None:
    rows = {f"home{number}": meter(f"home{number}", 2000 + number) for number in range(6000)}
    store.write(METERS, rows.values())
    chance = random.Random(3)
    asked = [f"home{number}" for number in chance.sample(range(12_000), 10_000)]
    asked += [asked[0], "home1", "home1", *asked[-300:]]
    assert store.read(METERS, [(home,) for home in asked]) == [rows.get(home) for home in asked]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 511, 512, 513, 1024, 1025])
def test_any_number_of_keys(store: OnlineStore, count: int) -> None:
    rows = [pair(f"r{number % 7}", number, b"\x00" * (number % 3)) for number in range(count)]
    store.write(PAIRS, rows)
    assert store.read(PAIRS, [row.key for row in rows]) == rows
    assert store.read(PAIRS, [row.key for row in reversed(rows)]) == rows[::-1]


def test_composite_keys_match_as_a_whole(store: OnlineStore) -> None:
    rows = [pair("a", 1, b"x"), pair("a", 2, b"x"), pair("b", 1, b"x"), pair("", 0, b"")]
    rows.append(pair("a", 1, b""))
    store.write(PAIRS, rows)
    missing = [("b", 2, b"x"), ("a", 1, b"X"), ("", 1, b""), ("a", 11, b"")]
    assert store.read(PAIRS, [*missing, *(row.key for row in rows)]) == [*[None] * 4, *rows]
    # One key alone takes another way through a store than several.
    assert [store.read(PAIRS, [key]) for key in missing] == [[None]] * 4
    assert [store.read(PAIRS, [row.key]) for row in rows] == [[row] for row in rows]
    store.delete(PAIRS, [("a", 1, b"x")], 5)
    assert store.read(PAIRS, [rows[0].key, rows[1].key]) == [None, rows[1]]
    store.purge(PAIRS, [("a", 2, b"x"), ("a", 2, b"y")])
    assert {row.key for row in store.scan(PAIRS)} == {row.key for row in rows[2:]}


def test_tables_are_read_together_as_each_alone(store: OnlineStore) -> None:
    homes = {f"home{number}": meter(f"home{number}", 2000 + number) for number in range(60)}
    pairs = [pair("a", number, b"x") for number in range(3)]
    store.write(METERS, homes.values())
    store.write(PAIRS, pairs)
    pair_keys = [("a", 9, b"x"), *(row.key for row in pairs)]
    some = [("home7",), ("none",), *((home,) for home in reversed(homes)), ("home7",)]
    for home_keys, others in (
        (some, pair_keys),
        ([("home7",)], [("a", 2, b"x")]),
        ([("none",)], [("a", 2, b"x")]),
        ([("home7",)], pair_keys),
        ([], [("a", 2, b"x")]),
        ([], []),
    ):
        asked = [(METERS, home_keys), (PAIRS, others), (METERS, home_keys)]
        together = store.read_all(asked)
        assert store.read_at_once(asked) in (None, together)
        alone = store.read(METERS, home_keys)
        assert together == [alone, store.read(PAIRS, others), alone]
        assert alone == [homes.get(home) for (home,) in home_keys]
    assert store.read_all([]) == []
    with pytest.raises(InputError, match="key"):
        store.read_all([(METERS, [("fine",)]), (PAIRS, [("fine",)])])


@pytest.mark.parametrize(
    "key", [(), ("a", "b"), (1,), (None,), (b"a",), "a", ["a"], ("",), ("\ud800",)]
)
def test_key_that_does_not_fit_is_refused(store: OnlineStore, key: tuple) -> None:
    with pytest.raises(InputError, match="key"):
        store.read(METERS, [("fine",), key])
    with pytest.raises(InputError, match="key"):
        store.read(METERS, [*((f"fine {n}",) for n in range(20)), key])
    with pytest.raises(InputError, match="key"):
        store.delete(METERS, [("fine",), key], 1)
    with pytest.raises(InputError, match="key"):
        store.purge(METERS, [("fine",), key])
    bad = OnlineRow(key, (None, None, None), 0, 0, None, b"", 1)
    with pytest.raises(InputError, match="key"):
        store.write(METERS, [bad])
    assert store.count(METERS) == 0


def test_scan_is_the_union_of_rows(store: OnlineStore) -> None:
    rows = {(f"home{number}",): meter(f"home{number}", 2000 + number) for number in range(1500)}
    store.write(METERS, rows.values())
    deleted = [(f"home{number}",) for number in range(0, 1500, 3)]
    store.delete(METERS, deleted, 10_000)
    for key in deleted:
        del rows[key]
    found = list(store.scan(METERS))
    assert len(found) == len(rows) == store.count(METERS)
    assert {row.key: row for row in found} == rows


def test_scan_of_composite_keys_and_of_nothing(store: OnlineStore) -> None:
    assert list(store.scan(PAIRS)) == []
    rows = [
        pair(f"r{number % 4}", number % 31 - 15, bytes([number % 13])) for number in range(3000)
    ]
    store.write(PAIRS, rows)
    found = list(store.scan(PAIRS))
    assert len(found) == len({row.key for row in rows})
    assert {row.key: row for row in found} == {row.key: row for row in rows}


def test_scan_goes_on_while_rows_are_written(store: OnlineStore) -> None:
    store.write(METERS, [meter(f"home{number}", 2000) for number in range(1500)])
    found = []
    for row in store.scan(METERS):
        found.append(row)
        if len(found) in (1, 700):
            store.write(METERS, [meter(f"home{number}", 3000) for number in range(1500)])
    assert len({row.key for row in found}) == len(found) == 1500
    assert all(row == meter(str(row.key[0]), row.write_us) for row in found)


def test_readers_do_not_wait_for_a_write_that_is_under_way(store: OnlineStore) -> None:
    store.write(METERS, [meter("a", 1)])
    waiting, proceed = threading.Event(), threading.Event()

    def rows() -> Iterator[OnlineRow]:
        yield meter("b", 1)
        waiting.set()
        proceed.wait(20)
        yield meter("c", 1)

    writer = threading.Thread(target=store.write, args=(METERS, rows()))
    writer.start()
    try:
        assert waiting.wait(20)
        assert store.read(METERS, [("a",)]) == [meter("a", 1)]
        assert store.count(METERS) >= 1
        assert meter("a", 1) in list(store.scan(METERS))
        assert writer.is_alive()
    finally:
        proceed.set()
        writer.join()
    assert store.count(METERS) == 3


def test_readers_in_threads_see_whole_rows_only(store: OnlineStore) -> None:
    homes, done = [f"home{number}" for number in range(20)], threading.Event()
    torn: list[OnlineRow | None] = []
    store.write(METERS, [meter(home, 1, size=4000) for home in homes])

    def read() -> None:
        while not done.is_set():
            torn.extend(
                row
                for row in store.read(METERS, [(home,) for home in homes])
                if row is None or row != meter(str(row.key[0]), row.write_us, size=4000)
            )

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(2, 40):
        store.write(METERS, [meter(home, number * 500, size=4000) for home in homes])
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_another_store_object_sees_what_was_written(subject: Subject, store: OnlineStore) -> None:
    store.write(METERS, [meter("a", 2000)])
    with subject.open() as other:
        assert other.read(METERS, [("a",)]) == [meter("a", 2000)]
        other.write(METERS, [meter("a", 3000)])
    assert store.read(METERS, [("a",)]) == [meter("a", 3000)]


def test_unknown_table_is_named(store: OnlineStore) -> None:
    missing = OnlineTable("missing", METERS.keys, METERS.features)
    for call in (
        lambda: store.read(missing, [("a",)]),
        lambda: store.write(missing, [meter("a", 1)]),
        lambda: list(store.scan(missing)),
        lambda: store.count(missing),
        lambda: store.delete(missing, [("a",)], 1),
        lambda: store.purge(missing, [("a",)]),
    ):
        with pytest.raises(StateError, match="missing"):
            call()


def test_closed_store_says_so(subject: Subject) -> None:
    store = subject.open()
    store.create(METERS)
    store.read(METERS, [("a",)])
    store.close()
    store.close()
    with pytest.raises(StateError, match="closed"):
        store.read(METERS, [("a",)])
    with pytest.raises(StateError, match="closed"):
        store.write(METERS, [meter("a", 1)])
