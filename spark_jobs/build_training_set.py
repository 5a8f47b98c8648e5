"""Join a spine to a feature service, point in time, into a Delta table with a receipt.

    python spark_jobs/build_training_set.py -C PROJECT SERVICE --spine FILE [--out FILE.parquet]
    spark-submit --jars DELTA_JARS spark_jobs/build_training_set.py -C PROJECT SERVICE --spine FILE

The same as ``twinlake training-set build``; standard output ends with one JSON object: rows, what
became of every feature, and the receipt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from twinlake.cli.context import Context, pass_context
from twinlake.cli.main import report
from twinlake.cli.scripts import Script, open_project
from twinlake.cli.training_sets import training_set_document
from twinlake.flows import training_sets


@click.command(cls=Script)
@click.argument("service")
@click.option(
    "--spine",
    required=True,
    type=click.Path(path_type=Path),
    help="Join keys, event_timestamp, labels: Parquet, CSV or a Delta table.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write one Parquet file.")
@pass_context
def build(context: Context, service: str, spine: Path, out: Path | None) -> None:
    """Build a training set of SERVICE."""
    with open_project(context) as project:
        built = training_sets.build(project, service, spine)
        if out is not None:
            training_sets.write_out(project, built, out)
    context.answer("", training_set_document(built) | {"out": None if out is None else str(out)})


if __name__ == "__main__":
    sys.exit(report(build, as_json=True))
