"""Watching predictions: windows are counted once, whatever is cut short when."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from tests.spark.benches import Bench, collected
from twinlake.definitions.types import Field
from twinlake.errors import CheckFailed, InputError, StateError
from twinlake.flows import maintaining, monitoring
from twinlake.flows.monitoring import Monitor, monitor
from twinlake.flows.predictions import PredictionTable, Said
from twinlake.flows.quality_metrics import QualityMetrics
from twinlake.lake import tables

MINUTE = 60_000_000
KINDS = ("ant", "bee", "cat")
DEFINITIONS = """
from twinlake import Alert, Kafka, Model, Quality, Request, on_demand
walks = Source(
    "walks", schema="id string, legs double, kind string, at timestamp",
    event_timestamp="at", event_id="id", batch=Files("in"), stream=Kafka("walks"),
)
@on_demand(inputs=[Request(legs="double")], outputs={"pairs": "double"})
def pairs_of(f):
    return {"pairs": f["legs"] / 2}
legs = FeatureService("legs", features=[pairs_of])
walker = Model(
    "walker", service=legs, source=walks, label="kind", classes=("ant", "bee", "cat"),
    predicts="saidKind", quality=Quality(
        window="1m", lateness="20s", topic="windows", totals_topic="totals", alerts_topic="alerts",
        alerts=[Alert("bad", "accuracy", below=0.5, minimum_records=5, windows=2)],
    ),
)
silent = Model("silent", service=legs, source=walks, label="kind", classes=("ant", "bee", "cat"))
"""
COLUMNS = [
    Field("id", "string"), Field("kind", "string"), Field("event_timestamp", "timestamp")
]  # fmt: skip
# Minutes in which the model is mostly wrong.
WRONG = {4, 5, 6}


@pytest.fixture
def bench(bench: Bench) -> Bench:
    return bench.define(DEFINITIONS).apply()


def predict(bench: Bench, rows: list[dict[str, Any]], version: int) -> None:
    """Append what was said of a batch, as a stream does."""
    model = bench.project.model("walker")
    table = PredictionTable(bench.project, model, COLUMNS, ["id"], None, 0)
    count = len(rows)
    nothing = Said.nothing(count, "")
    said = Said(
        prediction=pa.array([0.6] * count),
        unscored=pa.nulls(count, pa.string()),
        version=pa.array([row["version"] for row in rows], pa.int32()),
        latency_ms=nothing.latency_ms,
        is_positive=nothing.is_positive,
        predicted=pa.array([row["said"] for row in rows]),
        probabilities=pa.array(
            [[0.6 if kind == row["said"] else 0.2 for kind in KINDS] for row in rows]
        ),
    )
    told = {
        "id": pa.array([row["id"] for row in rows]),
        "kind": pa.array([row["kind"] for row in rows]),
        "event_timestamp": pa.array([row["us"] for row in rows], pa.timestamp("us", "UTC")),
    }
    asked = pa.table({"version": [version] * count, "row": list(range(count))})
    table.add(told | said.of(model), asked, version)


def walks(seed: int, batches: int) -> list[list[dict[str, Any]]]:
    """Batches whose events come about in order, some of them too late."""
    chance = random.Random(seed)
    made = []
    for batch in range(batches):
        rows = []
        for number in range(25):
            second = batch * 60 + chance.uniform(0, 60)
            if batch > 3 and chance.random() < 0.05:
                second -= 200
            kind = chance.choice(KINDS)
            is_wrong = chance.random() < (0.8 if int(second // 60) in WRONG else 0.1)
            said = chance.choice([k for k in KINDS if k != kind]) if is_wrong else kind
            us = int(second * 1_000_000)
            version = 1 if batch < 7 else 2
            name = f"{batch}-{number}"
            rows.append({"id": name, "us": us, "kind": kind, "said": said, "version": version})
        made.append(rows)
    return made


def naive(batches: list[list[dict[str, Any]]]) -> tuple[Counter[Any], int, int]:
    """Final counts, rows in open windows, and late ones, row by row."""
    newest, counts, late = -1, Counter[Any](), 0
    for row in (row for rows in batches for row in rows):
        end = (row["us"] // MINUTE + 1) * MINUTE
        if end + 20_000_000 <= newest:
            late += 1
        else:
            counts[end - MINUTE, row["version"], row["kind"], row["said"]] += 1
        newest = max(newest, row["us"])
    final = Counter({k: n for k, n in counts.items() if k[0] + MINUTE + 20_000_000 <= newest})
    return final, counts.total() - final.total(), late


def counted(bench: Bench) -> Counter[Any]:
    path = bench.project.places.quality("walker", "windows")
    rows = collected(tables.read(bench.spark, path))
    keys = [(r["window_start"], r["model_version"], r["label"], r["predicted"]) for r in rows]
    assert len(set(keys)) == len(keys), "no count is there twice"
    return Counter(dict(zip(keys, [row["count"] for row in rows], strict=True)))


def messages(bench: Bench, topic: str) -> list[dict[str, Any]]:
    folder = bench.project.places.topic(topic)
    files = sorted(folder.glob("*.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_windows_are_counted_once_whatever_is_cut_short(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = walks(7, 10)
    points = ["monitoring.folded", "monitoring.written", "monitoring.noted", ""] * 3
    for version, (rows, point) in enumerate(zip(batches, points, strict=False), 1):
        predict(bench, rows, version)

        def reached(name: str, point: str = point) -> None:
            if name == point:
                raise CheckFailed("the process dies here")

        with monkeypatch.context() as cut:
            cut.setattr(monitoring, "reached", reached)
            if point:
                with pytest.raises(CheckFailed):
                    monitor(bench.project, "walker", once=True)
            else:
                monitor(bench.project, "walker", once=True)
    seen = monitor(bench.project, "walker", once=True)
    final, still, late = naive(batches)
    assert counted(bench) == final
    assert late > 0
    assert (seen.open, seen.sums.late) == (still, late)
    assert seen.final + seen.open + seen.sums.late == seen.sums.predictions == 250
    sent = {
        (m["startMs"] * 1000, m["modelVersion"], m["kind"], m["saidKind"]): m["count"]
        for m in messages(bench, "windows")
    }
    assert sent == final
    assert sum(row["records"] for row in seen.totals) == seen.sums.counted
    assert all(row["correct"] is (row["label"] == row["predicted"]) for row in seen.totals)
    newest = {(m["kind"], m["saidKind"]): m["records"] for m in messages(bench, "totals")}
    told = {(row["label"], row["predicted"]): row["records"] for row in seen.totals}
    assert newest.keys() <= told.keys()
    assert all(count <= told[pair] for pair, count in newest.items())


def test_alerts_come_once_when_it_starts_and_once_when_it_is_over(bench: Bench) -> None:
    for version, rows in enumerate(walks(7, 10), 1):
        predict(bench, rows, version)
    seen = monitor(bench.project, "walker", once=True)
    told = [(m["rule"], m["kind"]) for m in messages(bench, "alerts")]
    assert told == [("bad", "raised"), ("bad", "cleared")]
    first, last = messages(bench, "alerts")
    assert first["value"] < 0.5 <= last["value"]
    assert first["window_start"] == "1970-01-01T00:05:00Z", "the second that is wrong"
    assert seen.events == {"raised": 1, "cleared": 1}
    assert (seen.raised, sum(seen.waiting.values())) == ([], 0)
    figures = collected(tables.read(bench.spark, bench.project.places.quality("walker", "figures")))
    by_window = {
        (row["window_start"], row["model_version"]): row["value"]
        for row in figures if row["metric"] == "accuracy"
    }  # fmt: skip
    for (start, version), value in by_window.items():
        of = [(k, n) for k, n in counted(bench).items() if k[:2] == (start, version)]
        right = sum(n for (_, _, label, said), n in of if label == said)
        assert value == pytest.approx(right / sum(n for _, n in of))
    before = counted(bench)
    done = maintaining.maintain(bench.project, [], maintaining.Work(optimize=True))
    assert {table.table for table in done.tables} == {
        "events walks", "predictions walker", "quality walker windows", "quality walker figures"
    }  # fmt: skip
    assert counted(bench) == before
    predict(bench, walks(8, 12)[-1], 11)
    assert monitor(bench.project, "walker", once=True).sums.predictions == 275
    metrics = QualityMetrics()
    metrics.look(seen)
    names = {m.name: len(m.samples) for m in metrics.collect()}
    assert names["twinlake_quality"] > 10


def test_a_model_is_watched_by_one_and_says_what_to_watch(bench: Bench) -> None:
    project = bench.project
    with pytest.raises(InputError, match="silent does not say what to watch"):
        monitor(project, "silent", once=True)
    before = monitor(project, "walker", once=True)
    assert (before.sums.predictions, before.windows) == (0, 0), "nothing was predicted yet"
    watching = Monitor(project, project.model("walker"))
    with pytest.raises(StateError, match="monitor"):
        Monitor(bench.open(), project.model("walker"))
    watching.close()
    monitor(project, "walker", once=True)
