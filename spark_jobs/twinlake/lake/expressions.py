"""Let Spark read the SQL of definitions before anything is made from it."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.errors import Problem
from twinlake.lake import events, tables
from twinlake.lake.gate import expectation_rules


def expression_problems(spark: SparkSession, sources: Iterable[Source]) -> list[Problem]:
    """Find every derived column, condition and expectation that Spark cannot make sense of."""
    return [problem for source in sources for problem in _of_source(spark, source)]


def _of_source(spark: SparkSession, source: Source) -> list[Problem]:
    schema = ", ".join(
        f"{tables.quoted(name)} {kind}" for name, kind in raw_columns(source).items()
    )
    frame = spark.createDataFrame([], schema)
    problems = []
    place = f"source {source.name}"
    try:
        frame = events.derive(frame, source)
    except PySparkException as error:
        return [_problem(f"{place}, with_columns", error)]
    if source.where is not None:
        problems += _try(frame, f"{place}, where", source.where)
    for expectation, (_, predicate) in zip(
        source.row_expectations, expectation_rules(source.row_expectations), strict=True
    ):
        try:
            frame.where(predicate)
        except PySparkException as error:
            problems.append(_problem(f"{place}, {expectation.type}", error))
    return problems


def _try(frame: DataFrame, place: str, condition: str) -> list[Problem]:
    try:
        frame.where(condition)
    except PySparkException as error:
        return [_problem(place, error)]
    return []


def _problem(place: str, error: PySparkException) -> Problem:
    text = str(error).split("; line")[0].splitlines()[0]
    return Problem(place, f"Spark cannot read it: {text}", "mend the expression; it is Spark SQL")
