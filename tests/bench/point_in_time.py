"""The point-in-time join to Delta beside DuckDB's ASOF to Parquet and Spark's union and window.

python -m tests.bench.point_in_time [--spine 1000000] [--events 10000000] [--rounds 5]
    [--hot 0.3] [--late 0.01] [--growth] [--no-window]
"""

from __future__ import annotations

import argparse
import shutil
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
from tests.bench.measuring import Timing, exponent, give, machine, race, say, table
from twinlake.definitions.times import MAX_US
from twinlake.flows.landing import land_files
from twinlake.flows.project import Project
from twinlake.lake import point_in_time, spines, tables, training_tables

COLUMNS = [f"c{number}" for number in range(10)]
YEAR_US = 365 * 86_400_000_000
START_US = 1_600_000_000_000_000
OURS, DUCK, WINDOW = (
    "twinlake to Delta",
    "DuckDB ASOF to Parquet",
    "Spark union and window to Delta",
)

FEATURES = """
from twinlake import Column, Entity, FeatureService, FeatureView, Files, Source

thing = Entity("thing", join_keys={{"key": "bigint"}})
rows = Source("rows", schema="id bigint, key bigint, at timestamp, known timestamp, {columns}",
    event_timestamp="at", event_id="id", known="{known}", batch=Files("events.parquet"))
view = FeatureView("view", entity=thing, source=rows,
    features=[Column(f"c{{n}}") for n in range(10)])
service = FeatureService("service", [view])
"""


