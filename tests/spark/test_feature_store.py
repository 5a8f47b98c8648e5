"""``twinlake.open`` gives a store whose verbs do what the command line does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

import twinlake
from tests.spark.benches import Bench
from twinlake.errors import InputError
from twinlake.flows.feature_store import FeatureStore

SCHEMA = pa.schema([("k", pa.string()), ("at", pa.timestamp("us", "UTC")), ("v", pa.float64())])
DEFINITIONS = """
readings = Source(
    "readings", schema="k string, at timestamp, v double", event_timestamp="at", batch=Files("in")
)
meter = Entity("meter", join_keys={"k": "string"})
meter_sums = FeatureView(
    "meter_sums", entity=meter, source=readings, hop="1d", ttl="30d",
    features=[Column("v"), Aggregate("count", windows={"count_2d": "2d"})],
)
meters = FeatureService("meters", features=[meter_sums])
"""
FIRST = dt.datetime(2014, 2, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def folder(module_bench: Callable[[], Bench]) -> Bench:
    bench = module_bench().define(DEFINITIONS)
    values = [{"k": k, "at": FIRST + i * DAY, "v": float(i)} for k in "ab" for i in range(3)]
    bench.put("first", values, SCHEMA)
    return bench


@pytest.fixture(scope="module")
def store(folder: Bench, spark: SparkSession) -> FeatureStore:
    """Opened, applied and materialized up to the second day, then to the end."""
    opened = twinlake.open(folder.root, state=folder.folder / "state", spark=spark)
    assert opened.plan().changes
    assert opened.apply().changes
    assert not opened.apply().changes
    done = opened.materialize(end=FIRST + DAY, views=["meter_sums"])
    assert [landing.read for landing in done.landings.values() if landing] == [4]
    assert opened.materialize_incremental().changed
    assert not opened.materialize_incremental().changed
    return opened


def test_it_reads_online_as_of_any_later_moment(store: FeatureStore) -> None:
    now = store.get_online_features("meters", [{"k": "a"}, {"k": "none"}])
    assert now.to_dicts() == [
        {"k": "a", "v": 2.0, "count_2d": 3},
        {"k": "none", "v": None, "count_2d": None},
    ]
    assert now.statuses()[1] == {"v": "missing", "count_2d": "missing"}
    later = store.get_online_features("meters", [{"k": "a"}], as_of=FIRST + 9 * DAY)
    assert later.to_df().to_dict("records") == [{"k": "a", "v": 2.0, "count_2d": 0}]


def test_a_spine_comes_as_a_path_or_from_memory(store: FeatureStore, folder: Bench) -> None:
    times = pd.to_datetime([FIRST, FIRST + DAY, FIRST - DAY], utc=True)
    frame = pd.DataFrame(
        {
            "k": ["a", "b", "a"],
            "event_timestamp": times.astype("datetime64[ns, UTC]"),
            "y": [1, 2, 3],
        }
    )
    spines = store.project.places.spines
    before = set(spines.glob("*"))  # of other tests
    made = store.get_historical_features("meters", frame)
    found = made.to_df().sort_values("y")
    assert found["v"].tolist()[:2] == [0.0, 1.0]
    assert found["count_2d"].tolist()[:2] == [1, 2]
    assert found["meter_sums__status"].tolist() == ["present", "present", "missing"]
    assert (made.name, made.receipt.rows) == (made.training_set.name, 3)

    table = pa.Table.from_pandas(frame).cast(
        pa.schema(
            [("k", pa.string()), ("event_timestamp", pa.timestamp("us", "UTC")), ("y", pa.int64())]
        )
    )
    path = folder.folder / "spine.parquet"
    pq.write_table(table, path)
    names = {store.build_training_set("meters", spine).name for spine in (frame, table, path)}
    assert len(names) == 1
    assert len(set(spines.glob("*")) - before) == 1


def test_rows_come_in_any_form_with_what_is_asked_for_beside_them(store: FeatureStore) -> None:
    frame = pd.DataFrame({"k": ["a", "b", "c"], "event_timestamp": [FIRST + DAY] * 3})
    plain = ["k", "event_timestamp", "v", "count_2d"]
    made = store.get_historical_features("meters", frame, statuses=False)
    assert made.to_arrow().column_names == list(made.to_df()) == made.to_spark().columns == plain
    told = store.get_historical_features("meters", frame, event_timestamps=True)
    assert told.to_spark().columns == [
        *plain, "meter_sums__status", "meter_sums__event_timestamp",
    ]  # fmt: skip
    assert told.name == made.name
    rows = told.to_arrow().sort_by("k").to_pylist()
    assert [row["meter_sums__event_timestamp"] for row in rows] == [FIRST + DAY, FIRST + DAY, None]
    lazily = {tuple(row) for row in told.to_spark().select("k", "v", "count_2d").collect()}
    assert lazily == {("a", 1.0, 2), ("b", 1.0, 2), ("c", None, None)}
    assert lazily == {(row["k"], row["v"], row["count_2d"]) for row in rows}


def test_a_training_set_is_rebuilt_and_compared_by_its_name(store: FeatureStore) -> None:
    frame = pd.DataFrame({"k": ["a", "b"], "event_timestamp": [FIRST, FIRST + DAY]})
    one = store.get_historical_features("meters", frame)
    other = store.get_historical_features("meters", frame.iloc[:1])
    assert store.rebuild_training_set(one.name).verdict == "same"
    found = store.diff_training_sets(one.name, other.name).found
    assert (found.met, found.equal, found.only_a, found.only_b) == (1, 1, 1, 0)


def test_a_spine_that_cannot_be_kept_exactly_is_refused(store: FeatureStore) -> None:
    frame = pd.DataFrame({"k": ["a"], "event_timestamp": [pd.Timestamp(1, unit="ns", tz="UTC")]})
    with pytest.raises(InputError, match="no whole microseconds"):
        store.get_historical_features("meters", frame)
    with pytest.raises(InputError, match="a list is no spine"):
        store.get_historical_features("meters", [1, 2])


def test_parity_holds_and_tables_have_names(store: FeatureStore) -> None:
    verdict = store.parity("meters")
    assert (verdict.keys, verdict.mismatches) == (2, 0)
    assert store.sql("SELECT count(*) FROM meter_sums").collect()[0][0] == 6


def test_a_session_that_was_handed_over_goes_on(folder: Bench, spark: SparkSession) -> None:
    with twinlake.open(folder.root, state=folder.folder / "state", spark=spark) as opened:
        assert opened.spark is spark
    assert spark.range(1).count() == 1
