"""What a test of features is answered: by definition, whatever happened, by both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.unit.assurance import naive
from tests.unit.assurance.naive import OVER, Happened
from tests.unit.online.meters import COLUMNS, METER, events, meter_view
from twinlake import (
    Aggregate,
    Column,
    FeatureService,
    FeatureView,
    Files,
    Request,
    Source,
    on_demand,
)
from twinlake.definitions.resolution import view_features
from twinlake.definitions.times import to_datetime
from twinlake.definitions.views import Feature
from twinlake.errors import CheckFailed, InputError
from twinlake.online.reader import Served
from twinlake.online.store import OnlineRow
from twinlake.testing.both_ways import Event, Question, ViewRows, difference
from twinlake.testing.feature_test import FeatureTest
from twinlake.testing.happened import read_rows
from twinlake.testing.history import History

SOURCE = Source(
    "readings",
    schema=", ".join(f"{name} {kind}" for name, kind in {**METER.join_keys, **COLUMNS}.items())
    + ", at timestamp, learned timestamp, row bigint",
    event_timestamp="at",
    event_id="row",
    known="learned",
    batch=Files("readings/"),
)
SHAPES = st.sampled_from([("10us", "60us"), ("20us", None), (None, "45us"), (None, None)])
feature_test = FeatureTest()
# Without shrinking: with a hundred features that takes minutes.
profile = settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


def told(happened: Sequence[Happened], region: str) -> list[dict[str, Any]]:
    """Events as the rows of a test."""
    return [
        {
            **row.cells,
            "id": 1,
            "region": region,
            "at": to_datetime(row.event_us),
            "learned": to_datetime(row.known_us),
        }
        for row in happened
    ]


def expected(
    view: FeatureView,
    feature: Feature,
    rows: Sequence[Happened],
    as_of_us: int,
    known_by_us: int,
) -> tuple[Any, str]:
    """A feature by definition."""
    seen = naive.visible(list(rows), as_of_us, known_by_us)
    if not seen:
        happened = any(row.event_us <= as_of_us for row in rows)
        return None, "not_yet_known" if happened else "missing"
    if view.ttl_us is not None and as_of_us - seen[-1].event_us > view.ttl_us:
        return None, "expired"
    most = view.max_events_per_key if view.hop_us is None else None
    value = naive.value(feature, seen, as_of_us, view.hop_us, most)
    if value is OVER:
        return None, "overflow"
    return value, "null" if value is None else "present"


def orders_of(rows: Sequence[Happened]) -> list[list[Happened]]:
    """The rows in every order in which those of one event and known time may stand."""
    together = [row for row in rows if sum(_time(row) == _time(other) for other in rows) > 1]
    apart = [row for row in rows if row not in together]
    return [
        [*apart, *(replace(row, tie=place) for place, row in enumerate(order))]
        for order in permutations(together)
    ]


def _time(row: Happened) -> tuple[int, int]:
    return row.event_us, row.known_us


def coarse(rows: Sequence[Happened], grain_us: int) -> list[Happened]:
    """Rows at fewer times, so that some stand together."""
    return [
        replace(
            row,
            event_us=row.event_us // grain_us * grain_us,
            known_us=-(-row.known_us // grain_us) * grain_us,
        )
        for row in rows
    ]


def bits(value: Any) -> Any:
    return value.hex() if isinstance(value, float) else value


@profile
@given(
    events(),
    events(),
    SHAPES,
    st.sampled_from([2, 100]),
    st.integers(-20, 130),
    st.none() | st.integers(-20, 130),
    st.sampled_from([1, 12]),
)
def test_answers_are_those_of_the_definition(
    happened: list[Happened],
    others: list[Happened],
    shape: tuple[str | None, str | None],
    most: int,
    as_of_us: int,
    known_by_us: int | None,
    grain_us: int,
) -> None:
    happened, others = coarse(happened, grain_us), coarse(others, grain_us)
    view = meter_view(*shape, source=SOURCE, max_events_per_key=most)
    history = feature_test(view, [*told(happened, "north"), *told(others, "south")])
    known_by = None if known_by_us is None else to_datetime(known_by_us)
    answers = history.at(to_datetime(as_of_us), known_by=known_by, id=1, region="north")
    k_us = as_of_us if known_by_us is None else known_by_us
    orders = orders_of(happened) if len(happened) < 6 else []
    for feature in view_features(view):
        may_be = {
            tuple(map(bits, expected(view, feature, order, as_of_us, k_us))) for order in orders
        }
        if feature.name in answers._undecided:
            assert len(may_be) != 1
            with pytest.raises(InputError, match="a hash decides"):
                answers.value(feature.name)
        elif may_be:
            one = (answers.value(feature.name), answers.status(feature.name))
            assert may_be == {tuple(map(bits, one))}, feature.name


def test_a_key_that_never_happened_is_missing() -> None:
    view = meter_view(source=SOURCE)
    answers = feature_test(view, []).at("2020-01-01", id=1, region="x")
    assert {answers.status(name) for name in answers.values()} == {"missing"}


def small_view(*features: Column | Aggregate, **changes: Any) -> FeatureView:
    return meter_view("10us", None, source=SOURCE, features=list(features), **changes)


ROWS: list[dict[str, Any]] = [
    {"id": 1, "region": "n", "at": "1970-01-01T00:00:01", "learned": "1970-01-01T00:00:01", "x": 2},
    {"id": 1, "region": "n", "at": "1970-01-01T00:00:02", "learned": "1970-01-01T00:00:09", "x": 4},
]
ASKED: dict[str, Any] = {"id": 1, "region": "n"}


def test_what_was_known_by_then() -> None:
    view = small_view(Column("x"), Aggregate("count", windows={"rows": "1h"}))
    history = feature_test(view, ROWS)
    history.at("1970-01-01T00:00:05", **ASKED).equals(x=2.0, rows=1)
    history.at("1970-01-01T00:00:09", **ASKED).equals(x=4.0, rows=2)
    history.at("1970-01-01T00:00:05", known_by="1970-01-01T00:00:09", **ASKED).equals(x=4, rows=2)
    history.at("1970-01-01T00:00:10", known_by="1970-01-01T00:00:08", **ASKED).equals(x=2, rows=1)
    before = history.at("1970-01-01T00:00:03", known_by="1970-01-01", **ASKED)
    before.equals(x=None, rows=None).has_status(x="not_yet_known", rows="not_yet_known")


def test_what_is_known_ahead_of_its_time_comes_in_time() -> None:
    view = small_view(Column("x"), Aggregate("count", windows={"rows": "1h"}))
    ahead = {**ROWS[1], "learned": "1970-01-01T00:00:01"}
    history = feature_test(view, [ROWS[0], ahead])
    history.at("1970-01-01T00:00:01.5", **ASKED).equals(x=2, rows=1)
    history.at("1970-01-01T00:00:02", **ASKED).equals(x=4, rows=2)
    only = feature_test(view, [ahead]).at("1970-01-01T00:00:01.5", **ASKED)
    only.has_status(x="missing", rows="missing")


def test_a_key_expires_one_microsecond_after_its_time() -> None:
    view = meter_view("10us", "60us", source=SOURCE, features=[Column("x")])
    history = feature_test(view, ROWS[:1])
    history.at("1970-01-01T00:00:01.000060", **ASKED).equals(x=2)
    late = history.at("1970-01-01T00:00:01.000061", **ASKED)
    late.equals(x=None).has_status(x="expired")


def test_what_a_hash_decides_is_not_answered() -> None:
    """Of rows with one time each may be the newest, so each takes its turn."""
    view = small_view(
        Column("x"),
        Column("s"),
        Aggregate("sum", "x", windows={"total": "1h"}),
        Aggregate("first", "x", windows={"first": "1h"}),
    )
    rows = [{**ROWS[0], "x": x, "s": "same"} for x in (5, 3, 5)]
    answers = feature_test(view, rows).at("1970-01-01T00:00:01", **ASKED)
    answers.equals(s="same", total=13)
    for name in ("x", "first"):
        with pytest.raises(InputError, match=r"feature .* a hash decides"):
            answers.equals(**{name: 5})
    later = {**ROWS[0], "at": "1970-01-01T00:00:02", "learned": "1970-01-01T00:00:02", "x": 8}
    newest = feature_test(view, [*rows, later]).at("1970-01-01T00:00:02", **ASKED)
    newest.equals(x=8, s=None, total=21)
    with pytest.raises(InputError, match="a hash decides"):
        newest.value("first")


class Forgetful(ViewRows):
    """Publishes all but the newest row, as a defect might."""

    def published(self, rows: Sequence[Event], version_us: int) -> list[OnlineRow]:
        return super().published(rows[:-1], version_us)


def test_ways_that_differ_fail_the_test() -> None:
    view = small_view(Aggregate("count", windows={"rows": "1h"}))
    rows = read_rows(SOURCE, ROWS, [view], None)
    history = History(FeatureService("s", features=[view]), {"readings": rows})
    history._views = {view.name: Forgetful(view, rows)}
    with pytest.raises(CheckFailed) as caught:
        history.at("1970-01-01T00:00:10", **ASKED)
    assert caught.value.message == (
        "s as of 1970-01-01T00:00:10Z, id=1, region=n: feature rows is 2 (present of "
        "1970-01-01T00:00:02Z) in a training set and 1 (present of 1970-01-01T00:00:01Z) when read "
        "from the row published then"
    )


@pytest.mark.parametrize(
    "other",
    [
        Served(2, "present", 5),
        Served(1.0, "present", 5),
        Served(1, "present", 6),
        Served(None, "null", 5),
    ],
)
def test_each_difference_is_seen(other: Served) -> None:
    one = Served(1, "present", 5)
    assert difference({"a": one}, {"a": one}) is None
    assert difference({"a": one}, {"a": other}) == ("a", one, other)


def test_a_read_says_missing_where_training_says_not_yet_known() -> None:
    missing = Served(None, "missing", None)
    assert difference({"a": Served(None, "not_yet_known", None)}, {"a": missing}) is None
    assert difference({"a": Served(None, "expired", None)}, {"a": missing}) is not None


def test_reads_are_asked_in_each_way_they_can_be() -> None:
    view = small_view(Column("x"))
    rows = ViewRows(view, read_rows(SOURCE, ROWS, [view], None))
    key = (1, "n")
    assert len(rows.served(Question(key, 10_000_000))) == 4
    assert len(rows.served(Question(key, 1_500_000))) == 2  # the row of all rows is of later
    assert len(rows.served(Question(key, 10_000_000, 1_500_000))) == 2
    assert rows.served(Question(key, 1_500_000, 10_000_000)) == {}


VIEW = small_view(Column("x"), Aggregate("mean", "x", windows={"mean": "1h"}))


@on_demand(inputs=[VIEW, Request(y="double")], outputs={"ratio": "double", "big": "boolean"})
def ratios(f: dict[str, Any]) -> dict[str, Any]:
    return {"ratio": f["y"] / f["mean"], "big": f["x"] > f["mean"]}


@on_demand(inputs=[VIEW], outputs={"share": "double"})
def share_of_all(f: dict[str, Any]) -> dict[str, Any]:
    return {"share": f["x"] / f["x"].sum()}


@on_demand(inputs=[VIEW], outputs={"odd": "double"})
def odd_only(f: dict[str, Any]) -> dict[str, Any]:
    if (f["x"] % 4 == 0).any():
        raise ValueError("four")
    return {"odd": f["x"]}


def test_on_demand_features_over_stored_ones_and_request_fields() -> None:
    history = feature_test(ratios, ROWS)
    history.at("1970-01-01T00:00:09", y=6, **ASKED).equals(ratio=2, big=True, mean=3, x=4)
    history.at("1970-01-01T00:00:09", y=None, **ASKED).equals(ratio=None).has_status(big="null")
    later = history.at("1970-01-01T03:00", y=6, **ASKED)
    later.equals(mean=None, ratio=None, x=4).has_status(ratio="null")


def test_a_function_that_looks_beside_its_row_is_refused() -> None:
    history = feature_test(share_of_all, ROWS)
    with pytest.raises(InputError, match=r"1\.0 alone and 0\.5") as caught:
        history.at("1970-01-01T00:00:09", **ASKED)
    assert "view share_of_all" in caught.value.message


def test_a_function_that_fails_gives_error_for_its_row_only() -> None:
    history = feature_test(odd_only, ROWS)
    history.at("1970-01-01T00:00:05", **ASKED).equals(odd=2)
    failed = history.at("1970-01-01T00:00:09", **ASKED).has_status(odd="error")
    with pytest.raises(AssertionError, match="odd_only: ValueError: four"):
        failed.equals(odd=4)


def test_a_whole_service_of_two_sources() -> None:
    other = Source(
        "visits",
        schema="id bigint, region string, at timestamp",
        event_timestamp="at",
        batch=Files("v/"),
    )
    visits = FeatureView(
        "visits",
        entity=METER,
        source=other,
        hop="1d",
        features=[Aggregate("count", windows={"visits": "7d"})],
    )
    service = FeatureService("both", features=[visits, VIEW.select("mean")])
    history = feature_test(service, {"readings": ROWS, "visits": [{**ASKED, "at": "1970-01-01"}]})
    history.at("1970-01-01T00:00:09", **ASKED).equals(visits=1, mean=3)
    assert len(history.rows("visits")) == 1
    with pytest.raises(InputError, match="reads the sources visits, readings"):
        feature_test(service, ROWS)
    with pytest.raises(InputError, match="no source of both named 'visit'"):
        feature_test(service, {"visit": []})
    with pytest.raises(InputError, match="no source named"):
        history.rows()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"id": 1}, "cannot be asked by without region"),
        ({**ASKED, "x": 1}, "cannot be asked by x"),
        ({"id": "one", "region": "n"}, "id='one' is no bigint"),
    ],
)
def test_a_question_that_does_not_fit_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        feature_test(VIEW, ROWS).at("1970-01-01", **asked)
