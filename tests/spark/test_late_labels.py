"""Labels that come after their predictions: joined once, and what is of no use is accounted for."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from tests.spark.benches import Bench, collected
from twinlake.definitions.types import Field
from twinlake.errors import CheckFailed
from twinlake.flows import monitoring, streaming
from twinlake.flows.monitoring import Watch, monitor
from twinlake.flows.predictions import PredictionTable, Said
from twinlake.lake import tables

MINUTE = 60_000_000
DEFINITIONS = """
from twinlake import Alert, Kafka, Labels, Model, Quality, Request, on_demand
payments = Source(
    "payments", schema="tid string, amount double, at timestamp", event_timestamp="at",
    event_id="tid", stream=Kafka("payments"),
)
chargebacks = Source(
    "chargebacks", schema="cid string, payment string, is_fraud int, known_at timestamp",
    event_timestamp="known_at", event_id="cid", stream=Kafka("chargebacks"),
)
shop = Entity("shop", join_keys={"payment": "string"})
told = FeatureView("told", entity=shop, source=chargebacks, publish="stream",
                   features=[Column("is_fraud")])
@on_demand(inputs=[Request(amount="double")], outputs={"log_amount": "double"})
def of_amount(f):
    return {"log_amount": f["amount"] * 1.0}
amounts = FeatureService("amounts", features=[of_amount])
fraud = Model(
    "fraud", service=amounts, source=payments, label="is_fraud", threshold=0.5,
    parameters={"objective": "binary:logistic"}, quality=Quality(
        window="1m", lateness="0s",
        labels=Labels(chargebacks, {"tid": "payment"}, "is_fraud", within="10m"),
        alerts=[Alert("bad", "accuracy", below=0.6)], alerts_topic="alerts",
    ),
)
"""
COLUMNS = [
    Field("tid", "string"), Field("amount", "double"), Field("event_timestamp", "timestamp")
]  # fmt: skip


class Payments:
    """A bench in which payments were judged, and charged back later."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench.define(DEFINITIONS).apply()
        self._version = self._sent = 0

    def judge(self, *rows: tuple[str, int, float]) -> None:
        """Append what was said: payment, second, probability."""
        self._version += 1
        project, count = self.bench.project, len(rows)
        model = project.model("fraud")
        table = PredictionTable(project, model, COLUMNS, ["tid"], None, 0)
        nothing = Said.nothing(count, "")
        said = Said(
            prediction=pa.array([p for *_, p in rows]),
            unscored=pa.nulls(count, pa.string()),
            version=pa.array([1] * count, pa.int32()),
            latency_ms=nothing.latency_ms,
            is_positive=pa.array([p > 0.5 for *_, p in rows]),
            predicted=nothing.predicted,
            probabilities=nothing.probabilities,
        )
        moments = [second * 1_000_000 for _, second, _ in rows]
        told = {
            "tid": pa.array([tid for tid, *_ in rows]),
            "event_timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
        }
        asked = pa.table({"version": [self._version] * count, "row": list(range(count))})
        table.add(told | said.of(model), asked, self._version)

    def charge_back(self, *rows: tuple[str, int, int]) -> None:
        """Land labels: payment, label, second at which it is known."""
        folder = self.bench.folder / "state" / "topics" / "chargebacks"
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for payment, label, second in rows:
            self._sent += 1
            at = f"1970-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
            lines.append(
                {"cid": str(self._sent), "payment": payment, "is_fraud": label, "known_at": at}
            )
        (folder / f"{self._sent}.json").write_text("\n".join(map(json.dumps, lines)))
        streaming.stream(self.bench.open(), ["told"], once=True)

    def look(self) -> Watch:
        return monitor(self.bench.project, "fraud", once=True)

    def figures(self, metric: str) -> dict[int, tuple[float, int]]:
        path = self.bench.project.places.quality("fraud", "figures")
        rows = collected(tables.read(self.bench.spark, path).where(f"metric = '{metric}'"))
        assert len({row["window_start"] for row in rows}) == len(rows), "no figure is there twice"
        return {r["window_start"] // MINUTE: (r["value"], r["records"]) for r in rows}


@pytest.fixture
def payments(bench: Bench) -> Payments:
    return Payments(bench)


def test_labels_are_joined_once_and_the_rest_is_accounted_for(
    payments: Payments, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments.judge(("a", 5, 0.9), ("b", 20, 0.1), ("c", 30, 0.8), ("d", 70, 0.2), ("e", 130, 0.3))
    first = payments.look()
    assert (first.sums.predictions, first.sums.waiting, first.sums.counted) == (5, 5, 0)
    assert payments.figures("records") == {0: (3.0, 3), 1: (1.0, 1)}
    assert payments.figures("accuracy") == {}, "no label came yet"
    # One that is right, two that are wrong, one for nobody, one twice, one that says otherwise.
    payments.charge_back(("a", 1, 200), ("b", 1, 210), ("c", 0, 220), ("x", 1, 230))
    payments.charge_back(("a", 1, 240), ("b", 0, 250))

    def reached(name: str) -> None:
        if name == "monitoring.written":
            raise CheckFailed("the process dies here")

    with monkeypatch.context() as cut:
        cut.setattr(monitoring, "reached", reached)
        with pytest.raises(CheckFailed):
            payments.look()
    second = payments.look()
    assert second.sums.counted == 3
    assert second.sums.labels["used"] == 3
    assert second.sums.labels["duplicate"] == 1
    assert second.sums.labels["conflicting"] == 1
    assert payments.figures("accuracy") == {0: (1 / 3, 3)}
    assert second.raised == ["bad"]
    # d never gets one: its window is final once nobody waits any more. Two weeks late is too late.
    payments.judge(("f", 2_000, 0.7))
    third = payments.look()
    assert third.sums.unlabelled == 2
    payments.charge_back(("d", 0, 2_100))
    last = payments.look()
    assert last.sums.counted == 3
    told = last.sums
    assert told.predictions == told.counted + told.late + told.waiting + told.unlabelled == 6
    assert payments.figures("accuracy") == {0: (1 / 3, 3)}
    assert payments.figures("unlabelled") == {0: (0.0, 3), 1: (1.0, 1), 2: (1.0, 1)}
