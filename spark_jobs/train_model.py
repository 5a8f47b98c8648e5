"""Train a model on a training set, hold the last part of time out, log everything in MLflow.

    python spark_jobs/train_model.py -C PROJECT MODEL [--spine FILE] [--leaderboard]
    spark-submit --jars DELTA_JARS spark_jobs/train_model.py -C PROJECT MODEL

The same as ``twinlake train``; standard output ends with one JSON object: the model's version, and
its errors beside those of the naive forecasts, or how well it tells positives from negatives; with
``--leaderboard``, those of all candidates.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from twinlake.cli.context import Context, pass_context
from twinlake.cli.main import report
from twinlake.cli.scripts import Script, open_project
from twinlake.cli.training import (
    leaderboard_document,
    leaderboard_option,
    spine_option,
    trained_document,
)
from twinlake.flows.feature_store import FeatureStore


@click.command(cls=Script)
@click.argument("model")
@spine_option
@leaderboard_option
@pass_context
def train(context: Context, model: str, spine: Path | None, *, leaderboard: bool) -> None:
    """Train MODEL."""
    with open_project(context) as project:
        store = FeatureStore(project)
        if leaderboard:
            document = leaderboard_document(store.leaderboard(model, spine))
        else:
            document = trained_document(store.train(model, spine))
    context.answer("", document)


if __name__ == "__main__":
    sys.exit(report(train, as_json=True))
