"""What tests of features judge in Python, Spark's predicates judge alike, row by row."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from pyspark.sql import SparkSession

from tests.spark.test_gate_properties import TABLES, TYPES, expectations
from twinlake.definitions.expectations import ROW_LEVEL
from twinlake.lake.gate import passes as passes_on_spark
from twinlake.testing.row_gate import passes

SEEN: Counter[str] = Counter()


def cell(value: Any) -> Any:
    """A cell as tests of features hold it."""
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=dt.UTC)
    return value + 0.0 if isinstance(value, float) else value


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(table=TABLES, cases=expectations())
def check(spark: SparkSession, table: list[dict[str, Any]], cases: Any) -> None:
    schema = ", ".join(["rid int", *(f"{name} {kind}" for name, kind in TYPES.items())])
    rows = [(rid, *(cell(row[name]) for name in TYPES)) for rid, row in enumerate(table)]
    frame = spark.createDataFrame(rows, schema).coalesce(1)
    answers = frame.select(
        "rid", *(passes_on_spark(case).alias(f"p{i}") for i, case in enumerate(cases))
    ).collect()
    for answer in answers:
        cells = {name: cell(value) for name, value in table[answer.rid].items()}
        for i, case in enumerate(cases):
            ours = passes(case, cells, TYPES)
            if ours is not None:
                assert ours == answer[f"p{i}"], (case, cells)
                SEEN[case.type] += not ours


def test_on_random_rows_both_say_the_same(spark: SparkSession) -> None:
    SEEN.clear()
    check(spark)
    judged = {kind for kind in ROW_LEVEL if "regex" not in kind}
    assert set(SEEN) == judged
    assert sum(count > 0 for count in SEEN.values()) > len(judged) / 2
