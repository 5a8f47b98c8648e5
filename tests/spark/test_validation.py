"""Expectations on batches stop a batch before it lands; Great Expectations writes data docs."""

from __future__ import annotations

import datetime as dt
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.spark.benches import Bench, Cells
from twinlake.definitions.expectations import BATCH_LEVEL, Expectation
from twinlake.errors import CheckFailed, InputError
from twinlake.flows.validating import validate_source
from twinlake.lake.validation import Finding, validate

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("k", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("v", pa.float64()),
        ("m", pa.decimal128(6, 2)),
        ("n", pa.int32()),
        ("day", pa.date32()),
    ]
)
DEFINITIONS = """
things = Source(
    "things",
    schema="id string, k string, at timestamp, v double, m decimal(6,2), n int, day date",
    event_timestamp="at",
    event_id="id",
    with_columns={"twice": Derived("double", "v * 2")},
    batch=Files("in"),
    expectations=[EXPECTATIONS],
)
thing = Entity("thing", join_keys={"k": "string"})
view = FeatureView("view", entity=thing, source=things, features=[Column("v")])
"""
ROW = Expectation("expect_column_values_to_be_between", column="v", min_value=0)
MIDDAY = dt.datetime(2014, 2, 1, 12, tzinfo=dt.UTC)


def row(number: int, v: float | None = 1.0) -> Cells:
    told = {"id": str(number), "k": f"k{number % 3}", "at": MIDDAY, "v": v, "n": number}
    return told | {"m": number, "day": dt.date(2014, 2, 1 + number % 5)}


def things(bench: Bench, *expectations: Expectation) -> Bench:
    listed = ", ".join(map(repr, expectations))
    return bench.define(DEFINITIONS.replace("EXPECTATIONS", listed)).apply()


