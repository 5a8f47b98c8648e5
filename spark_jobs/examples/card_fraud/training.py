"""Train the fraud model on the generator's transactions, and tell what it is worth.

    python -m examples.card_fraud.training TRANSACTIONS [--state DIR] [--env ENV]

Applies the example, lands and computes, builds the training set, trains, and prints one JSON object
of figures: the holdout's metrics, recall by position in the fraud chain, and the hand checks of the
original. The first transaction of a chain is an ordinary one, with nothing before it that could
give it away, so its recall is next to nothing whatever the model.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import pyarrow as pa

from examples.card_fraud.chains import positions
from examples.card_fraud.spine import write_spine
from examples.stages import Stages
from twinlake.cli.main import report
from twinlake.cli.training import trained_document
from twinlake.clock import now_us
from twinlake.flows import applying, materializing, modelling, training_sets
from twinlake.flows.modelling import Trained
from twinlake.flows.project import Project
from twinlake.flows.training_sets import TrainingSet
from twinlake.lake import training_tables
from twinlake.lake.point_in_time import EVENT_TIMESTAMP
from twinlake.models.scorer import Scorer
from twinlake.models.split import microseconds
from twinlake.settings import load_settings

SOURCE: Final = "transactions"
MODEL: Final = "card_fraud"
PROJECT: Final = Path(__file__).parent
# What the original asks of its endpoint: a tiny amount, means as usual, and two shares of the
# week's transactions in the last ten minutes.
HAND_CHECKS: Final = (
    {"transaction_amount": 1.0, "amt_ratio1": 1.0, "amt_ratio2": 1.0, "count_ratio": 0.30},
    {"transaction_amount": 1.0, "amt_ratio1": 1.0, "amt_ratio2": 1.0, "count_ratio": 0.06},
)


@dataclass(frozen=True)
class Judged:
    """A trained fraud model, and how it does beyond its metrics.

    Attributes:
        trained: The model.
        recall_by_position: Per position in a fraud chain, from 1 on: frauds of the holdout there,
            and how many of them were called fraud.
        hand_checks: The original's vectors, each with the ``probability`` that the model gives.
    """

    trained: Trained
    recall_by_position: Mapping[int, tuple[int, int]]
    hand_checks: list[dict[str, float]]

    def document(self) -> dict[str, Any]:
        """Write it down, for people and programs alike."""
        return {
            **trained_document(self.trained),
            "recall_by_position": {
                str(position): {"frauds": frauds, "found": found, "recall": found / frauds}
                for position, (frauds, found) in self.recall_by_position.items()
            },
            "hand_checks": self.hand_checks,
        }


def prepare(project: Project) -> TrainingSet:
    """Apply, materialize, and build the training set of all transactions in the files."""
    applying.apply(project)
    materializing.materialize(project)
    files = project.input_files(project.definitions.sources[SOURCE])
    spine = project.settings.state / "spine.parquet"
    rows = write_spine([Path(file.path) for file in files], spine)
    project.tell(f"spine of {rows:,} transactions: {spine}")
    return training_sets.build(project, project.model(MODEL).service.name, spine)


def train(project: Project, training_set: TrainingSet) -> Judged:
    """Train the model and judge it."""
    trained = modelling.train_model(project, MODEL, training_set)
    recipe = modelling.recipe_of(trained.model)
    rows = training_tables.read_arrow(
        project.spark,
        training_set.path,
        training_set.version,
        [*dict.fromkeys(["cc_num", EVENT_TIMESTAMP, recipe.label, *recipe.features])],
    )
    judged = _recall_by_position(rows, trained)
    return Judged(trained, judged, hand_checks(trained.result.scorer))


def _recall_by_position(rows: pa.Table, trained: Trained) -> dict[int, tuple[int, int]]:
    """Count the holdout's frauds by position, and those called fraud."""
    cut = trained.result.cut
    if cut is None:
        return {}
    times_us = microseconds(rows[EVENT_TIMESTAMP], EVENT_TIMESTAMP)
    # Over all rows: a chain may have begun before the holdout.
    where = positions(
        rows["cc_num"].to_numpy(), times_us, rows[trained.model.label].to_numpy().astype(np.int64)
    )
    asked = np.flatnonzero((where > 0) & (times_us >= cut.timestamp() * 1_000_000))
    vectors = rows.take(pa.array(asked))
    given = trained.result.scorer.predict(vectors, threads=os.cpu_count() or 1)
    is_called = given > (trained.model.threshold or 0.0)
    return {
        int(position): (
            int(np.count_nonzero(where[asked] == position)),
            int(np.count_nonzero(is_called & (where[asked] == position))),
        )
        for position in np.unique(where[asked])
    }


def hand_checks(scorer: Scorer) -> list[dict[str, float]]:
    """Ask the model what the original asks its endpoint."""
    vectors = pa.table({name: [check[name] for check in HAND_CHECKS] for name in scorer.features})
    given = scorer.predict(vectors)
    return [
        {**check, "probability": float(probability)}
        for check, probability in zip(HAND_CHECKS, given, strict=True)
    ]


def tell(project: Project, judged: Judged) -> None:
    """Tell a person what came out, the hand checks in the words of the original."""
    found = judged.trained.result.classification
    if found is None:
        return
    project.tell(
        f"holdout: ROC AUC {found.roc_auc:.3f}, average precision {found.average_precision:.3f}; "
        f"above {found.threshold}: precision {found.precision:.3f}, recall {found.recall:.3f} "
        f"(TP {found.true_positives}, FP {found.false_positives}, FN {found.false_negatives})"
    )
    project.tell(
        "recall by position in the chain: "
        + ", ".join(
            f"{position}: {found / frauds:.2f}"
            for position, (frauds, found) in judged.recall_by_position.items()
        )
    )
    for check in judged.hand_checks:
        project.tell(
            f"With transaction count ratio of: {check['count_ratio']:.2f}, "
            f"fraud score: {check['probability']:.3f}"
        )


def run(project: Project) -> dict[str, Any]:
    """Do it all, and give the figures."""
    stage = Stages(project)
    stage("start", lambda: project.spark)
    training_set = stage("prepare", lambda: prepare(project))
    judged = stage("train", lambda: train(project, training_set))
    tell(project, judged)
    return {"rows": training_set.receipt.rows, **judged.document(), "seconds": stage.seconds}


@click.command()
@click.argument("transactions", type=click.Path(path_type=Path))
@click.option("--env", default="local", show_default=True)
@click.option("--state", type=click.Path(path_type=Path), help="Where all that is made is kept.")
def main(transactions: Path, env: str, state: Path | None) -> None:
    """Train on TRANSACTIONS, a folder or file of the generator's."""
    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"[{time.monotonic() - began:6.1f} s] {text}", err=True)

    settings = load_settings(PROJECT, env, state, environ=os.environ)
    with Project(
        settings, environ=os.environ, now_us=now_us, tell=say, sources={SOURCE: transactions}
    ) as project:
        click.echo(json.dumps(run(project), default=str))


if __name__ == "__main__":
    sys.exit(report(main, as_json=False))
