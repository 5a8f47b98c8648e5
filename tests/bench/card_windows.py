"""The windows of card fraud as of every transaction, beside DuckDB and Spark.

python -m tests.bench.card_windows [--transactions 5400000] [--cards 10000] [--rounds 3]

All four features of the example, of ten minutes and of a week, from the events table to Parquet;
the peers begin from Parquet files of the same transactions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

import twinlake
from examples.card_fraud.generator import Extent, generate, write
from tests.bench.measuring import Timing, give, machine, race, say, table
from tests.bench.windows import DUCK, OURS, SPARK, ours
from twinlake.definitions.times import MAX_US
from twinlake.flows.landing import land_files

WINDOWS_S = {"10m": 600, "1w": 604_800}
FEATURES = """
from twinlake import Aggregate, Entity, FeatureView, Files, Source

card = Entity("card", join_keys={"cc_num": "bigint"})
rows = Source("rows", schema="tid string, cc_num bigint, amount decimal(12,2), trans_ts timestamp",
    event_timestamp="trans_ts", event_id="tid", batch=Files("data"))
view = FeatureView("view", entity=card, source=rows, ttl="30d", max_events_per_key=10_000,
    features=[
        Aggregate("count", windows={"num_10m": "10m", "num_1w": "7d"}),
        Aggregate("mean", "amount", windows={"avg_10m": "10m", "avg_1w": "7d"}),
    ])
"""


def duck(folder: Path) -> Callable[[], None]:
    """Compute the same by DuckDB's range windows."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2; SET TimeZone = 'UTC'")
    cells = ", ".join(
        f"count(*) OVER w{name} AS num_{name}, avg(amount) OVER w{name} AS avg_{name}"
        for name in WINDOWS_S
    )
    windows = ", ".join(
        f"w{name} AS (PARTITION BY cc_num ORDER BY trans_ts RANGE BETWEEN "
        f"INTERVAL '{seconds - 1}.999999 seconds' PRECEDING AND CURRENT ROW)"
        for name, seconds in WINDOWS_S.items()
    )
    query = f"""COPY (SELECT tid, cc_num, trans_ts, {cells} FROM '{folder}/data/*.parquet'
        WINDOW {windows}) TO '{folder}/duck.parquet' (FORMAT parquet)"""

    def run() -> None:
        connection.execute(query)

    return run


def spark_window(spark: SparkSession, folder: Path) -> Callable[[], None]:
    """Compute the same by Spark's range windows."""
    by_card = Window.partitionBy("cc_num").orderBy(F.unix_micros("trans_ts"))

    def run() -> None:
        frame = spark.read.parquet(str(folder / "data"))
        made = []
        for name, seconds in WINDOWS_S.items():
            over = by_card.rangeBetween(-seconds * 1_000_000 + 1, 0)
            made += [F.count("*").over(over).alias(f"num_{name}")]
            made += [F.mean("amount").over(over).alias(f"avg_{name}")]
        out = frame.select("tid", "cc_num", "trans_ts", *made).write.mode("overwrite")
        out.parquet(str(folder / "spark.parquet"))

    return run


def compare(folder: Path) -> None:
    """Stop unless DuckDB and we have the same rows, with counts equal and means within 1e-9."""
    columns = [f"{kind}_{name}" for name in WINDOWS_S for kind in ("num", "avg")]
    listed = ", ".join(["cc_num", "trans_ts", *columns])
    ordered = f"row_number() OVER (PARTITION BY cc_num ORDER BY trans_ts, {columns[0]}) AS n"
    theirs = f"(SELECT {listed}, {ordered} FROM '{folder}/duck.parquet')"
    renamed = listed.replace("trans_ts", "event_timestamp AS trans_ts")
    found = f"read_parquet('{folder}/ours/*.parquet')"
    mine = f"(SELECT *, {ordered} FROM (SELECT {renamed} FROM {found}))"
    far = " OR ".join(f"abs(o.{c} - d.{c}) > 1e-9 * (1 + abs(d.{c}))" for c in columns)
    differing = duckdb.execute(
        f"""SELECT count(*), count(d.cc_num), count(o.cc_num), count_if({far})
        FROM {mine} o FULL JOIN {theirs} d USING (cc_num, trans_ts, n)"""
    ).fetchone()
    if differing is None or len(set(differing[:3])) > 1 or differing[3]:
        sys.exit(f"rows, DuckDB's, ours, differing: {differing}")
    say(f"  {differing[0]:,} rows agree")


def measure(options: argparse.Namespace) -> dict[str, Timing]:
    """Generate, land, compare and race."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extent = Extent(cards=options.cards, transactions=options.transactions)
        write(generate(extent), folder / "data")
        (folder / "features.py").write_text(FEATURES)
        with twinlake.open(folder, tell=say) as store:
            store.apply()
            project = store.project
            land_files(project, project.definitions.sources["rows"], MAX_US)
            runs = {
                OURS: ours(project, options.transactions, folder / "ours"),
                DUCK: duck(folder),
                SPARK: spark_window(project.spark, folder),
            }
            for contender in (OURS, DUCK):
                runs[contender]()
            compare(folder)
            return race(runs, options.rounds)


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--transactions", type=int, default=5_400_000)
    parser.add_argument("--cards", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    timings = measure(options)
    say(table(f"{options.transactions:,} transactions, 4 features", timings, OURS))
    give(
        {
            "machine": machine(),
            "transactions": options.transactions,
            "seconds": {name: timing.median for name, timing in timings.items()},
            "peak_mb": {name: timing.peak_mb for name, timing in timings.items()},
        }
    )


if __name__ == "__main__":
    main()
