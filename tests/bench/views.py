"""One, three and ten views of one entity in one training set, in one pass.

python -m tests.bench.views [--spine 1000000] [--events 500000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import twinlake
from tests.bench.measuring import give, machine, race, say, table
from twinlake.definitions.times import MAX_US
from twinlake.flows.landing import land_files
from twinlake.flows.project import Project
from twinlake.lake import feature_rows, point_in_time, spines, training_tables

VIEWS = 10
START_US, YEAR_US = 1_600_000_000_000_000, 365 * 86_400_000_000
HEAD = """
from twinlake import Aggregate, Column, Entity, FeatureService, FeatureView, Files, Source

thing = Entity("thing", join_keys={"key": "bigint"})
views = []
for n in range(10):
    source = Source(f"s{n}", schema="id bigint, key bigint, at timestamp, v double, w double",
        event_timestamp="at", event_id="id", batch=Files(f"s{n}.parquet"))
    globals()[f"s{n}"] = source
    views.append(FeatureView(f"v{n}", entity=thing, source=source, ttl="400d", hop="1d",
        features=[Column("w", name=f"w{n}"),
                  Aggregate("sum", "v", windows={f"sum{n}_7d": "7d", f"sum{n}_28d": "28d"})]))
    globals()[f"v{n}"] = views[-1]
one = FeatureService("one", views[:1])
three = FeatureService("three", views[:3])
ten = FeatureService("ten", views)
"""


def generate(folder: Path, spine_rows: int, event_rows: int) -> None:
    """Write ten sources and a spine of the same keys."""
    random = np.random.default_rng(40)
    keys, instants = max(event_rows // 100, 1), pa.timestamp("us", "UTC")

    def times(rows: int) -> pa.Array:
        return pa.array(START_US + random.integers(0, YEAR_US, rows)).cast(instants)

    for number in range(VIEWS):
        columns = {
            "id": pa.array(np.arange(event_rows)),
            "key": pa.array(random.integers(0, keys, event_rows)),
            "at": times(event_rows),
            "v": pa.array(random.normal(size=event_rows)),
            "w": pa.array(random.normal(size=event_rows)),
        }
        pq.write_table(pa.table(columns), folder / f"s{number}.parquet")
    spine = {
        "key": pa.array(random.integers(0, keys, spine_rows)),
        "event_timestamp": times(spine_rows),
    }
    pq.write_table(pa.table(spine), folder / "spine.parquet")
    (folder / "features.py").write_text(HEAD)


def ours(project: Project, folder: Path, service_name: str, spine_rows: int) -> Callable[[], None]:
    """Join and write one service's training set."""
    service = project.service(service_name)
    taken = [
        point_in_time.Taken(
            view,
            names,
            project.places.events(view.source.name),
            project.landings(view.source.name).all()[-1].version,
        )
        for view, names in service.selections()
    ]
    rows = spine_rows + sum(
        project.landings(item.view.source.name).all()[-1].accepted for item in taken
    )

    def run() -> None:
        out = folder / "out" / service_name
        shutil.rmtree(out, ignore_errors=True)
        spine = spines.read_spine(project.spark, folder / "spine.parquet", {"key": "bigint"})
        asked = point_in_time.Spine(spine, spine_rows)
        parts = feature_rows.parts_for(rows, 2)
        joined = point_in_time.join(project.spark, asked, taken, parts, folder / "scratch")
        training_tables.write(project.spark, joined, out, {})

    return run


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spine", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, options.spine, options.events)
        with twinlake.open(folder) as store:
            store.apply()
            for source in store.project.definitions.sources.values():
                land_files(store.project, source, MAX_US)
            runs = {
                service: ours(store.project, folder, service, options.spine)
                for service in ("one", "three", "ten")
            }
            timings = race(runs, options.rounds)
    say(table(f"{options.spine:,} spine rows, {options.events:,} events a view", timings, "one"))
    seconds = {name: timing.median for name, timing in timings.items()}
    give({"machine": machine(), "seconds": seconds, "ten_to_one": seconds["ten"] / seconds["one"]})


if __name__ == "__main__":
    main()
