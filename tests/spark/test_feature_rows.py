"""Feature rows: each event's row is what the oracle says, whatever the order of arrival."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.spark import oracle, readings
from tests.spark.benches import Bench, without
from twinlake.definitions.times import DAY_US
from twinlake.errors import InputError
from twinlake.flows import checking, reading
from twinlake.flows.project import online_table
from twinlake.lake import feature_rows
from twinlake.online.reader import serve

ROWS = readings.random_rows(random.Random(11), keys=200, per_key=5)


@dataclass(frozen=True)
class Published:
    """All rows landed and published at once; tests only read it."""

    bench: Bench
    by_key: readings.Known
    by_sequence: readings.Sequences


@pytest.fixture(scope="module")
def published(module_bench: Callable[[], Bench]) -> Published:
    bench = module_bench().define(readings.definitions()).apply()
    bench.put("all", ROWS, readings.SCHEMA)
    bench.materialize()
    return Published(bench, *readings.known_events(bench, ROWS))


@pytest.mark.parametrize("name", readings.VIEWS)
def test_every_row_is_what_the_oracle_says_as_of_its_event(published: Published, name: str) -> None:
    view = readings.VIEWS[name]
    stored = published.bench.feature_rows(name, every=True)
    assert len(stored) == len(ROWS)
    wrong = []
    for row in stored:
        event = published.by_sequence[row["_event_version"], row["_event_row"]]
        assert (row["k"], row["g"]) == event.key
        assert (row["event_timestamp"], row["_known_timestamp"]) == (
            event.event_us,
            event.known_us,
        )
        own = published.by_key[event.key]
        expected = oracle.values(own, event.event_us, event.known_us, view)
        wrong += [
            (event, feature.name, value, row[feature.name])
            for feature, value in zip(view.features, expected, strict=True)
            if oracle.bits(row[feature.name]) != oracle.bits(value)
        ]
    assert not wrong, (len(wrong), wrong[:3])


def content(bench: Bench, name: str) -> Counter[Any]:
    """The newest feature rows without their sequences, which tell by which batch they came."""
    system = ("_event_version", "_event_row", "_view_version")
    return Counter(
        tuple(oracle.bits(cell) for cell in without(row, system).values())
        for row in bench.feature_rows(name)
    )


def test_any_order_of_arrival_ends_in_the_rows_of_one_batch(
    published: Published, bench: Bench
) -> None:
    draw = random.Random(5)
    rows = draw.sample(ROWS, len(ROWS))
    names = ("tiled", "plain")
    bench.define(readings.definitions(*names)).apply()
    parts = [rows[:300], rows[300:310], rows[310:]]
    for number, part in enumerate(parts):
        bench.put(str(number), part, readings.SCHEMA)
        bench.materialize(incremental=True)
    for name in names:
        assert content(bench, name) == content(published.bench, name), name
        by_row: dict[Any, list[int]] = {}
        for row in bench.feature_rows(name, every=True):
            at = (row["_event_version"], row["_event_row"])
            by_row.setdefault(at, []).append(row["_view_version"])
        assert len(by_row) == len(ROWS)
        # What is written again carries a higher version, and no version holds a row twice.
        assert all(len(set(versions)) == len(versions) for versions in by_row.values())
        assert all(min(versions) >= at[0] for at, versions in by_row.items())
        if name != "plain":
            assert any(len(versions) > 1 for versions in by_row.values())
    by_key, _ = readings.known_events(bench, ROWS)
    check_served(bench, by_key, newest_us(by_key) + 1)


def views(bench: Bench) -> Iterator[Any]:
    yield from bench.project.applied().definitions.views.values()


def newest_us(by_key: readings.Known) -> int:
    return max(e.event_us for held in by_key.values() for e in held)


def check_served(bench: Bench, by_key: readings.Known, as_of_us: int) -> Counter[str]:
    """Compare what every key is served with the oracle; give how often each status came."""
    statuses: Counter[str] = Counter()
    wrong = []
    for view in views(bench):
        keys = [*by_key, ("nobody", 0)]
        served = serve(bench.project.store, online_table(view), view, keys, as_of_us)
        shape = readings.VIEWS[view.name]
        for key, answers in zip(keys, served.rows, strict=True):
            expected = oracle.answer(by_key.get(key, []), as_of_us, as_of_us, shape)
            for feature, (status, value) in zip(shape.features, expected, strict=True):
                found = answers[feature.name]
                wanted = "missing" if status == "not_yet_known" else status
                statuses[wanted] += 1
                cell = readings.plain_cell(found.value)
                if found.status != wanted or oracle.bits(cell) != oracle.bits(value):
                    wrong.append((view.name, key, feature.name, status, value, found))
    assert not wrong, (len(wrong), wrong[:3])
    return statuses


def test_online_is_the_fold_at_the_data_clock_and_at_any_later_moment(
    published: Published,
) -> None:
    bench = published.bench
    clock_us = newest_us(published.by_key)
    tiled = bench.project.view("tiled")
    assert reading.clock_reading(bench.project, tiled, None).at_us == clock_us
    draw = random.Random(8)
    moments = [clock_us, clock_us + 1, (clock_us // DAY_US + 1) * DAY_US]
    moments += [clock_us + draw.randrange(12 * DAY_US) for _ in range(3)]
    found: Counter[str] = Counter()
    for as_of_us in moments:
        found += check_served(bench, published.by_key, as_of_us)
    assert set(found) == {"present", "null", "missing", "expired"}


def test_parity_is_clean_where_rows_become_known_later(published: Published) -> None:
    bench = published.bench
    verdict = checking.check_parity(bench.project, list(views(bench)), None)
    assert verdict.mismatches == 0, verdict.differences[:5]
    assert verdict.keys == len(published.by_key)


def test_a_moment_before_the_newest_event_is_refused(published: Published) -> None:
    key, held = next(iter(published.by_key.items()))
    newest = max(e.event_us for e in held)
    view = published.bench.project.view("tiled")
    table = online_table(view)
    store = published.bench.project.store
    assert serve(store, table, view, [key], newest).stored[0]
    with pytest.raises(InputError, match="training set") as caught:
        serve(store, table, view, [key], newest - 1)
    assert key[0] in str(caught.value)


def test_stored_columns_are_those_as_of_the_newest_event(published: Published) -> None:
    project = published.bench.project
    columns = {
        name: [column for column, _ in online_table(project.view(name)).features]
        for name in readings.VIEWS
    }
    for name, shape in readings.VIEWS.items():
        stored = published.bench.online(name)
        assert stored.keys() == published.by_key.keys()
        for key, row in stored.items():
            held = published.by_key[key]
            newest = max(held, key=lambda e: (e.event_us, e.known_us, e.tie))
            all_known = max(e.known_us for e in held)
            values = oracle.values(held, newest.event_us, all_known, shape)
            expected = {f.name: oracle.bits(v) for f, v in zip(shape.features, values, strict=True)}
            cells = [oracle.bits(readings.plain_cell(value)) for value in row.values]
            assert dict(zip(columns[name], cells, strict=True)) == expected, (name, key)
            assert (row.event_us, row.known_us) == (newest.event_us, newest.known_us)


def test_a_worker_is_given_more_parts_than_cores_only_for_many_rows() -> None:
    assert feature_rows.parts_for(10, 2) == 2
    assert feature_rows.parts_for(5 * feature_rows.ROWS_PER_PART, 2) == 6
