"""Landing CSV: what cannot be read is quarantined with the row as it came, nothing is guessed."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.spark.benches import Bench
from twinlake.definitions.times import MAX_US, parse_instant_us
from twinlake.flows.landing import land_files
from twinlake.registry.state import Landing

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


def land(bench: Bench) -> Landing:
    bench.define(DEFINITIONS).apply()
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
