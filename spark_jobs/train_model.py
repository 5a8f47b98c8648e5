"""Train a model on a training set, hold the last part of time out, log everything in MLflow.

    python spark_jobs/train_model.py -C PROJECT MODEL [--spine FILE]
    spark-submit --jars DELTA_JARS spark_jobs/train_model.py -C PROJECT MODEL

The same as ``twinlake train``; standard output ends with one JSON object: the model's version, and
its errors beside those of the naive forecasts, or how well it tells positives from negatives.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from twinlake.cli.context import Context, pass_context
from twinlake.cli.jobs import trained_document
from twinlake.cli.main import report
from twinlake.cli.scripts import Script, open_project
from twinlake.flows.feature_store import FeatureStore


@click.command(cls=Script)
@click.argument("model")
@click.option(
    "--spine",
    type=click.Path(path_type=Path),
    help="Build the training set from this spine; the newest one is taken without it.",
)
@pass_context
def train(context: Context, model: str, spine: Path | None) -> None:
    """Train MODEL."""
    with open_project(context) as project:
        trained = FeatureStore(project).train(model, spine)
    context.answer("", trained_document(trained))


if __name__ == "__main__":
    sys.exit(report(train, as_json=True))