class Page(HTMLParser):
    """The words and links of a page, which must be well formed enough to have both."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


MEAN = Expectation("expect_column_mean_to_be_between", column="twice", min_value=1, max_value=3)


def test_a_batch_that_breaks_one_on_batches_does_not_land(bench: Bench) -> None:
    enough = Expectation("expect_table_row_count_to_be_between", min_value=3)
    things(bench, ROW, MEAN, enough).put("1", [row(n, v=50.0) for n in range(4)], SCHEMA)
    kept = bench.delta_versions()
    with pytest.raises(CheckFailed) as caught:
        bench.materialize()
    told = str(caught.value)
    assert caught.value.exit_code == 1
    assert "breaks 1 of 2 expectations on batches" in told
    assert f"{MEAN}: 100.0" in told
    assert str(enough) not in told
    assert bench.delta_versions() == kept
    assert not bench.project.landings("things").all()
    assert not bench.project.landings("things").unfinished()
    assert not bench.online("view")
    page = Path(told.split("look at ")[1].split(";", maxsplit=1)[0])
    assert page.is_file()

    bench.put("1", [row(n) for n in range(4)], SCHEMA)
    done = bench.materialize().landings["things"]
    assert done is not None
    assert (done.accepted, done.quarantined) == (4, 0)
    assert done.data_docs
    assert not bench.materialize().changed


def test_what_is_quarantined_does_not_decide_for_the_rest(bench: Bench) -> None:
    things(bench, ROW, MEAN).put("1", [row(1), row(2), row(3, v=-1e9)], SCHEMA)
    done = bench.materialize().landings["things"]
    assert done is not None
    assert (done.accepted, done.quarantined) == (2, 1)


def test_a_share_is_one_of_all_rows_that_arrived(bench: Bench) -> None:
    share = Expectation(ROW.type, column="v", min_value=0, mostly=0.6)
    things(bench, ROW, share).put("1", [row(1), row(2), row(3, v=-1), row(4, v=-1)], SCHEMA)
    with pytest.raises(CheckFailed, match="2 of 4 rows break it"):
        bench.materialize()
    bench.put("2", [row(5)], SCHEMA)
    done = bench.materialize().landings["things"]
    assert done is not None
    assert (done.accepted, done.quarantined) == (3, 2)


def test_without_one_on_batches_data_docs_come_when_asked_for(bench: Bench) -> None:
    things(bench, ROW).put("1", [row(1), row(2, v=-1)], SCHEMA)
    done = bench.materialize(validate=True).landings["things"]
    assert done is not None
    assert done.quarantined == 1
    index = bench.project.settings.state / str(done.data_docs)
    [page] = (index.parent / "validations").rglob("*.html")
    assert str(page.relative_to(index.parent)) in index.read_text(encoding="utf-8")
    assert any("index.html" in link for link in Page(page).links)
    text = " ".join(Page(page).text.split())
    assert "Status: Failed" in text
    assert "values must be greater than or equal to 0" in text
    assert "1 unexpected values found. 50% of 2 total rows" in text
    bench.put("2", [row(3)], SCHEMA)
    plain = bench.materialize().landings["things"]
    assert plain is not None
    assert plain.data_docs is None


def test_a_batch_whose_name_reads_like_a_year_is_validated(bench: Bench) -> None:
    things(bench, ROW)
    project = bench.project
    rows = project.spark.createDataFrame([("1", 1.0)], "id string, v double")
    rows = rows.selectExpr("id", "id AS k", "now() AS at", "v", "1 AS n", "1.5BD AS m")
    rows = rows.selectExpr("*", "current_date() AS day", "v * 2 AS twice")
    folder = bench.folder / "3217882842809596"
    source = project.applied().definitions.sources["things"]
    done = validate(rows, "true", source, folder, project.now_us())
    assert (done.rows, done.failed) == (1, [])
    assert done.data_docs.is_file()


ARGUMENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # Type: what holds for rows 1 to 6, and what does not.
    "expect_table_row_count_to_be_between": (
        {"max_value": 6},
        {"max_value": 6, "strict_max": True},
    ),
    "expect_table_row_count_to_equal": ({"value": 6}, {"value": 5}),
    "expect_column_max_to_be_between": (
        {"column": "day", "max_value": "2014-02-05"},
        {"column": "day", "max_value": "2014-02-04"},
    ),
    "expect_column_min_to_be_between": (
        {"column": "m", "min_value": 1},
        {"column": "m", "min_value": 2},
    ),
    "expect_column_mean_to_be_between": (
        {"column": "n", "min_value": 3.5},
        {"column": "n", "max_value": 3},
    ),
    "expect_column_median_to_be_between": (
        {"column": "n", "max_value": 4},
        {"column": "n", "max_value": 2},
    ),
    "expect_column_stdev_to_be_between": (
        {"column": "n", "max_value": 2},
        {"column": "n", "max_value": 1},
    ),
    "expect_column_sum_to_be_between": (
        {"column": "m", "min_value": 21},
        {"column": "m", "max_value": 20},
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": (
        {"column": "v", "min_value": 0.8},
        {"column": "v", "min_value": 0.9},
    ),
    "expect_column_proportion_of_unique_values_to_be_between": (
        {"column": "k", "max_value": 0.5},
        {"column": "k", "min_value": 0.6},
    ),
    "expect_column_unique_value_count_to_be_between": (
        {"column": "k", "min_value": 3},
        {"column": "k", "min_value": 4},
    ),
    "expect_column_distinct_values_to_be_in_set": (
        {"column": "k", "value_set": ["k0", "k1", "k2", "k3"]},
        {"column": "k", "value_set": ["k0"]},
    ),
    "expect_column_distinct_values_to_contain_set": (
        {"column": "day", "value_set": ["2014-02-01"]},
        {"column": "day", "value_set": ["2013-02-01"]},
    ),
    "expect_column_distinct_values_to_equal_set": (
        {"column": "k", "value_set": ["k0", "k1", "k2"]},
        {"column": "k", "value_set": ["k0", "k1"]},
    ),
    "expect_column_values_to_be_unique": ({"column": "id"}, {"column": "k"}),
    "expect_compound_columns_to_be_unique": (
        {"column_list": ["id", "k"]},
        {"column_list": ["k", "at"]},
    ),
}


def test_great_expectations_judges_every_supported_one(bench: Bench) -> None:
    assert set(ARGUMENTS) == set(BATCH_LEVEL)
    holding = [Expectation(kind, **good) for kind, (good, _) in ARGUMENTS.items()]
    failing = [Expectation(kind, **bad) for kind, (_, bad) in ARGUMENTS.items()]
    rows = [row(n, v=None if n == 6 else 1.0) for n in range(1, 7)]
    things(bench, *holding, *failing, ROW).put("1", rows, SCHEMA)
    done = validate_source(bench.project, "things")
    found = {finding.expectation: finding for finding in done.findings}
    wrong = [found[str(e)] for e in (*holding, ROW) if not found[str(e)].success]
    wrong += [found[str(e)] for e in failing if found[str(e)].success]
    assert not wrong
    assert not [f for f in done.findings if "could not be judged" in f.observed]
    assert done.rows == len(rows)
    assert found[str(ROW)] == Finding(str(ROW), False, True, "0 of 6 rows break it")


def test_a_landed_batch_is_validated_again(bench: Bench) -> None:
    things(bench, ROW).put("1", [row(1), row(2, v=-1)], SCHEMA)
    bench.materialize()
    bench.put("2", [row(3)], SCHEMA)
    bench.materialize()
    first, second = (landing.version for landing in bench.project.landings("things").all())
    kept = bench.delta_versions()
    newest = validate_source(bench.project, "things", 0)
    assert (newest.rows, newest.failed) == (1, [])
    older = validate_source(bench.project, "things", first)
    assert (older.rows, [f.observed for f in older.failed]) == (2, ["1 of 2 rows break it"])
    assert "index.html" in older.data_docs.name
    assert older.data_docs.is_file()
    with pytest.raises(InputError, match="no landed batch named '99'") as caught:
        validate_source(bench.project, "things", 99)
    assert str(second) in (caught.value.hint or "")
    assert bench.delta_versions() == kept
