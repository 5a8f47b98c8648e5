"""Tables are readable by name; what a late row superseded is left out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from tests.spark.benches import Bench, Cells
from twinlake.errors import InputError, StateError
from twinlake.flows.tables_by_name import register_tables

SCHEMA = pa.schema([("k", pa.string()), ("at", pa.timestamp("us", "UTC")), ("v", pa.float64())])
DEFINITIONS = """
readings = Source(
    "readings", schema="k string, at timestamp, v double", event_timestamp="at",
    batch=Files("in"),
    expectations=[Expectation("expect_column_values_to_not_be_null", column="v")],
)
meter = Entity("meter", join_keys={"k": "string"})
meter_sums = FeatureView(
    "meter_sums", entity=meter, source=readings, hop="1d",
    features=[Aggregate("sum", "v", windows={"sum_3d": "3d"})],
)
"""


def rows(*days_and_values: tuple[int, float | None]) -> list[Cells]:
    start = dt.datetime(2014, 2, 1, 12, tzinfo=dt.UTC)
    return [{"k": "a", "at": start + dt.timedelta(days=d), "v": v} for d, v in days_and_values]


@pytest.fixture(scope="module")
def late(module_bench: Callable[[], Bench]) -> Bench:
    """Three days, then a late one between them; and a row for the quarantine."""
    bench = module_bench().define(DEFINITIONS).apply()
    bench.put("first", rows((0, 1.0), (2, 4.0), (3, None)), SCHEMA)
    bench.materialize()
    return bench


def sums(bench: Bench) -> list[tuple[Any, ...]]:
    query = "SELECT day(event_timestamp), sum_3d FROM meter_sums ORDER BY 1, 2"
    return [tuple(row) for row in bench.spark.sql(query).collect()]


def test_names_stand_for_what_is_stored(late: Bench) -> None:
    assert register_tables(late.project) == ["readings", "meter_sums"]
    assert sums(late) == [(1, 1.0), (3, 5.0)]
    counted = late.spark.sql("SELECT _verdict, count(*) FROM readings GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in counted.collect()] == [("accepted", 2), ("quarantined", 1)]

    # A day that comes late changes the row of the day after it.
    late.put("second", rows((1, 2.0)), SCHEMA)
    late.materialize()
    stored = [(row["sum_3d"]) for row in late.feature_rows("meter_sums", every=True)]
    assert sorted(stored) == [1.0, 3.0, 5.0, 7.0]
    register_tables(late.project)
    assert sums(late) == [(1, 1.0), (2, 3.0), (3, 7.0)]


def test_nothing_applied_has_no_tables(bench: Bench) -> None:
    bench.define(DEFINITIONS)
    with pytest.raises(StateError, match="nothing is applied"):
        register_tables(bench.project)


def test_one_name_for_two_tables_is_refused(bench: Bench) -> None:
    bench.define(DEFINITIONS.replace('"meter_sums"', '"readings"')).apply()
    with pytest.raises(InputError, match="both named readings"):
        register_tables(bench.project)
