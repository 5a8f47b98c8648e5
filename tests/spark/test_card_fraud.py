"""The fraud example: its features are what their names say, and a model comes out of them."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from examples.card_fraud import training
from examples.card_fraud.generator import Extent, generate, write
from tests.spark.benches import NOW_US, Cells, collected
from twinlake.definitions.times import to_us
from twinlake.flows import modelling, training_sets
from twinlake.flows.project import Project
from twinlake.flows.reading import read_service
from twinlake.flows.training_sets import TrainingSet
from twinlake.lake import tables
from twinlake.settings import load_settings

EXTENT = Extent(cards=60, transactions=60_000, seed=3)
MINUTES_10, WEEK = dt.timedelta(minutes=10), dt.timedelta(days=7)
FEATURES = (
    "num_trans_last_10m", "avg_amt_last_10m", "num_trans_last_1w", "avg_amt_last_1w",
    "transaction_amount", "amt_ratio1", "amt_ratio2", "count_ratio",
)  # fmt: skip
VECTOR = ["transaction_amount", "amt_ratio1", "amt_ratio2", "count_ratio"]


@dataclass(frozen=True)
class Prepared:
    project: Project
    training_set: TrainingSet
    transactions: pa.Table

    def card(self, number: int) -> list[Cells]:
        rows: list[Cells] = self.transactions.filter(
            pc.equal(self.transactions["cc_num"], number)
        ).to_pylist()
        return rows


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("card fraud")
    transactions = generate(EXTENT)
    write(transactions, folder / "data", by_month=False)
    settings = load_settings(training.PROJECT, state=folder / "state", environ=os.environ)
    project = Project(
        settings,
        environ=os.environ,
        now_us=lambda: NOW_US,
        tell=lambda _: None,
        sources={training.SOURCE: folder / "data"},
        spark=spark,
    )
    yield Prepared(project, training.prepare(project), transactions)
    project._spark = None  # it belongs to the lane
    project.close()


def cards_to_look_at(transactions: pa.Table) -> list[int]:
    """Three cards with fraud, and two without."""
    is_fraud = pc.equal(transactions["fraud_label"], 1)
    frauds = set(transactions.filter(is_fraud)["cc_num"].to_pylist())
    quiet = set(transactions["cc_num"].to_pylist()) - frauds
    assert len(quiet) >= 2
    return [*sorted(frauds)[:3], *sorted(quiet)[:2]]


def expected(rows: list[Cells], row: Cells) -> tuple[Any, ...]:
    """What the eight features are as of a transaction, the transaction itself being there."""

    def window(length: dt.timedelta) -> tuple[int, float]:
        held = [
            Fraction(other["amount"])
            for other in rows
            if row["trans_ts"] - length < other["trans_ts"] <= row["trans_ts"]
        ]
        return len(held), float(sum(held)) / len(held)

    count_10m, mean_10m = window(MINUTES_10)
    count_1w, mean_1w = window(WEEK)
    amount = float(Decimal(row["amount"]))
    ratios = (mean_10m / mean_1w, amount / mean_1w, count_10m / count_1w)
    return (count_10m, mean_10m, count_1w, mean_1w, amount, *ratios)


def test_features_are_what_a_loop_over_a_card_finds(prepared: Prepared) -> None:
    spine = prepared.project.settings.state / "spine.parquet"
    everything = training_sets.build(prepared.project, "fraud_features", spine)
    assert everything.receipt.rows == EXTENT.transactions
    frame = tables.read(prepared.project.spark, everything.path, everything.version)
    chosen = cards_to_look_at(prepared.transactions)
    found = sorted(
        tuple(row[name] for name in ("cc_num", "event_timestamp", *FEATURES, "fraud_label"))
        for row in collected(frame.where(frame.cc_num.isin(chosen)))
    )
    wanted = sorted(
        (card, to_us(row["trans_ts"]), *expected(rows, row), row["fraud_label"])
        for card in chosen
        for rows in [prepared.card(card)]
        for row in rows
    )
    assert found == wanted
    # Bursts are among them, or the ten minutes would have shown nothing.
    assert max(row[2] for row in found) >= 3


def test_every_transaction_is_landed_without_its_label(prepared: Prepared) -> None:
    path = prepared.project.places.events("transactions")
    frame = tables.read(prepared.project.spark, path)
    assert "fraud_label" not in frame.columns
    verdicts = [
        (row["_verdict"], row["count"]) for row in frame.groupBy("_verdict").count().collect()
    ]
    assert verdicts == [("accepted", EXTENT.transactions)]


def test_the_model_takes_what_the_original_takes(prepared: Prepared) -> None:
    recipe = modelling.recipe_of(prepared.project.model("card_fraud"))
    assert list(recipe.features) == VECTOR
    assert recipe.threshold == 0.25
    counts = prepared.training_set.receipt.statuses
    assert {name: counts[name]["present"] for name in VECTOR} == dict.fromkeys(
        VECTOR, EXTENT.transactions
    )


def test_serving_gives_the_vector_that_training_has(prepared: Prepared) -> None:
    for card in cards_to_look_at(prepared.transactions):
        rows = prepared.card(card)
        last = rows[-1]
        asked = {"cc_num": card, "amount": last["amount"]}
        at = last["trans_ts"].isoformat()
        (answer,) = read_service(prepared.project, "fraud_vector", [asked], at)
        given = tuple(answer.features[name].value for name in VECTOR)
        assert given == expected(rows, last)[4:]


def test_training_gives_a_judged_model(prepared: Prepared) -> None:
    judged = training.train(prepared.project, prepared.training_set)
    told = judged.document()
    times, labels = prepared.transactions["trans_ts"], prepared.transactions["fraud_label"]
    first, cut = dt.datetime(2022, 1, 15, tzinfo=dt.UTC), dt.datetime(2022, 5, 15, tzinfo=dt.UTC)
    held_out = [label for at, label in zip(times, labels, strict=True) if at.as_py() >= cut]
    learned = sum(first < at.as_py() < cut for at in times)
    assert (told["train_rows"], told["test_rows"]) == (learned, len(held_out))
    found = told["classification"]
    frauds = sum(label.as_py() for label in held_out)
    assert found["true_positives"] + found["false_negatives"] == frauds > 0
    assert sum(
        found[f"{called}_{label}"]
        for called in ("true", "false")
        for label in ("positives", "negatives")
    ) == len(held_out)
    assert found["roc_auc"] > 0.6
    by_position = told["recall_by_position"]
    assert sum(item["frauds"] for item in by_position.values()) == frauds
    assert sum(item["found"] for item in by_position.values()) == found["true_positives"]
    burst, quiet = (check["probability"] for check in told["hand_checks"])
    assert 0 < quiet < burst < 1
    # Once more: the same training set gives the same model.
    again = training.train(prepared.project, training.prepare(prepared.project))
    assert not again.trained.training_set.built
    assert again.trained.tracked.sha256 == judged.trained.tracked.sha256
