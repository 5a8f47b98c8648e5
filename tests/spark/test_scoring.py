"""Scoring in the stream: each event gets one row, and a new champion takes over between batches."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

import twinlake
from tests.spark.benches import Bench, Cells, collected
from twinlake.errors import EnvironmentFailure, StateError
from twinlake.flows import modelling, predictions, stream_models, streaming
from twinlake.flows.stream_lander import Progress
from twinlake.flows.stream_outputs import TopicOutput
from twinlake.flows.stream_scoring import Scoring
from twinlake.lake import streams, tables

START = dt.datetime(2021, 3, 1, tzinfo=dt.UTC)
TOPIC, MODEL = "said", "loans"
SCHEMA = pa.schema(
    [("who", pa.string()), ("at", pa.timestamp("us", "UTC")), ("income", pa.float64())]
)
DEFINITIONS = """
from twinlake import Kafka, Model
applications = Source(
    "applications", schema="who string, at timestamp, income double",
    event_timestamp="at", event_id="who", batch=Files("in"), stream=Kafka("applications"),
)
person = Entity("person", join_keys={"who": "string"})
people = FeatureView(
    "people", entity=person, source=applications, hop="1h", publish="stream",
    features=[Column("income"), Aggregate("sum", "income", windows={"income_1d": "1d"})],
)
loan = FeatureService("loan", features=[people])
loans = Model(
    "loans", service=loan, label="failed", threshold=0.5, rounds=4,
    parameters={"objective": "binary:logistic", "max_depth": 2, "min_child_weight": 0},
)
"""


@dataclass
class Loans:
    """A bench with a trained model, and a stream of applications."""

    bench: Bench
    sent: int = 0

    def send(self, *ago_h: float) -> int:
        """Send a file of applications that happened so many hours before the end; its number."""
        folder = self.bench.folder / "state" / "topics" / "applications"
        folder.mkdir(parents=True, exist_ok=True)
        end = START + dt.timedelta(days=30)
        lines = [
            json.dumps(
                {
                    "who": f"s{self.sent}-{number}",
                    "at": (end + dt.timedelta(minutes=self.sent, hours=-hours)).isoformat(),
                    "income": 10.0 + 70 * (number % 2) + self.sent % 7,
                }
            )
            for number, hours in enumerate(ago_h)
        ]
        (folder / f"{self.sent:03}.json").write_text("\n".join(lines))
        self.sent += 1
        return self.sent - 1

    def stream(self, **options: Any) -> Progress:
        done = streaming.stream(
            self.bench.open(), [], once=True, models={MODEL: Scoring(TOPIC)}, **options
        )
        return done["applications"]

    def rows_of(self, number: int) -> list[Cells]:
        """What was said of the applications of a file."""
        path = self.bench.project.places.predictions(MODEL)
        frame = tables.read(self.bench.spark, path)
        return collected(frame.where(f"who LIKE 's{number}-%'").orderBy("who"))

    def told(self, number: int) -> Counter[str]:
        """Who was sent, however often."""
        folder = self.bench.folder / "state" / "topics" / TOPIC
        lines = [line for file in folder.glob("*.json") for line in file.read_text().splitlines()]
        named = [json.loads(line)["who"] for line in lines]
        return Counter(who for who in named if who.startswith(f"s{number}-"))

    def landed(self, number: int) -> Counter[str]:
        named = [row["who"] for row in self.bench.events("applications", "who")]
        return Counter(who for who in named if who.startswith(f"s{number}-"))


def train(bench: Bench, spark: SparkSession, *, is_turned: bool) -> None:
    spine = pq.read_table(bench.folder / "spine.parquet").to_pylist()
    rows = [row | {"failed": 1 - row["failed"] if is_turned else row["failed"]} for row in spine]
    file = bench.folder / f"spine-{is_turned}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    store = twinlake.open(bench.root, state=bench.folder / "state", spark=spark)
    modelling.train_model(store.project, MODEL, store.build_training_set("loan", file))


@pytest.fixture(scope="module")
def loans(module_bench: Callable[[], Bench], spark: SparkSession) -> Loans:
    bench = module_bench().define(DEFINITIONS)
    chance = random.Random(4)
    rows: list[Cells] = [
        {"who": f"p{n}", "at": START + dt.timedelta(hours=n), "income": chance.uniform(0, 100)}
        for n in range(200)
    ]
    bench.put("first", rows, SCHEMA)
    spine = [
        {"who": r["who"], "event_timestamp": r["at"], "failed": int(r["income"] < 50)} for r in rows
    ]
    pq.write_table(pa.Table.from_pylist(spine), bench.folder / "spine.parquet")
    bench.apply().materialize()
    train(bench, spark, is_turned=False)
    made = Loans(bench)
    made.stream()  # what there is is history
    return made


@pytest.fixture(autouse=True)
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_models, "_LOOK_S", 0.0)


def test_each_event_gets_one_row_and_one_message(loans: Loans) -> None:
    first = loans.send(0, 1, 2)
    done = loans.stream()
    assert done.scored[MODEL].predictions == 3
    rows = loans.rows_of(first)
    assert Counter(row["who"] for row in rows) == loans.landed(first) == loans.told(first)
    assert {row["model"] for row in rows} == {MODEL}
    assert all(row["latency_ms"] >= 0 and row["unscored"] is None for row in rows)
    assert all(row["is_positive"] is (row["prediction"] > 0.5) for row in rows)
    assert all((row["income"] < 50) is row["is_positive"] for row in rows)


def test_a_message_that_was_not_sent_when_a_stream_ended_is_sent_by_the_next(
    loans: Loans, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = loans.send(0, 1)

    def fail(*_: object) -> None:
        raise EnvironmentFailure("the broker is gone")

    with monkeypatch.context() as broken:
        broken.setattr(TopicOutput, "send", fail)
        with pytest.raises(EnvironmentFailure, match="broker"):
            loans.stream()
    held = loans.rows_of(number)
    assert len(held) == 2
    assert not loans.told(number)
    done = loans.stream()
    assert done.batches == 0
    assert loans.told(number) == loans.landed(number)
    assert loans.rows_of(number) == held, "what the table holds wins"


def test_what_was_landed_but_not_scored_is_scored_by_the_next(
    loans: Loans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EnvironmentFailure("the disk is gone")

    number = loans.send(0, 1, 400)  # one of them older than what a stream holds
    with monkeypatch.context() as broken:
        broken.setattr(predictions.PredictionTable, "add", fail)
        with pytest.raises(EnvironmentFailure, match="disk"):
            loans.stream()
    assert len(loans.landed(number)) == 3
    assert not loans.rows_of(number)
    loans.stream()
    assert Counter(row["who"] for row in loans.rows_of(number)) == loans.landed(number)
    assert loans.told(number) == loans.landed(number)


def test_only_what_is_too_late_has_no_prediction(loans: Loans) -> None:
    loans.stream()
    number = loans.send(0, 300, 1)
    done = loans.stream()
    assert (done.scored[MODEL].predictions, done.scored[MODEL].unscored) == (2, 1)
    said = {row["who"].partition("-")[2]: row for row in loans.rows_of(number)}
    assert said["1"]["unscored"] == "windows reach further back than the stream holds"
    assert said["1"]["prediction"] is None
    assert said["1"]["_event_row"] is not None
    assert all(said[who]["prediction"] is not None for who in "02")


def test_a_new_champion_takes_over_between_two_batches(loans: Loans, spark: SparkSession) -> None:
    numbers = [loans.send(0, 1) for _ in range(3)]
    seen: list[int] = []

    def after(_source: str, _progress: Progress) -> None:
        if not seen:
            train(loans.bench, spark, is_turned=True)
        seen.append(1)

    try:
        loans.stream(limits=streams.Limits(files=1), after_batch=after)
        rows = [row for number in numbers for row in loans.rows_of(number)]
        first, second, third = sorted({row["_event_version"] for row in rows})
        by = {row["_event_version"]: row["model_version"] for row in rows}
        assert by[first] < by[second] == by[third]
        for row in rows:
            is_turned = row["model_version"] > by[first]
            assert row["is_positive"] == ((row["income"] < 50) != is_turned)
    finally:
        train(loans.bench, spark, is_turned=False)


def test_a_champion_that_cannot_be_loaded_does_not_end_the_stream(
    loans: Loans, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(loans.bench.project, "tell", told.append)
    champion = stream_models.Champion(loans.bench.project, loans.bench.project.model(MODEL))

    def fail(*_: object) -> None:
        raise StateError("its file has another SHA-256")

    monkeypatch.setattr(stream_models, "newer_champion", fail)
    champion.look()
    champion.look()
    assert len(told) == 1
    assert "goes on: its file has another SHA-256" in told[0]
    said = champion.say({"income": pa.array([1.0, 99.0]), "income_1d": pa.array([1.0, 99.0])})
    assert said.is_positive.to_pylist() == [True, False]
