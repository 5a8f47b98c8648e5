"""The leak check finds a join that leaks, whatever the way, and leaves the project as it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from tests.spark.benches import Bench
from twinlake.errors import InputError
from twinlake.flows.leak_checking import LeakCheck, check_leaks
from twinlake.lake import point_in_time

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("card", pa.int64()),
        ("shop", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("made", pa.timestamp("us", "UTC")),
        ("n", pa.int32()),
        ("amount", pa.decimal128(12, 2)),
        ("score", pa.float64()),
        ("place", pa.string()),
        ("good", pa.bool_()),
    ]
)
DEFINITIONS = """
card = Entity("card", join_keys={"card": "bigint"})
shop = Entity("shop", join_keys={"shop": "string"})
sales = Source(
    "sales",
    schema="id bigint, card bigint, shop string, at timestamp, made timestamp, n int, "
    "amount decimal(12,2), score double, place string, good boolean",
    event_timestamp="at", event_id="id", known=KNOWN, batch=Files("in"),
    with_columns={"net": Derived("double", "amount * 0.8")}, where="n >= 0",
)
windows = lambda name: {f"{name}_2d": "2d", f"{name}_9d": "9d"}
by_card = FeatureView(
    "by_card", entity=card, source=sales, hop="1d", ttl="20d",
    features=[
        Column("place"), Column("good"), Column("amount"),
        Aggregate("count", windows=windows("count")),
        Aggregate("sum", "net", windows=windows("sum")),
        Aggregate("mean", "amount", windows=windows("mean")),
        Aggregate("min", "score", windows=windows("min")),
        Aggregate("max", "score", windows=windows("max")),
        Aggregate("stddev", "score", windows=windows("stddev")),
        Aggregate("first", "score", windows=windows("first")),
        Aggregate("last", "place", windows=windows("last")),
    ],
)
by_shop = FeatureView(
    "by_shop", entity=shop, source=sales, ttl="20d", max_events_per_key=1000,
    features=[Column("score", name="shop_score"), Aggregate("count", windows={"shop_3h": "3h"})],
)
both = FeatureService("both", features=[by_card, by_shop])
"""
START = dt.datetime(2014, 2, 1, tzinfo=dt.UTC)


def row(number: int) -> dict[str, Any]:
    at = START + dt.timedelta(hours=7 * number)
    return {
        "id": number, "card": number % 4, "shop": f"s{number % 3}", "at": at,
        "made": at + dt.timedelta(hours=number % 5), "n": number % 7, "amount": number,
        "score": number / 3, "place": f"p{number}", "good": number % 2 == 0,
    }  # fmt: skip


@pytest.fixture(scope="module", params=['"event"', '"made"'], ids=["event", "made"])
def bench(request: pytest.FixtureRequest, module_bench: Callable[[], Bench]) -> Bench:
    made = module_bench().define(DEFINITIONS.replace("KNOWN", request.param))
    made.apply().put("1", [row(number) for number in range(120)], SCHEMA)
    made.materialize()
    return made


def knows(bench: Bench) -> bool:
    return bench.project.definitions.sources["sales"].known == "made"


def run(bench: Bench, **told: Any) -> LeakCheck:
    return check_leaks(bench.project, "both", **({"keys": 2} | told))


def test_a_sound_join_leaks_nothing_and_every_feature_was_tested(bench: Bench) -> None:
    before = (bench.delta_versions(), bench.write_times())
    state = {path for path in (bench.folder / "state").rglob("*") if "_delta_log" in path.parts}
    done = run(bench)
    assert not done.examined.leaks
    assert done.examined.untested == []
    assert done.examined.rows == 10
    assert set(done.examined.planted) == (
        {"future", "not yet known"} if knows(bench) else {"future"}
    )
    assert bool(done.notes) != knows(bench)
    assert (bench.delta_versions(), bench.write_times()) == before
    after = {path for path in (bench.folder / "state").rglob("*") if "_delta_log" in path.parts}
    assert after == state
    assert not list(bench.project.places.scratch.glob("leak-check-*"))


def test_a_join_that_sees_the_next_microsecond_is_caught(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = point_in_time._spine_side

    def later(*told: Any) -> DataFrame:
        tick = (F.col("event_us") + 1).alias("event_us")
        return real(*told).withColumns({"event_us": tick, "known_us": tick})

    monkeypatch.setattr(point_in_time, "_spine_side", later)
    done = run(bench)
    leaks = done.examined.leaks
    assert leaks
    assert {leak.view for leak in leaks} == {"by_card", "by_shop"}
    future = [leak for leak in leaks if leak.planted == "future"]
    assert all(leak.planted_event_us == leak.as_of_us + 1 for leak in future)
    # The announced row, too: what was known early is not to be seen early.
    assert future
    assert all(set(leak.key) <= {"card", "shop"} for leak in leaks)
    assert all(leak.expected != leak.found for leak in leaks)
    assert {leak.key["card"] for leak in leaks if "card" in leak.key} <= {0, 1, 2, 3}


def test_a_join_that_ignores_when_a_row_became_known_is_caught(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = point_in_time._event_side

    def at_once(*told: Any) -> DataFrame:
        return real(*told).withColumn("known_us", F.col("event_us"))

    monkeypatch.setattr(point_in_time, "_event_side", at_once)
    leaks = run(bench).examined.leaks
    assert {leak.planted for leak in leaks} == ({"not yet known"} if knows(bench) else set())
    if knows(bench):
        assert all(leak.planted_known_us > leak.as_of_us for leak in leaks)
        features = {leak.feature for leak in leaks}
        assert features >= {"first_2d", "first_9d", "min_2d", "shop_score", "shop_3h"}


def test_a_join_that_ignores_when_a_row_happened_is_caught(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = point_in_time._event_side

    def by_knowledge(*told: Any) -> DataFrame:
        return real(*told).withColumn("event_us", F.least("event_us", "known_us"))

    monkeypatch.setattr(point_in_time, "_event_side", by_knowledge)
    leaks = run(bench).examined.leaks
    if knows(bench):
        assert "future" in {leak.planted for leak in leaks}
    else:
        assert not leaks


def test_rows_of_a_spine_are_checked(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "spine.parquet"
    times = pa.array([START + dt.timedelta(days=n) for n in range(30)], pa.timestamp("us", "UTC"))
    cards = pa.array([n % 5 for n in range(30)], pa.int64())
    shops = pa.array([f"s{n % 3}" for n in range(30)])
    table = pa.table({"card": cards, "shop": shops, "event_timestamp": times})
    pq.write_table(table, path)
    done = run(bench, spine=path)
    assert (done.examined.rows, done.examined.leaks) == (10, [])
    pq.write_table(table.drop_columns(["shop"]), path)
    with pytest.raises(InputError, match="has no column 'shop'"):
        run(bench, spine=path)
