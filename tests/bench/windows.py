"""Windows as of each event, from 10 to 10,000 events in a window, beside DuckDB and Spark.

python -m tests.bench.windows [--events 1000000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

import twinlake
from tests.bench.measuring import Timing, give, machine, race, say, table
from twinlake.definitions.times import MAX_US, MIN_US
from twinlake.flows.landing import land_files
from twinlake.flows.project import Project
from twinlake.lake import feature_rows

OURS, DUCK, SPARK = "twinlake", "DuckDB RANGE", "Spark rangeBetween"
DAY_US = 86_400_000_000
START_US = 1_600_000_000_000_000
SPARK_UP_TO = 1_000  # Spark looks at every event of every window; beyond this it takes minutes
FEATURES = """
from twinlake import Aggregate, Entity, FeatureView, Files, Source

thing = Entity("thing", join_keys={"key": "bigint"})
rows = Source("rows", schema="id bigint, key bigint, at timestamp, v double",
    event_timestamp="at", event_id="id", batch=Files("events.parquet"))
view = FeatureView("view", entity=thing, source=rows, ttl="2d", max_events_per_key=1_000_000,
    features=[
        Aggregate("count", windows={"n": "1d"}),
        Aggregate("sum", "v", windows={"total": "1d"}),
        Aggregate("mean", "v", windows={"average": "1d"}),
        Aggregate("max", "v", windows={"top": "1d"}),
    ])
"""
WORK = feature_rows.Work(0, 1, (), ((MIN_US, MAX_US),))


def generate(folder: Path, rows: int, per_window: int) -> None:
    """Write events of keys that each have ``per_window`` events a day, for ten days."""
    random = np.random.default_rng(30)
    keys = max(rows // (10 * per_window), 1)
    span_us = DAY_US * rows // (keys * per_window)
    columns = {
        "id": pa.array(np.arange(rows)),
        "key": pa.array(random.integers(0, keys, rows)),
        "at": pa.array(START_US + random.permutation(rows) * (span_us // rows)).cast(
            pa.timestamp("us", "UTC")
        ),
        "v": pa.array(random.normal(size=rows)),
    }
    pq.write_table(pa.table(columns), folder / "events.parquet", row_group_size=1 << 18)
    (folder / "features.py").write_text(FEATURES)


def ours(project: Project, rows: int, out: Path) -> Callable[[], None]:
    """Compute the feature rows of all events, as materialize does."""
    view, path = project.view("view"), project.places.events("rows")

    def run() -> None:
        frame = feature_rows.relevant_events(project.spark, path, view, WORK)
        parts = feature_rows.parts_for(rows, 2)
        computed = feature_rows.compute(frame, view, WORK, parts)
        computed.write.mode("overwrite").parquet(str(out))

    return run


def duck(folder: Path) -> Callable[[], None]:
    """Compute the same by DuckDB's range windows."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2; SET TimeZone = 'UTC'")
    query = f"""COPY (SELECT key, "at", count(*) OVER w AS n, sum(v) OVER w AS total,
            avg(v) OVER w AS average, max(v) OVER w AS top FROM '{folder}/events.parquet'
        WINDOW w AS (PARTITION BY key ORDER BY "at"
            RANGE BETWEEN INTERVAL '86399.999999 seconds' PRECEDING AND CURRENT ROW))
        TO '{folder}/duck.parquet' (FORMAT parquet)"""

    def run() -> None:
        connection.execute(query)

    return run


def spark_window(spark: SparkSession, folder: Path) -> Callable[[], None]:
    """Compute the same by Spark's range windows."""
    over = Window.partitionBy("key").orderBy(F.unix_micros("at")).rangeBetween(-DAY_US + 1, 0)

    def run() -> None:
        frame = spark.read.parquet(str(folder / "events.parquet"))
        columns = [F.count("*"), F.sum("v"), F.mean("v"), F.max("v")]
        names = ["n", "total", "average", "top"]
        made = [c.over(over).alias(n) for c, n in zip(columns, names, strict=True)]
        out = frame.select("key", "at", *made).write.mode("overwrite")
        out.parquet(str(folder / "spark.parquet"))

    return run


def compare(folder: Path) -> None:
    """Stop unless DuckDB and we agree within 1e-9 of the largest partial sums."""
    differing = duckdb.execute(
        f"""SELECT count(*), count(d."at"), count_if(o.n <> d.n OR o.top <> d.top
            OR abs(o.total - d.total) > 1e-9 * (abs(d.total) + o.n)
            OR abs(o.average - d.average) > 1e-9 * (abs(d.average) + 1))
        FROM read_parquet('{folder}/ours/*.parquet') o FULL JOIN '{folder}/duck.parquet' d
        ON o.key = d.key AND o.event_timestamp = d."at" """
    ).fetchone()
    if differing is None or differing[0] != differing[1] or differing[2]:
        sys.exit(f"rows, DuckDB's, differing: {differing}")


def measure(rows: int, per_window: int, rounds: int) -> dict[str, Timing]:
    """Generate, land, compare and race at one density."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, rows, per_window)
        with twinlake.open(folder) as store:
            store.apply()
            project = store.project
            land_files(project, project.definitions.sources["rows"], MAX_US)
            runs = {OURS: ours(project, rows, folder / "ours"), DUCK: duck(folder)}
            for run in runs.values():
                run()
            compare(folder)
            if per_window <= SPARK_UP_TO:
                runs[SPARK] = spark_window(project.spark, folder)
            timings = race(runs, rounds)
    say(table(f"{rows:,} events, {per_window:,} in a window of 1 day, 4 features", timings, OURS))
    return timings


def main() -> None:
    """Measure each density and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found = {size: measure(options.events, size, options.rounds) for size in (10, 1_000, 10_000)}
    give(
        {
            "machine": machine(),
            "events": options.events,
            "growth_10_to_10000": found[10_000][OURS].median / found[10][OURS].median,
            "runs": {
                str(size): {n: t.median for n, t in timings.items()}
                for size, timings in found.items()
            },
        }
    )


if __name__ == "__main__":
    main()
