"""What was applied, landed and published, as the state folder keeps it."""

from __future__ import annotations

import multiprocessing
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.definitions.shop import shop, view
from tests.unit.registry.racers import hold
from twinlake.definitions.documents import Definitions
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.errors import EnvironmentFailure, StateError
from twinlake.registry.documents import AlreadyWritten, Documents
from twinlake.registry.inputs import InputFile
from twinlake.registry.places import Places
from twinlake.registry.state import (
    Applied,
    Landing,
    Landings,
    Publication,
    Publications,
    Registry,
    table_name,
    view_table_name,
)

FILE = InputFile("/data/a.parquet", 10, 20, 3)
LANDING = Landing(1, "batch-1", [FILE.key], 50, 10, 7, 2, 1, 40, 60)
PUBLISHED = Publication(1, "f" * 32, 1, 0, 50, 7, 3, 2, 60, superseding=False)


def test_nothing_applied_is_version_0(tmp_path: Path) -> None:
    assert Registry(tmp_path).current() == Applied(0, Definitions(), None)


def test_what_was_applied_reads_back(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first = registry.write(registry.current(), shop(), 5)
    assert first == registry.current() == Applied(1, shop(), 5)
    second = registry.write(first, shop(view()), 6)
    assert second == Registry(tmp_path).current() == Applied(2, shop(view()), 6)


def test_all_that_was_ever_applied_comes_newest_first(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert list(registry.history()) == []
    first = registry.write(registry.current(), shop(), 5)
    second = registry.write(first, shop(view()), 6)
    assert list(Registry(tmp_path).history()) == [second, first]
    # What is older is not read before it is asked for.
    (tmp_path / "registry" / f"{1:020d}.json").write_text('{"format": 99}')
    history = Registry(tmp_path).history()
    assert next(history) == second
    with pytest.raises(StateError, match="the registry has format 99"):
        next(history)


def test_the_second_of_two_appliers_learns_of_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    base = registry.current()
    registry.write(base, shop(), 5)
    with pytest.raises(AlreadyWritten, match="run the command again"):
        registry.write(base, shop(view()), 6)
    assert registry.current() == Applied(1, shop(), 5)


@pytest.mark.parametrize("document", [{"format": 2}, {}])
def test_a_registry_of_another_format_is_refused(
    tmp_path: Path, document: dict[str, object]
) -> None:
    Documents(tmp_path / "registry").create(1, document)
    with pytest.raises(StateError, match=r"format (2|None), this twinlake reads 1"):
        Registry(tmp_path).current()


def test_landings_are_begun_and_finished(tmp_path: Path) -> None:
    landings = Landings(tmp_path, "orders")
    assert (landings.all(), landings.unfinished()) == ([], [])
    intent = replace(LANDING, read=0, accepted=0, duplicate=0, quarantined=0, landed_us=None)
    landings.begin(intent)
    assert (landings.all(), landings.unfinished()) == ([], [intent])
    landings.finish(LANDING)
    assert (landings.all(), landings.unfinished()) == ([LANDING], [])
    assert Landings(tmp_path, "returns").all() == []
    with pytest.raises(AlreadyWritten):
        landings.finish(LANDING)


def test_an_intent_without_a_commit_is_dropped(tmp_path: Path) -> None:
    landings = Landings(tmp_path, "orders")
    landings.begin(LANDING)
    with pytest.raises(AlreadyWritten):
        landings.begin(LANDING)
    landings.drop_intent(LANDING)
    assert landings.unfinished() == []
    landings.begin(LANDING)
    assert landings.unfinished() == [LANDING]


def test_landed_through_is_per_state_of_a_file(tmp_path: Path) -> None:
    landings = Landings(tmp_path, "orders")
    assert landings.landed_through_us(FILE) is None
    landings.finish(LANDING)
    other = replace(FILE, path="/data/b.parquet")
    landings.finish(replace(LANDING, version=2, through_us=90, files=[FILE.key, other.key]))
    landings.finish(replace(LANDING, version=3, through_us=70, files=[other.key]))
    assert landings.landed_through_us(FILE) == 90
    assert landings.landed_through_us(other) == 90
    for changed in (replace(FILE, size_bytes=11), replace(FILE, modified_ns=21)):
        assert landings.landed_through_us(changed) is None
    assert landings.landed_through_us(replace(FILE, rows=None)) == 90


def test_the_data_clock_is_the_newest_event_that_had_landed(tmp_path: Path) -> None:
    landings = Landings(tmp_path, "orders")
    assert landings.newest_event_us() is None
    landings.finish(replace(LANDING, version=1, newest_event_us=None))
    assert landings.newest_event_us() is None
    landings.finish(replace(LANDING, version=2, newest_event_us=40, landed_us=60))
    assert landings.newest_event_us() == 40
    landings.finish(replace(LANDING, version=3, newest_event_us=99, landed_us=70))
    assert landings.newest_event_us() == 70
    landings.finish(replace(LANDING, version=4, newest_event_us=30, landed_us=80))
    assert landings.newest_event_us() == 70


def test_publications_are_kept_apart_by_meaning(tmp_path: Path) -> None:
    publications = Publications(tmp_path, "customer_orders")
    assert publications.next_number() == 1
    other = replace(PUBLISHED, number=2, fingerprint="e" * 32)
    third = replace(PUBLISHED, number=3, superseding=True)
    for publication in (PUBLISHED, other, third):
        publications.write(publication)
    assert publications.all("f" * 32) == [PUBLISHED, third]
    assert publications.all("e" * 32) == [other]
    assert publications.next_number() == 4
    with pytest.raises(AlreadyWritten):
        publications.write(other)


def test_what_was_published_into_dropped_tables_is_forgotten(tmp_path: Path) -> None:
    publications = Publications(tmp_path, "customer_orders")
    other = replace(PUBLISHED, number=2, fingerprint="e" * 32)
    publications.write(PUBLISHED)
    publications.write(other)
    publications.forget("f" * 32)
    assert publications.all("f" * 32) == []
    assert publications.all("e" * 32) == [other]
    assert publications.next_number() == 3


def test_tables_are_named_by_view_and_meaning() -> None:
    definitions = shop()
    fingerprint = view_fingerprint(definitions.views["customer_orders"])
    name = view_table_name(definitions, "customer_orders")
    assert name == f"customer_orders__{fingerprint[:8]}"
    assert len(table_name("v" * 48, fingerprint)) == 48


def test_places_lie_in_the_state_folder(tmp_path: Path) -> None:
    places = Places(tmp_path)
    found = {
        places.events("orders"), places.views, places.view("v__1"), places.training_set("t"),
        places.receipts, places.scratch,
    }  # fmt: skip
    assert len(found) == 6
    assert all(tmp_path in place.parents for place in found)
    assert places.view("v__1").parent == places.views


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    holder = context.Process(target=hold, args=(tmp_path, theirs))
    holder.start()
    places = Places(tmp_path)
    try:
        assert ours.poll(20)
        assert ours.recv() == "held"
        with (
            pytest.raises(StateError, match="another process is the lander of orders"),
            places.exclusively("lander", "orders"),
        ):
            pass
        with places.exclusively("lander", "returns"), places.exclusively("publisher", "orders"):
            pass
    finally:
        holder.kill()  # as abruptly as a process can end
        holder.join(20)
    with places.exclusively("lander", "orders"):
        pass
    with places.exclusively("lander", "orders"):
        pass


def test_who_only_looks_is_in_nobodys_way(tmp_path: Path) -> None:
    places, done = Places(tmp_path), threading.Event()
    assert not places.is_held("lander", "orders")
    seen = []

    def look() -> None:
        while not done.is_set():
            seen.append(places.is_held("lander", "orders"))

    lookers = [threading.Thread(target=look) for _ in range(8)]
    for one in lookers:
        one.start()
    try:
        for _ in range(200):
            with places.exclusively("lander", "orders"):
                assert places.is_held("lander", "orders")
    finally:
        done.set()
        for one in lookers:
            one.join(20)
    assert not places.is_held("lander", "orders")
    assert set(seen) == {True, False}


@pytest.mark.parametrize("place", ["state", "state/locks"])
def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    blocked = tmp_path / place
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file")
    with (
        pytest.raises(EnvironmentFailure, match="cannot write to the state folder"),
        Places(tmp_path / "state").exclusively("lander", "orders"),
    ):
        pass
