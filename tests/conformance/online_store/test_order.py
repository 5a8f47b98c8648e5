"""Law 7: whatever the order of arrival, what has the greatest write_us stays."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.online_store.samples import METERS, meter
from tests.conformance.online_store.stores import Subject
from twinlake.errors import InputError, StateError
from twinlake.online.store import OnlineRow, OnlineStore, WriteReport


def stored(store: OnlineStore, home: str = "a") -> OnlineRow | None:
    (row,) = store.read(METERS, [(home,)])
    return row


def expect(subject: Subject, report: WriteReport, applied: int, skipped: int) -> None:
    if not subject.traits.reports_skips:
        applied, skipped = applied + skipped, 0
    assert report == WriteReport(applied, skipped)


def test_newer_row_replaces_and_older_does_not(subject: Subject, store: OnlineStore) -> None:
    expect(subject, store.write(METERS, [meter("a", 2002)]), 1, 0)
    expect(subject, store.write(METERS, [meter("a", 2001)]), 0, 1)
    assert stored(store) == meter("a", 2002)
    expect(subject, store.write(METERS, [meter("a", 2003)]), 1, 0)
    assert stored(store) == meter("a", 2003)


@pytest.mark.parametrize("null", [True, False])
def test_nulls_are_written_like_values(store: OnlineStore, null: bool) -> None:
    store.write(METERS, [meter("a", 1, null=not null)])
    store.write(METERS, [meter("a", 2, null=null)])
    assert stored(store) == meter("a", 2, null=null)
    store.write(METERS, [meter("a", 1, null=not null)])
    assert stored(store) == meter("a", 2, null=null)


def test_newer_event_does_not_win_over_newer_knowledge(store: OnlineStore) -> None:
    corrected = meter("a", 9)._replace(event_us=-100, known_us=-50)
    store.write(METERS, [corrected, meter("a", 8)])
    assert stored(store) == corrected


def test_every_order_of_arrival_ends_in_the_same_row(store: OnlineStore) -> None:
    steps: list[Callable[[str], object]] = [
        lambda home: store.write(METERS, [meter(home, 10)]),
        lambda home: store.write(METERS, [meter(home, 20, null=True)]),
        lambda home: store.delete(METERS, [(home,)], 30),
        lambda home: store.write(METERS, [meter(home, 40)]),
    ]
    for taken in (3, 4):
        for number, order in enumerate(itertools.permutations(range(4), taken)):
            home = f"{taken}-{number}"
            for index in order:
                steps[index](home)
            last = max(order)
            assert stored(store, home) == (None if last == 2 else meter(home, (last + 1) * 10))


def test_order_within_one_write(subject: Subject, store: OnlineStore) -> None:
    rows = [meter("a", 5), meter("a", 7), meter("a", 6), meter("b", 1), meter("a", 7)]
    expect(subject, store.write(METERS, rows), 3, 2)
    assert stored(store) == meter("a", 7)


def test_repeated_write_changes_nothing(subject: Subject, store: OnlineStore) -> None:
    rows = [meter(f"home{number}", 1000 + number) for number in range(2500)]
    expect(subject, store.write(METERS, rows), 2500, 0)
    before = list(store.scan(METERS))
    expect(subject, store.write(METERS, iter(rows)), 0, 2500)
    assert list(store.scan(METERS)) == before


def test_write_of_nothing(store: OnlineStore) -> None:
    assert store.write(METERS, []) == WriteReport(0, 0)
    assert store.delete(METERS, [], 5) == WriteReport(0, 0)
    store.purge(METERS, [])


def test_one_write_us_never_stands_for_two_rows(subject: Subject, store: OnlineStore) -> None:
    first, other = meter("a", 2000), meter("a", 2000)._replace(values=(1.5, None, "other"))
    store.write(METERS, [first])
    batch = [other, meter("b", 2000)]
    if subject.traits.reports_conflicts:
        with pytest.raises(StateError, match=r"1 rows differ .*'a'.*2000"):
            store.write(METERS, batch)
        assert stored(store) == first
    else:
        store.write(METERS, batch)
        assert stored(store) is not None
    assert stored(store, "b") == meter("b", 2000)
    store.write(METERS, [meter("a", 2001)])
    assert stored(store) == meter("a", 2001)


@pytest.mark.parametrize("row_first", [True, False])
def test_one_write_us_never_stands_for_row_and_delete(
    subject: Subject, store: OnlineStore, row_first: bool
) -> None:
    steps: list[Callable[[], object]] = [
        lambda: store.write(METERS, [meter("a", 9)]),
        lambda: store.delete(METERS, [("a",)], 9),
    ]
    first, second = steps if row_first else reversed(steps)
    first()
    if subject.traits.reports_conflicts:
        with pytest.raises(StateError, match="differ"):
            second()
        assert stored(store) == (meter("a", 9) if row_first else None)
    else:
        second()
        assert stored(store) in (None, meter("a", 9))


def test_deleted_key_stays_deleted_for_older_writes(subject: Subject, store: OnlineStore) -> None:
    store.write(METERS, [meter("a", 10), meter("b", 10)])
    expect(subject, store.delete(METERS, [("a",), ("never",)], 20), 2, 0)
    expect(subject, store.write(METERS, [meter("a", 19), meter("never", 15)]), 0, 2)
    assert store.read(METERS, [("a",), ("never",), ("b",)]) == [None, None, meter("b", 10)]
    assert [row.key for row in store.scan(METERS)] == [("b",)]
    assert store.count(METERS) == 1
    store.write(METERS, [meter("a", 21)])
    assert stored(store) == meter("a", 21)


def test_delayed_delete_removes_nothing_newer(subject: Subject, store: OnlineStore) -> None:
    store.write(METERS, [meter("a", 10)])
    expect(subject, store.delete(METERS, [("a",)], 9), 0, 1)
    assert stored(store) == meter("a", 10)


def test_repeated_and_renewed_delete(subject: Subject, store: OnlineStore) -> None:
    store.delete(METERS, [("a",)], 20)
    expect(subject, store.delete(METERS, [("a",)], 20), 0, 1)
    expect(subject, store.delete(METERS, [("a",)], 30), 1, 0)
    store.write(METERS, [meter("a", 25)])
    assert stored(store) is None


def test_purge_removes_whatever_is_there(subject: Subject, store: OnlineStore) -> None:
    store.write(METERS, [meter("a", 2**62), meter("b", 10)])
    store.delete(METERS, [("gone",)], 20)
    store.purge(METERS, [("a",), ("gone",), ("never",)])
    assert store.read(METERS, [("a",), ("gone",), ("b",)]) == [None, None, meter("b", 10)]
    assert store.count(METERS) == 1
    store.write(METERS, [meter("a", 5), meter("gone", 5)])
    again = store.read(METERS, [("a",), ("gone",)])
    assert all(row is None or row.write_us == 5 for row in again)
    if subject.traits.purge_forgets_order:
        assert again == [meter("a", 5), meter("gone", 5)]


@pytest.mark.parametrize("write_us", [-1, 2**63, True, None, 1.0])
def test_write_us_that_is_none_is_refused(store: OnlineStore, write_us: object) -> None:
    with pytest.raises(InputError, match=r"write_us|times"):
        store.write(METERS, [meter("a", 1)._replace(write_us=write_us)])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="write_us"):
        store.delete(METERS, [("a",)], write_us)  # type: ignore[arg-type]
    assert stored(store) is None


@pytest.mark.parametrize("write_us", [0, 1, 2**63 - 1])
def test_ends_of_write_us(store: OnlineStore, write_us: int) -> None:
    row = meter("a", 2000)._replace(write_us=write_us)
    store.write(METERS, [row])
    assert stored(store) == row


def test_threads_in_any_order_end_in_the_greatest(store: OnlineStore) -> None:
    homes, failures = [f"home{number}" for number in range(50)], []

    def work(seed: int) -> None:
        rows = [meter(home, number * 10 + seed) for home in homes for number in range(1, 60)]
        random.Random(seed).shuffle(rows)
        try:
            for start in range(0, len(rows), 200):
                store.write(METERS, rows[start : start + 200])
        except Exception as error:  # noqa: BLE001, RUF100 (shown by the assertion below)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {row.key: row for row in store.scan(METERS)} == {
        (home,): meter(home, 593) for home in homes
    }


def test_failing_iterable_leaves_whole_rows_and_its_own_error(store: OnlineStore) -> None:
    def rows() -> Iterator[OnlineRow]:
        for number in range(2500):
            yield meter(f"home{number}", 1)
        raise OSError("the source went away")

    with pytest.raises(OSError, match="the source went away"):
        store.write(METERS, rows())
    left = list(store.scan(METERS))
    assert len(left) <= 2500
    assert all(row == meter(str(row.key[0]), 1) for row in left)
    store.write(METERS, [meter("after", 1)])
    assert stored(store, "after") == meter("after", 1)
