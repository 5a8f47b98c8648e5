"""Landing CSV: what cannot be read is quarantined with the row as it came, nothing is guessed."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.spark.benches import NOW_US, Bench
from twinlake.definitions.resolution import view_features
from twinlake.definitions.times import MAX_US, parse_instant_us
from twinlake.flows import applying, checking, materializing
from twinlake.flows.landing import land_files
from twinlake.flows.project import Project, online_table, view_table
from twinlake.lake import tables
from twinlake.registry.state import Landing
from twinlake.settings import load_settings

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = CHECKOUT / "spark_jobs" / "examples" / "smart_meters"
SAMPLE = CHECKOUT / "bootstrap" / "data" / "smart_meters" / "daily_energy.parquet"
HOMES = ["MAC000002", "MAC000020", "MAC000039", "MAC000058"]

DEFINITIONS = """
things = Source(
    "things",
    schema="id string, at timestamp, day date, n int, v double, m decimal(6,2), b boolean",
    event_timestamp="at",
    event_id="id",
    batch=Files("in", format="csv"),
)
"""
FINE = {"at": "2014-02-01T12:00:00Z", "day": "2014-02-01", "n": "7", "v": "1.5", "m": "12.50"}
# Column, text, whether it can be read, what it is then.
CELLS: list[tuple[str, str, bool, Any]] = [
    ("n", " 8 ", True, 8),
    ("n", "-2147483648", True, -(2**31)),
    ("n", "2147483648", False, None),
    ("n", "7.9", False, None),
    ("n", "seven", False, None),
    ("n", "", True, None),
    ("v", "-0.0", True, 0.0),
    ("v", "1e300", True, 1e300),
    ("v", "1,5", False, None),
    ("m", "-9999.99", True, "-9999.99"),
    ("m", "12.505", False, None),
    ("m", "10000", False, None),
    ("day", "2014-02-30", False, None),
    ("day", "2014-02-01 23:00", False, None),
    ("at", "2014-02-01 13:00:00.000001", True, parse_instant_us("2014-02-01") + 46_800_000_001),
    ("at", "2014-02-01T13:00:00+01:00", True, parse_instant_us("2014-02-01T12:00:00Z")),
    ("at", "13:00", False, None),
    ("at", "yesterday", False, None),
    ("b", "true", True, True),
    ("b", "maybe", False, None),
]


def line(identity: str, cells: dict[str, str]) -> str:
    whole = {"id": identity} | FINE | {"b": "false"} | cells
    return ",".join(
        f'"{whole[name]}"' if "," in whole[name] else whole[name]
        for name in ("v", "id", "at", "day", "n", "m", "b")
    )


def land(bench: Bench, definitions: str = DEFINITIONS) -> Landing:
    bench.define(definitions).apply()
    done = land_files(bench.project, bench.project.definitions.sources["things"], MAX_US)
    assert done is not None
    return done


def test_what_cannot_be_read_is_quarantined_with_the_row_as_it_came(bench: Bench) -> None:
    lines = [line(str(i), {name: text}) for i, (name, text, *_) in enumerate(CELLS)]
    lines += ['1.5,"a ""quoted"", name",' + line("", {}).split(",", 2)[2], "1.5,short"]
    lines += [line("long", {}) + ",more"]
    (bench.inputs / "1.csv").write_text("\n".join(["v,id,at,day,n,m,b", *lines]) + "\n")
    done = land(bench)
    assert done.read == len(lines)
    stored = {r["id"]: r for r in bench.events("things")}
    wrong = []
    for number, (name, text, readable, value) in enumerate(CELLS):
        found = stored[str(number)]
        verdict = "accepted" if readable else "quarantined"
        cell = str(found[name]) if name == "m" and readable and value else found[name]
        if found["_verdict"] != verdict or (readable and cell != value):
            wrong.append((name, text, found["_verdict"], cell))
        if found["_verdict"] == "quarantined":
            assert f"{name}: cannot be read as" in found["_reasons"][0]
            assert json.loads(bytes(found["_raw"]))[name] == text
    assert not wrong
    assert str(stored[str([t for _, t, *_ in CELLS].index("-0.0"))]["v"]) == "0.0"
    assert stored['a "quoted", name']["_verdict"] == "accepted"
    for identity in ("short", "long"):
        assert stored[identity]["_verdict"] == "quarantined"
        assert "line: wrong number of fields" in stored[identity]["_reasons"]
    assert "1.5,short" in bytes(stored["short"]["_raw"]).decode()


def test_compressed_files_and_spaced_headers_are_read(bench: Bench) -> None:
    text = "\n".join(["v, id, at, day, n, m, b", line("zipped", {}), line("other", {})])
    (bench.inputs / "1.csv.gz").write_bytes(gzip.compress(text.encode()))
    plain = text.replace("zipped", "plain").replace("other", "last")
    (bench.inputs / "2.csv").write_text(plain)
    assert land(bench).accepted == 4
    assert set(bench.verdicts("things", "id")) == {"zipped", "other", "plain", "last"}


def test_a_byte_order_mark_and_other_names_are_read(bench: Bench) -> None:
    text = "\n".join(["v,Key,at,day,n,m,b", line("marked", {}), line("second", {})])
    (bench.inputs / "1.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    quoted = text.replace("marked", "quoted").replace("second", "third")
    (bench.inputs / "2.csv.gz").write_bytes(gzip.compress(b'\xef\xbb\xbf"v"' + quoted[1:].encode()))
    own = text.replace("Key", "id").replace("marked", "own").replace("second", "last")
    (bench.inputs / "3.csv").write_text(own)
    done = land(bench, DEFINITIONS.replace('="csv"', '="csv", also_named={"id": "Key"}'))
    assert (done.read, done.accepted) == (6, 6)
    stored = bench.events("things", "id", "v")
    assert {r["id"] for r in stored} == {"marked", "second", "quoted", "third", "own", "last"}
    assert {r["v"] for r in stored} == {1.5}


ORIGINAL = (
    "LCLid,day,energy_median,energy_mean,energy_max,energy_count,energy_std,energy_sum,energy_min"
)


def test_the_original_layout_of_the_example_gives_the_same_features(bench: Bench) -> None:
    """The example, from Parquet and from CSV blocks as the original came, cell by cell."""
    homes = pq.read_table(SAMPLE, filters=[("household_id", "in", HOMES)])
    blocks = bench.folder / "blocks"
    (blocks / "more").mkdir(parents=True)
    pq.write_table(homes, bench.folder / "homes.parquet")
    assert ",".join(homes.column_names).replace("household_id", "LCLid") == ORIGINAL
    rows = [",".join("" if c is None else str(c) for c in r.values()) for r in homes.to_pylist()]
    thirds = [rows[0::3], rows[1::3], rows[2::3]]
    for name, part in zip(("block_0.csv", "more/block_1.csv"), thirds[:2], strict=True):
        (blocks / name).write_text("\n".join([ORIGINAL, *part]) + "\n")
    last = "\n".join([ORIGINAL, *thirds[2]]).encode()
    (blocks / "block_2.csv.gz").write_bytes(gzip.compress(last))
    found = []
    for name in ("homes.parquet", "blocks"):
        settings = load_settings(EXAMPLE, state=bench.folder / f"state of {name}", environ={})
        with Project(
            settings,
            environ=os.environ,
            now_us=lambda: NOW_US,
            tell=lambda _: None,
            sources={"daily_energy": bench.folder / name},
            spark=bench.spark,
        ) as project:
            applying.apply(project)
            done = materializing.materialize(project).landings["daily_energy"]
            assert done is not None
            views = list(project.applied().definitions.views.values())
            verdict = checking.check_parity(project, views, None)
            assert (verdict.mismatches, verdict.keys) == (0, len(HOMES))
            found.append((counts(done), stored(project)))
    (counted, features), (counted_csv, features_csv) = found
    assert counted == counted_csv
    assert counted[0] == len(rows)
    assert counted[2] > 0
    assert features_csv == features


def counts(landing: Landing) -> tuple[int, int, int]:
    return landing.read, landing.accepted, landing.quarantined


def stored(project: Project) -> dict[str, set[tuple[Any, ...]]]:
    """The cells of every feature row and online row; equality is that of the bits."""
    cells = {}
    for name, view in project.applied().definitions.views.items():
        frame = tables.read(project.spark, project.places.view(view_table(view)))
        wanted = ["household_id", "event_timestamp", *(f.name for f in view_features(view))]
        cells[name] = {tuple(map(repr, row)) for row in frame.select(*wanted).collect()}
        rows = project.store.scan(online_table(view))
        cells[f"{name} online"] = {(*r.key, *map(repr, r.values)) for r in rows}
    return cells
