"""The gate's predicates name the rows that Great Expectations names, and no others."""

from __future__ import annotations

import datetime as dt
import importlib.util
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from twinlake.definitions.expectations import SUPPORTED, Expectation
from twinlake.definitions.loading import load
from twinlake.errors import DefinitionError
from twinlake.lake.gate import passes

from .benches import Bench

EXAMPLES = Path(__file__).parents[2] / "spark_jobs" / "examples"
Unexpected = Callable[[DataFrame, Expectation], set[int]]

ROWS = [
    # rid, x, y, n, s, day
    (0, None, None, None, None, None),
    (1, 0.0, -0.0, 0, "", dt.date(1970, 1, 1)),
    (2, -0.0, 0.0, 40, " ", dt.date(2014, 2, 28)),
    (3, 1.0, None, 48, "a", dt.date(2014, 3, 1)),
    (4, None, 1.0, 39, "A", None),
    (5, 39.999999999999996, 40.0, 49, "abc", dt.date(1969, 12, 31)),
    (6, 40.0, 39.999999999999996, -1, "a\nb", dt.date(2014, 2, 27)),
    (7, 48.0, 48.0, 2**31 - 1, "äöü", dt.date(9999, 12, 31)),
    (8, 5e-324, -5e-324, -(2**31), "\U0001f600\U0001f600", dt.date(1900, 1, 1)),
    (9, 1.7976931348623157e308, -1.7976931348623157e308, 41, "MAC000002", None),
    (10, -1.0, -2.0, 47, "MAC2", dt.date(2014, 2, 28)),
]
SCHEMA = "rid int, x double, y double, n int, s string, day date"

CASES = [
    Expectation("expect_column_values_to_not_be_null", column="x"),
    Expectation("expect_column_values_to_not_be_null", column="s"),
    Expectation("expect_column_values_to_be_null", column="y"),
    Expectation("expect_column_values_to_be_between", column="n", min_value=40, max_value=48),
    Expectation("expect_column_values_to_be_between", column="x", min_value=0),
    Expectation("expect_column_values_to_be_between", column="x", min_value=0, strict_min=True),
    Expectation("expect_column_values_to_be_between", column="x", max_value=40, strict_max=True),
    Expectation(
        "expect_column_values_to_be_between",
        column="y",
        min_value=-2.0,
        max_value=40,
        strict_min=True,
        strict_max=False,
    ),
    Expectation(
        "expect_column_values_to_be_between",
        column="day",
        min_value=dt.date(1970, 1, 1),
        max_value=dt.date(2014, 2, 28),
    ),
    Expectation("expect_column_values_to_be_in_set", column="s", value_set=["", "a", "äöü"]),
    Expectation("expect_column_values_to_be_in_set", column="x", value_set=[0.0, 48]),
    Expectation("expect_column_values_to_not_be_in_set", column="n", value_set=[0, 48]),
    Expectation("expect_column_values_to_not_be_in_set", column="s", value_set=["A", " "]),
    Expectation("expect_column_values_to_match_regex", column="s", regex=r"^MAC\d{6}$"),
    Expectation("expect_column_values_to_match_regex", column="s", regex="a"),
    Expectation("expect_column_values_to_not_match_regex", column="s", regex="(?i)^a"),
    Expectation("expect_column_value_lengths_to_be_between", column="s", min_value=1, max_value=3),
    Expectation("expect_column_value_lengths_to_be_between", column="s", max_value=0),
    Expectation(
        "expect_column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="y", or_equal=True
    ),
    Expectation("expect_column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="y"),
]


@pytest.fixture(scope="module")
def unexpected(spark: SparkSession) -> Unexpected:
    """Ask Great Expectations which rows do not pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig
        from great_expectations.expectations.registry import get_expectation_impl

        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        source = context.data_sources.add_spark("spark", persist=False)
        asset = source.add_dataframe_asset("rows")
        definition = asset.add_batch_definition_whole_dataframe("all")

    def ask(frame: DataFrame, expectation: Expectation) -> set[int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = definition.get_batch(batch_parameters={"dataframe": frame})
            declared: Any = get_expectation_impl(expectation.type)(**expectation.arguments)
            found = batch.validate(
                declared,
                result_format={
                    "result_format": "COMPLETE",
                    "unexpected_index_column_names": ["rid"],
                },
            )
        assert not found.exception_info.get("raised_exception"), found.exception_info
        return {place["rid"] for place in found.result.get("unexpected_index_list") or []}

    return ask


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(ROWS, SCHEMA).coalesce(1).cache()


@pytest.mark.parametrize("expectation", CASES, ids=str)
def test_predicate_and_great_expectations_name_the_same_rows(
    expectation: Expectation, rows: DataFrame, unexpected: Unexpected
) -> None:
    refused = {row.rid for row in rows.where(~passes(expectation)).collect()}
    assert refused == unexpected(rows, expectation)
    assert 0 < len(refused) < len(ROWS)  # a case in which nothing differs proves nothing


def test_every_supported_expectation_is_compared() -> None:
    assert {case.type for case in CASES} == set(SUPPORTED)


def test_the_examples_expectations_are_compared(
    spark: SparkSession, unexpected: Unexpected
) -> None:
    cells = [None, -0.001, -0.0, 0.0, 0.5, 24.0]
    counts = [None, 0, 39, 40, 47, 48, 49]
    listed = [
        (rid, total, count, high, low)
        for rid, (total, count, high, low) in enumerate(
            (cells[i % 6], counts[i % 7], cells[(i * 5) % 6], cells[(i * 3 + i // 6) % 6])
            for i in range(84)
        )
    ]
    frame = spark.createDataFrame(
        listed, "rid int, energy_sum double, energy_count int, energy_max double, energy_min double"
    ).coalesce(1)
    frame.cache()
    checked = 0
    for folder in sorted(EXAMPLES.iterdir()):
        if not (folder / "features.py").is_file() or folder.name != "smart_meters":
            continue
        for source in load(folder).sources.values():
            for expectation in source.expectations:
                refused = {row.rid for row in frame.where(~passes(expectation)).collect()}
                assert refused, expectation
                assert refused == unexpected(frame, expectation), expectation
                checked += 1
    frame.unpersist()
    assert checked == 4
    assert importlib.util.find_spec("great_expectations")


REFUSED = """
things = Source(
    "things", schema="id string, at timestamp, v double", event_timestamp="at", event_id="id",
    batch=Files("in"),
    expectations=[
        Expectation("expect_column_values_to_be_unique", column="id"),
        Expectation("expect_column_values_to_not_be_null", column="v", mostly=0.9),
        Expectation("expect_column_values_to_be_between", column="w", min_value=0),
    ],
)
thing = Entity("thing", join_keys={"id": "string"})
view = FeatureView("view", entity=thing, source=things, features=[Column("v")])
"""


def test_apply_refuses_what_cannot_be_compiled(bench: Bench) -> None:
    with pytest.raises(DefinitionError) as caught:
        bench.define(REFUSED).apply()
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 3
    assert "expect_column_values_to_be_unique" in told[0]
    assert "mostly" in told[1]
    assert "'w'" in told[2]
    assert not bench.delta_versions()
