"""Times of a spine: each stands for its instant, whatever zone its text or type names."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from twinlake.definitions.times import to_us
from twinlake.errors import EnvironmentFailure, InputError
from twinlake.flows.spine_files import spine_file
from twinlake.lake import spines

KEYS = {"k": "bigint"}
ZONES = ("UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Apia")
# In no zone above is a clock put back or on at these moments.
MOMENT = dt.datetime(2014, 2, 1, 12, 30, 15, 250_000, tzinfo=dt.UTC)


def texts() -> list[tuple[str, int]]:
    """The same kind of moment in many zones and spellings, beside its instant by zoneinfo."""
    draw = random.Random(2)
    told = []
    for _ in range(60):
        moment = MOMENT + dt.timedelta(hours=draw.randrange(24 * 20))
        zone = ZoneInfo(draw.choice(ZONES))
        there = moment.astimezone(zone)
        spelled = [
            there.isoformat(),
            there.isoformat(" "),
            f"{there.replace(tzinfo=None).isoformat(' ')} {zone.key}",
            moment.replace(tzinfo=None).isoformat(),  # without a zone it is of UTC
            moment.replace(tzinfo=None).isoformat() + "Z",
        ]
        told.append((draw.choice(spelled), to_us(moment)))
    return told


TEXTS = texts()


def instants(spark: SparkSession, path: Path) -> list[int]:
    frame = spines.read_spine(spark, path, KEYS).orderBy("k")
    return [row.us for row in frame.selectExpr("unix_micros(event_timestamp) us").collect()]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_texts_of_mixed_zones_are_their_instants(
    spark: SparkSession, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"spine.{form}"
    if form == "csv":
        lines = [f"{number},{text}" for number, (text, _) in enumerate(TEXTS)]
        path.write_text("\n".join(["k,event_timestamp", *lines]))
    else:
        texts = [text for text, _ in TEXTS]
        pq.write_table(pa.table({"k": range(len(texts)), "event_timestamp": texts}), path)
    assert instants(spark, path) == [us for _, us in TEXTS]


IN_MEMORY: dict[str, Any] = {
    "zones of one's own": [MOMENT.astimezone(ZoneInfo(zone)) for zone in ZONES],
    "with and without": [MOMENT.astimezone(ZoneInfo("Asia/Kolkata")), MOMENT.replace(tzinfo=None)],
    "without and with": [MOMENT.replace(tzinfo=None), MOMENT.astimezone(ZoneInfo("Asia/Kolkata"))],
}


@pytest.mark.parametrize("case", IN_MEMORY)
def test_objects_of_mixed_zones_are_their_instants(
    spark: SparkSession, tmp_path: Path, case: str
) -> None:
    times = pd.Series(IN_MEMORY[case], dtype=object)
    frame = pd.DataFrame({"k": range(len(times)), "event_timestamp": times})
    assert instants(spark, spine_file(frame, tmp_path)) == [to_us(MOMENT)] * len(times)


@pytest.mark.parametrize(
    "text",
    [
        "2014-02-01 00:00:00 Mars/Base",
        "2014-02-30 00:00:00",
        "01/02/2014",
        "12:30",
        "2014-02-01T25:00",
    ],
)
def test_a_text_that_says_no_instant_is_refused(
    spark: SparkSession, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "spine.csv"
    path.write_text(f"k,event_timestamp\n1,2014-02-01T00:00:00Z\n2,{text}\n")
    with pytest.raises(InputError, match="1 rows of 2 whose event_timestamp is null or cannot be"):
        spines.read_spine(spark, path, KEYS)


def test_other_columns_of_time_are_their_instants_too(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    times = ("2014-02-01T00:00:00+02:00", "2014-01-31 22:00")
    lines = [f"{number},2014-02-01,{text}" for number, text in enumerate(times)]
    path.write_text("\n".join(["k,event_timestamp,asked", *lines]))
    frame = spines.read_spine(spark, path, KEYS)
    assert frame.select("asked").distinct().count() == 1


def test_a_time_of_day_is_not_taken_for_one_of_today(spark: SparkSession, tmp_path: Path) -> None:
    """Read tomorrow, the same file must be the same spine."""
    path = tmp_path / "spine.csv"
    first, second = "1,2014-02-01,12:30,2014-02-01 10:00", "2,2014-02-01,,"
    path.write_text(f"k,event_timestamp,at,since\n{first}\n{second}\n")
    frame = spines.read_spine(spark, path, KEYS)
    assert dict(frame.dtypes) == {
        "k": "bigint", "event_timestamp": "timestamp", "at": "string", "since": "timestamp",
    }  # fmt: skip
    assert [row["at"] for row in frame.orderBy("k").collect()] == ["12:30", None]


@pytest.fixture
def elsewhere(spark: SparkSession) -> Iterator[SparkSession]:
    """A session that was handed over and reads times as the clocks of another place show them."""
    other = spark.newSession()
    other.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    yield other
    other.conf.set("spark.sql.session.timeZone", "UTC")


def test_a_session_of_another_zone_is_refused(elsewhere: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    path.write_text("k,event_timestamp\n1,2014-02-01 00:00:00\n")
    with pytest.raises(EnvironmentFailure, match="reads times in Europe/Berlin, expected UTC"):
        spines.read_spine(elsewhere, path, KEYS)
