"""The online reader: what a naive look at the events gives, as of any moment that it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.unit.assurance import naive
from tests.unit.assurance.naive import Happened
from tests.unit.online.meters import events, features, folded, meter_view
from twinlake import Aggregate, Column, FeatureView
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import view_features
from twinlake.definitions.views import Feature
from twinlake.errors import InputError, StateError
from twinlake.flows.project import online_table
from twinlake.online.reader import Served, serve
from twinlake.online.sqlite import SqliteStore
from twinlake.online.store import Key, OnlineTable

# Without shrinking: with a hundred features and a file to write, that takes minutes.
profile = settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NUMBERS = count(1)
SHAPES = st.sampled_from([("10us", "60us"), ("20us", None), (None, "45us"), (None, None)])
CELLS: dict[str, Any] = dict.fromkeys(["x", "f", "n", "d", "s", "b", "day", "seen"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "online.sqlite") as opened:
        yield opened


def table_of(store: SqliteStore, view: FeatureView) -> OnlineTable:
    table = online_table(view)
    store.create(table)
    return table


def expected(
    view: FeatureView, features: Sequence[Feature], rows: list[Happened], as_of_us: int
) -> dict[str, Served]:
    """What is served of a key, by definition."""
    seen = naive.visible(rows, as_of_us, as_of_us)
    answers = {}
    ttl_us, hop_us = view.ttl_us, view.hop_us
    for feature in features:
        if not seen:
            answers[feature.name] = Served(None, "missing", None)
            continue
        at_us = seen[-1].event_us
        if ttl_us is not None and as_of_us - at_us > ttl_us:
            answers[feature.name] = Served(None, "expired", at_us)
            continue
        value = naive.value(feature, seen, as_of_us, hop_us)
        answers[feature.name] = Served(value, "null" if value is None else "present", at_us)
    return answers


def typed(served: Mapping[str, Served]) -> dict[str, tuple[Any, ...]]:
    """With the types of the values, which ``==`` does not look at, and doubles bit for bit."""
    return {
        name: (
            type(one.value).__name__,
            one.value.hex() if isinstance(one.value, float) else one.value,
            one.status,
            one.event_us,
        )
        for name, one in served.items()
    }


def known_by(rows: list[Happened]) -> int:
    return max(max(row.event_us, row.known_us) for row in rows)


@profile
@given(
    st.lists(events(), min_size=1, max_size=3),
    SHAPES,
    st.lists(st.integers(0, 70), min_size=1, max_size=3),
)
def test_what_is_served_is_what_happened(
    store: SqliteStore,
    keys: list[list[Happened]],
    shape: tuple[str | None, str | None],
    steps: list[int],
) -> None:
    view, number = meter_view(*shape), next(NUMBERS)
    table = table_of(store, view)
    rows: dict[Key, list[Happened]] = {
        (number, f"r{place}"): happened for place, happened in enumerate(keys)
    }
    store.write(table, folded(view, rows, 10**9, number))
    asked: list[Key] = [(number, "none"), *reversed(rows), *rows]
    exact_from, declared = max(map(known_by, keys)), view_features(view)
    for step in (0, *steps):
        served = serve(store, table, view, asked, exact_from + step)
        for key, answers, version in zip(asked, served.rows, served.versions, strict=True):
            happened = rows.get(key, [])
            assert typed(answers) == typed(expected(view, declared, happened, exact_from + step))
            assert version == (number if happened else None)
        assert [None if row is None else row.key for row in served.stored] == [None, *asked[1:]]


@profile
@given(events(), st.integers(-10, 40), st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_rows_that_were_ahead_of_their_landing_come_in_time(
    store: SqliteStore, happened: list[Happened], version_us: int, steps: list[int]
) -> None:
    view, key = meter_view(), (next(NUMBERS), "r")
    table = table_of(store, view)
    store.write(table, folded(view, {key: happened}, version_us))
    exact_from = min(known_by(happened), version_us)
    for step in steps:
        as_of_us = exact_from + step
        (answers,) = serve(store, table, view, [key], as_of_us).rows
        assert typed(answers) == typed(expected(view, view_features(view), happened, as_of_us))


def test_some_features_in_the_order_asked_for(store: SqliteStore) -> None:
    view, key = meter_view(), (1, "r")
    table = table_of(store, view)
    rows = [Happened(5, 5, 1, CELLS | {"x": 1.5, "n": 3}), Happened(9, 9, 2, CELLS | {"x": 0.5})]
    store.write(table, folded(view, {key: rows}, 10**9))
    names = ["n", "rows_20us", "x_max_40us", "x"]
    (answers,) = serve(store, table, view, [key], 9, names).rows
    assert list(answers) == names
    assert [answers[name].value for name in names] == [None, 2, 1.5, 0.5]
    assert [answers[name].status for name in names] == ["null", "present", "present", "present"]
    with pytest.raises(KeyError):
        serve(store, table, view, [key], 9, ["speed"])


def test_a_quiet_key_decays_and_then_expires(store: SqliteStore) -> None:
    view, key = meter_view(), (1, "r")
    table = table_of(store, view)
    store.write(table, folded(view, {key: [Happened(5, 5, 1, CELLS | {"x": 1.5})]}, 10**9))

    def at(as_of_us: int) -> list[tuple[Any, str]]:
        (answers,) = serve(store, table, view, [key], as_of_us, ["rows_20us", "x"]).rows
        assert {answer.event_us for answer in answers.values()} == {5}
        return [(answer.value, answer.status) for answer in answers.values()]

    assert at(29) == [(1, "present"), (1.5, "present")]
    assert at(30) == [(0, "present"), (1.5, "present")]
    assert at(65) == [(0, "present"), (1.5, "present")]
    assert at(66) == [(None, "expired"), (None, "expired")]


def test_columns_are_the_answer_while_they_are_valid(store: SqliteStore) -> None:
    view, key = meter_view(), (1, "r")
    table = table_of(store, view)
    (row,) = folded(view, {key: [Happened(5, 5, 1, CELLS | {"x": 1.5, "n": 1})]}, 10**9)
    place = [name for name, _ in table.features].index("x")
    told_apart = (*row.values[:place], 2.5, *row.values[place + 1 :])
    store.write(table, [row._replace(values=told_apart)])

    def x_at(as_of_us: int, *, columns: bool = True) -> Any:
        return serve(store, table, view, [key], as_of_us, columns=columns).rows[0]["x"].value

    until_us = row.valid_until_us
    assert until_us is not None
    assert [x_at(5), x_at(until_us - 1)] == [2.5, 2.5]
    assert x_at(until_us) == 1.5
    assert x_at(5, columns=False) == 1.5


def test_columns_that_hold_a_row_not_known_yet_are_no_answer(store: SqliteStore) -> None:
    view, key = meter_view(), (1, "r")
    table = table_of(store, view)
    rows = [
        Happened(5, 5, 1, CELLS | {"x": 1.5, "n": 1}),
        Happened(6, 20, 2, CELLS | {"x": 2.5, "n": 2}),
    ]
    store.write(table, folded(view, {key: rows}, 10))

    def x_at(as_of_us: int) -> Any:
        return serve(store, table, view, [key], as_of_us).rows[0]["x"].value

    assert [x_at(12), x_at(20)] == [1.5, 2.5]


def test_a_null_column_may_be_an_overflow(store: SqliteStore) -> None:
    view, key = meter_view(), (1, "r")
    table = table_of(store, view)
    rows = [Happened(at, at, at, CELLS | {"n": 2**62, "x": 0.5}) for at in (5, 6)]
    (row,) = folded(view, {key: rows}, 10**9)
    store.write(table, [row])
    (answers,) = serve(store, table, view, [key], 6).rows
    assert answers["n_sum_20us"] == Served(None, "overflow", 6)
    assert answers["s"] == Served(None, "null", 6)


def test_nothing_was_ever_written(store: SqliteStore) -> None:
    view = meter_view()
    table = table_of(store, view)
    served = serve(store, table, view, [(1, "a"), (2, "b")], 0)
    assert served.stored == [None, None] == served.versions
    for answers in served.rows:
        assert set(answers.values()) == {Served(None, "missing", None)}
    assert serve(store, table, view, [], 0).rows == []


def test_an_earlier_moment_is_refused_with_key_and_time(store: SqliteStore) -> None:
    view = meter_view()
    table = table_of(store, view)
    cells = CELLS | {"n": 1}  # no null that may be an overflow: columns would be the answer
    rows = {(1, "early"): [Happened(5, 5, 1, cells)], (2, "late"): [Happened(9, 12, 1, cells)]}
    store.write(table, folded(view, rows, 10**9))
    with pytest.raises(InputError) as failure:
        serve(store, table, view, [(3, "none"), *rows], 11)
    assert "id=2, region=late" in failure.value.message
    assert "1970-01-01T00:00:00.000011Z" in failure.value.message
    assert "1970-01-01T00:00:00.000012Z" in failure.value.message
    assert "training set" in (failure.value.hint or "")
    assert serve(store, table, view, [(1, "early")], 11).rows


def test_a_damaged_state_is_no_value(store: SqliteStore) -> None:
    view = meter_view()
    table = table_of(store, view)
    rows = {
        (1, "a"): [Happened(5, 5, 1, CELLS | {"s": "text", "n": 1})],
        (2, "b"): [Happened(5, 5, 1, CELLS)],
    }
    good, other = folded(view, rows, 10**9)
    store.write(table, [good, other])
    state = good.state
    for write_us, broken in enumerate(
        [b"", state[:40], state[:-8], state[:-3], b"X" + state[1:], state + b"\0" * 8], 10
    ):
        store.write(table, [good._replace(state=broken, write_us=write_us)])
        with pytest.raises(StateError, match="state 0"):
            serve(store, table, view, list(rows), 9)
    assert serve(store, table, view, [(2, "b")], 9).rows


def test_a_state_of_another_meaning_is_no_value(store: SqliteStore) -> None:
    view, key = meter_view(), (1, "r")
    changed = meter_view(ttl="61us")
    assert view_fingerprint(changed) != view_fingerprint(view)
    table = table_of(store, view)
    store.write(table, folded(changed, {key: [Happened(5, 5, 1, CELLS | {"n": 1})]}, 10**9))
    with pytest.raises(StateError, match="fingerprint"):
        serve(store, table, view, [key], 9)


@profile
@given(events(), st.permutations(list(features("20us", "40us"))))
def test_the_order_of_features_is_no_meaning(
    store: SqliteStore, happened: list[Happened], shuffled: list[Column | Aggregate]
) -> None:
    view, key = meter_view(), (next(NUMBERS), "r")
    other = meter_view(features=shuffled)
    assert view_fingerprint(other) == view_fingerprint(view)
    assert online_table(other) == online_table(view)
    table = table_of(store, view)
    (row,) = folded(view, {key: happened}, 10**9)
    store.write(table, [row])
    assert folded(other, {key: happened}, 10**9) == [row]
    as_of_us = known_by(happened)
    (answers,) = serve(store, online_table(other), other, [key], as_of_us).rows
    assert list(answers) == [feature.name for feature in view_features(other)]
    assert typed(answers) == typed(expected(other, view_features(other), happened, as_of_us))


def test_many_keys_in_one_round(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    view = meter_view()
    table = table_of(store, view)
    rows: dict[Key, list[Happened]] = {
        (number, "r"): [Happened(number % 7, number % 7, 1, CELLS | {"n": number})]
        for number in range(500)
    }
    store.write(table, folded(view, rows, 10**9))
    asked: list[Key] = [(number * 7 % 1_000, "r") for number in range(600)]
    reads = 0
    read = store.read

    def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(*arguments)

    monkeypatch.setattr(store, "read", counted)
    answers = serve(store, table, view, asked, 20, ["n"]).rows
    assert reads == 1
    assert [row["n"].value for row in answers] == [n if n < 500 else None for n, _ in asked]
    assert [row["n"].status for row in answers] == [
        "present" if n < 500 else "missing" for n, _ in asked
    ]
