"""The gate's predicates name the rows that Great Expectations names, and no others."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.spark.benches import Bench
from tests.spark.great_expectations_says import Judge
from twinlake.definitions.expectations import ROW_LEVEL, Expectation
from twinlake.definitions.loading import load
from twinlake.errors import DefinitionError
from twinlake.lake.gate import passes

EXAMPLES = Path(__file__).parents[2] / "spark_jobs" / "examples"

CELLS = [
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
SCHEMA = (
    "rid int, x double, y double, n int, s string, day date, "
    "energy_sum double, energy_count int, energy_max double, energy_min double"
)
# What the example looks at stands beside it: sum and count, max and min.
ROWS = [(*cells, cells[1], cells[3], cells[1], cells[2]) for cells in CELLS]

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
        "expect_column_values_to_match_regex_list", column="s", regex_list=["^a", r"\d", "ö"]
    ),
    Expectation(
        "expect_column_values_to_match_regex_list",
        column="s",
        regex_list=["^a", "b$"],
        match_on="all",
    ),
    Expectation(
        "expect_column_values_to_not_match_regex_list", column="s", regex_list=["^a", r"\d"]
    ),
    Expectation("expect_column_value_lengths_to_equal", column="s", value=3),
    Expectation("expect_column_pair_values_to_be_equal", column_A="x", column_B="y"),
    Expectation(
        "expect_column_pair_values_a_to_be_greater_than_b",
        column_A="x",
        column_B="y",
        or_equal=True,
    ),
    Expectation("expect_column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="y"),
]


@dataclass(frozen=True)
class Opinions:
    """Which rows each case refuses, by expectation: ours, and Great Expectations'."""

    ours: dict[str, set[int]]
    theirs: dict[str, set[int]]


def example_expectations() -> list[Expectation]:
    sources = load(EXAMPLES / "smart_meters").sources.values()
    return [expectation for source in sources for expectation in source.row_expectations]


@pytest.fixture(scope="module")
def opinions(spark: SparkSession) -> Opinions:
    """Ask both once for everything: Great Expectations takes a second or two per question."""
    cases = [*CASES, *example_expectations()]
    frame = spark.createDataFrame(ROWS, SCHEMA).coalesce(1).cache()
    predicates = [passes(case).alias(f"p{i}") for i, case in enumerate(cases)]
    judged = frame.select("rid", *predicates).collect()
    ours = {
        str(case): {row.rid for row in judged if not row[f"p{i}"]} for i, case in enumerate(cases)
    }
    theirs = Judge().refused(frame, cases)
    frame.unpersist()
    return Opinions(ours, theirs)


@pytest.mark.parametrize("expectation", [*CASES, *example_expectations()], ids=str)
def test_predicate_and_great_expectations_name_the_same_rows(
    expectation: Expectation, opinions: Opinions
) -> None:
    ours, theirs = opinions.ours[str(expectation)], opinions.theirs[str(expectation)]
    assert ours == theirs
    assert 0 < len(ours) < len(ROWS)  # a case in which nothing differs proves nothing


def test_every_supported_expectation_is_compared() -> None:
    assert {case.type for case in CASES} == set(ROW_LEVEL)
    assert len(example_expectations()) == 4


REFUSED = """
things = Source(
    "things", schema="id string, at timestamp, v double", event_timestamp="at", event_id="id",
    batch=Files("in"),
    expectations=[
        Expectation("expect_column_values_to_be_increasing", column="v"),
        Expectation("expect_column_values_to_not_be_null", column="v", mostly=1.9),
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
    assert "expect_column_values_to_be_increasing" in told[0]
    assert "mostly" in told[1]
    assert "'w'" in told[2]
    assert not bench.delta_versions()