def generate(folder: Path, spine_rows: int, event_rows: int, hot: float, late: float) -> None:
    """Write seeded events and a spine; times are unique within a key."""
    random = np.random.default_rng(20)
    keys = max(event_rows // 1000, 1)

    def key(rows: int) -> np.ndarray:
        drawn = random.integers(0, keys, rows)
        return np.where(random.random(rows) < hot, 0, drawn)

    at = START_US + random.permutation(event_rows) * (YEAR_US // event_rows)
    delay = np.where(random.random(event_rows) < late, random.integers(0, 10**12, event_rows), 0)
    instants = pa.timestamp("us", "UTC")
    columns = {
        "id": pa.array(np.arange(event_rows)),
        "key": pa.array(key(event_rows)),
        "at": pa.array(at).cast(instants),
        "known": pa.array(at + delay).cast(instants),
        **{name: pa.array(random.normal(size=event_rows)) for name in COLUMNS},
    }
    pq.write_table(pa.table(columns), folder / "events.parquet", row_group_size=1 << 20)
    asked = START_US + random.integers(0, YEAR_US, spine_rows)
    spine = {
        "key": pa.array(key(spine_rows)),
        "event_timestamp": pa.array(asked).cast(instants),
        "label": pa.array(np.arange(spine_rows)),
    }
    pq.write_table(pa.table(spine), folder / "spine.parquet")
    text = ", ".join(f"{name} double" for name in COLUMNS)
    known = "known" if late else "event"
    (folder / "features.py").write_text(FEATURES.format(columns=text, known=known))


def ours(project: Project, folder: Path) -> Callable[[], None]:
    """Join and write as a training set is: from the events table into a new Delta table."""
    service = project.service("service")
    landing = project.landings("rows").all()[-1]
    spine_rows = pq.read_metadata(folder / "spine.parquet").num_rows
    taken = [
        point_in_time.Taken(view, names, project.places.events("rows"), landing.version)
        for view, names in service.selections()
    ]

    def run() -> None:
        out = fresh(folder / "ours")
        spine = spines.read_spine(project.spark, folder / "spine.parquet", {"key": "bigint"})
        asked = point_in_time.Spine(spine, spine_rows)
        joined = point_in_time.join(project.spark, asked, taken, 4, project.places.new_scratch())
        training_tables.write(project.spark, joined, out, {})
        for file in project.places.scratch.glob("newest-rows-*"):
            file.unlink()

    return run


def duck(folder: Path) -> Callable[[], None]:
    """Join by DuckDB's ASOF, from Parquet to Parquet; late rows by its own best way, a window."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2; SET TimeZone = 'UTC'")
    cells = ", ".join(f"e.{name}" for name in COLUMNS)
    late = "known" in (folder / "features.py").read_text().split("known=")[1].split(",")[0]
    events = f"'{folder}/events.parquet'"
    if late:
        # A row becomes visible at max(at, known); what an older event would hide is left out.
        events = f"""(SELECT * FROM (SELECT *, greatest("at", known) AS seen, max("at") OVER (
            PARTITION BY key ORDER BY greatest("at", known), "at") AS newest FROM {events})
            WHERE "at" = newest)"""
    moment = "seen" if late else '"at"'
    query = f"""COPY (SELECT s.*, {cells} FROM '{folder}/spine.parquet' s
        ASOF LEFT JOIN {events} e ON s.key = e.key AND s.event_timestamp >= e.{moment})
        TO '{folder}/duck.parquet' (FORMAT parquet)"""

    def run() -> None:
        connection.execute(query)

    return run


def window(spark: SparkSession, folder: Path) -> Callable[[], None]:
    """Join the way that is usual on Spark: one union, the last non-null row of a running window."""

    def run() -> None:
        spine = spark.read.parquet(str(folder / "spine.parquet"))
        events = spark.read.parquet(str(folder / "events.parquet"))
        left = spine.select(
            "key",
            F.col("event_timestamp").alias("t"),
            F.lit(1).alias("side"),
            "label",
            F.lit(None).alias("row"),
        )
        right = events.select(
            "key",
            F.col("at").alias("t"),
            F.lit(0).alias("side"),
            F.lit(None).cast("bigint").alias("label"),
            F.struct(*COLUMNS).alias("row"),
        )
        order = (
            Window.partitionBy("key")
            .orderBy("t", "side")
            .rowsBetween(Window.unboundedPreceding, Window.currentRow)
        )
        both = left.drop("row").unionByName(right, allowMissingColumns=True)
        joined = both.withColumn("row", F.last("row", ignorenulls=True).over(order))
        out = fresh(folder / "window")
        chosen = joined.where("side = 1").select(
            "key", F.col("t").alias("event_timestamp"), "label", "row.*"
        )
        chosen.write.format("delta").save(str(out))

    return run


def fresh(path: Path) -> Path:
    """Give a path at which nothing is."""
    shutil.rmtree(path, ignore_errors=True)
    return path


def compare(project: Project, folder: Path, names: list[str]) -> None:
    """Stop unless all contenders wrote the same rows and cells."""
    wanted = pq.read_table(folder / "duck.parquet").sort_by("label").select(["label", *COLUMNS])
    for name in names:
        frame = tables.read(project.spark, folder / name).select("label", *COLUMNS)
        files = [file.removeprefix("file:") for file in frame.inputFiles()]
        found = pa.concat_tables([pq.read_table(f, columns=["label", *COLUMNS]) for f in files])
        if not found.sort_by("label").cast(wanted.schema).equals(wanted):
            sys.exit(f"{name} and DuckDB differ")


def measure(options: argparse.Namespace, divisor: int, names: tuple[str, ...]) -> dict[str, Timing]:
    """Generate, land, race and compare at one size."""
    spine_rows, event_rows = options.spine // divisor, options.events // divisor
    say(f"{spine_rows:,} spine rows, {event_rows:,} events, hot {options.hot}, late {options.late}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, spine_rows, event_rows, options.hot, options.late)
        with twinlake.open(folder, tell=say) as store:
            store.apply()
            project = store.project
            land_files(project, project.definitions.sources["rows"], MAX_US)
            runs = {OURS: ours(project, folder), DUCK: duck(folder)}
            if WINDOW in names and not options.late:
                runs[WINDOW] = window(project.spark, folder)
            for run in runs.values():
                run()
            compare(project, folder, ["ours", *(["window"] if WINDOW in runs else [])])
            timings = race(runs, options.rounds)
    title = f"{spine_rows:,} x {event_rows:,} x 10, hot {options.hot:g}, late {options.late:g}"
    say(table(title, timings, OURS))
    return timings


def main() -> None:
    """Measure the sizes asked for and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spine", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hot", type=float, default=0.0)
    parser.add_argument("--late", type=float, default=0.0)
    parser.add_argument("--growth", action="store_true", help="1/100 and 1/10 of the size too")
    parser.add_argument("--no-window", action="store_true", help="leave Spark's own way out")
    options = parser.parse_args()
    names = (OURS, DUCK) if options.no_window else (OURS, DUCK, WINDOW)
    divisors = (100, 10, 1) if options.growth else (1,)
    found = {divisor: measure(options, divisor, names) for divisor in divisors}
    result = {
        "machine": machine(),
        "spine": options.spine,
        "events": options.events,
        "hot": options.hot,
        "late": options.late,
        "runs": {
            str(d): {n: {"seconds": t.median, "peak_mb": t.peak_mb} for n, t in runs.items()}
            for d, runs in found.items()
        },
    }
    if options.growth:
        sizes = [1 / divisor for divisor in divisors]
        result["exponent"] = exponent(sizes, [found[d][OURS].median for d in divisors])
    give(result)


if __name__ == "__main__":
    main()
