"""The smart meters of London at full size, beside DuckDB.

python -m tests.bench.london PATH/london_daily.parquet [--rounds 5]

Ours: gate, identities and verdicts of all rows into the events table, then fifteen windows as of
every row into the feature view table. DuckDB: the same predicates as a filter, the same windows,
one Parquet file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb

import twinlake
from tests.bench.measuring import give, machine, race, say, table
from twinlake.definitions.times import MAX_US, MIN_US
from twinlake.flows import publishing
from twinlake.flows.feature_store import FeatureStore
from twinlake.flows.landing import land_files
from twinlake.flows.project import view_table

EXAMPLE = Path(__file__).resolve().parents[2] / "spark_jobs/examples/smart_meters"
OURS, DUCK = "twinlake to Delta", "DuckDB to Parquet"
VIEW, SOURCE = "household_energy", "daily_energy"
DAYS = {"3months": 91, "6months": 182, "1yr": 365}
ACCEPTED = """energy_sum IS NOT NULL AND energy_count BETWEEN 40 AND 48 AND energy_sum >= 0
    AND energy_max >= energy_min"""
FUNCTIONS = {
    "energy_sum": "sum(energy_sum)",
    "energy_count": "sum(energy_count)",
    "energy_max": "max(energy_max)",
    "energy_mean": "avg(energy_mean)",
    "energy_stddev": "stddev_samp(energy_sum)",
}


def ours(stores: list[FeatureStore], state: Path, data: Path) -> Callable[[], None]:
    """Land and compute into an empty state; the last one made stays for the comparison."""

    def run() -> None:
        shutil.rmtree(state / "lake", ignore_errors=True)
        for name in ("landings", "publications", "registry", "data_docs"):
            shutil.rmtree(state / name, ignore_errors=True)
        spark = stores[-1].project.spark if stores else None
        store = twinlake.open(EXAMPLE, state=state, sources={SOURCE: data}, spark=spark)
        stores.append(store)
        store.apply()
        project = store.project
        land_files(project, project.definitions.sources[SOURCE], MAX_US)
        view = project.view(VIEW)
        due = publishing.find_due(project, view, (MIN_US, MAX_US))
        if due is None:
            sys.exit("nothing to compute")
        publishing._append_feature_rows(project, view, due, 1, (MIN_US, MAX_US))

    return run


def duck(data: Path, out: Path) -> Callable[[], None]:
    """Compute the same windows from the same file."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    cells = ", ".join(
        f"{text} OVER w{days} AS {name}_{suffix}"
        for suffix, days in DAYS.items()
        for name, text in FUNCTIONS.items()
    )
    windows = ", ".join(
        f"w{days} AS (PARTITION BY household_id ORDER BY day "
        f"RANGE BETWEEN INTERVAL {days - 1} DAYS PRECEDING AND CURRENT ROW)"
        for days in DAYS.values()
    )
    query = f"""COPY (SELECT household_id, day, {cells} FROM '{data}' WHERE {ACCEPTED}
        WINDOW {windows}) TO '{out}' (FORMAT parquet)"""

    def run() -> None:
        connection.execute(query)

    return run


def compare(store: FeatureStore, out: Path) -> int:
    """Give the cells compared; stop where one differs by more than 1e-9 of its size."""
    path = store.project.places.view(view_table(store.project.view(VIEW)))
    names = [f"{name}_{suffix}" for suffix in DAYS for name in FUNCTIONS]
    # Tiny spreads of equal values are rounding noise in one-pass formulas, hence the added 1e-4.
    differs = " OR ".join(
        f"(o.{n} IS NULL) <> (d.{n} IS NULL) OR abs(o.{n} - d.{n}) > 1e-9 * abs(d.{n})"
        + (" + 1e-4" if "stddev" in n else "")
        for n in names
    )
    counted = duckdb.execute(
        f"""SELECT count(*), count(o.event_timestamp), count_if({differs})
        FROM '{out}' d FULL JOIN read_parquet('{path}/*.parquet') o
        ON o.household_id = d.household_id
        AND o.event_timestamp = (d.day + INTERVAL 1 DAY)::TIMESTAMP AT TIME ZONE 'UTC'"""
    ).fetchone()
    if counted is None or counted[0] != counted[1] or counted[2]:
        sys.exit(f"rows, ours, differing: {counted}")
    return int(counted[0]) * len(names)


def main() -> None:
    """Measure, compare, and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    data = options.data.resolve()
    stores: list[FeatureStore] = []
    with tempfile.TemporaryDirectory() as name:
        state, out = Path(name) / "state", Path(name) / "duck.parquet"
        runs = {OURS: ours(stores, state, data), DUCK: duck(data, out)}
        for run in runs.values():
            run()
        cells = compare(stores[-1], out)
        say(f"{cells:,} cells agree within 1e-9")
        timings = race(runs, options.rounds)
        stores[0].close()
    say(table("London, 3.5M rows, 15 windows", timings, OURS))
    give(
        {
            "machine": machine(),
            "cells": cells,
            "ratio": timings[OURS].median / timings[DUCK].median,
            "runs": {n: {"seconds": t.median, "peak_mb": t.peak_mb} for n, t in timings.items()},
        }
    )


if __name__ == "__main__":
    main()
