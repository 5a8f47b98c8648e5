"""Land new rows, compute feature views into Delta and publish them online.

    python spark_jobs/materialize_features.py -C PROJECT [VIEW...] [--start T] [--end T]
    spark-submit --jars DELTA_JARS spark_jobs/materialize_features.py -C PROJECT --incremental

The same as ``twinlake materialize``; standard output ends with one JSON object of what was done.
"""

from __future__ import annotations

import sys

import click

from twinlake.cli.context import Context, pass_context
from twinlake.cli.jobs import materialized_document
from twinlake.cli.main import report
from twinlake.cli.scripts import Script, open_project
from twinlake.definitions.times import parse_instant_us
from twinlake.flows import materializing


@click.command(cls=Script)
@click.argument("views", nargs=-1)
@click.option("--start", metavar="T", help="Compute event times after this.")
@click.option("--end", metavar="T", help="Compute event times up to and with this.")
@click.option("--incremental", is_flag=True, help="Start where each view was last computed to.")
@click.option("--validate", is_flag=True, help="Write data docs of all sources.")
@pass_context
def materialize(
    context: Context,
    views: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    incremental: bool,
    validate: bool,
) -> None:
    """Compute VIEWS (all by default) and publish them online."""
    if incremental and start is not None:
        raise click.UsageError("--incremental knows where to start; leave --start out")
    with open_project(context) as project:
        done = materializing.materialize(
            project,
            views,
            start_us=None if start is None else parse_instant_us(start),
            end_us=None if end is None else parse_instant_us(end),
            incremental=incremental,
            validate=validate,
        )
        state = project.settings.state
    context.answer("", materialized_document(done, state))


if __name__ == "__main__":
    sys.exit(report(materialize, as_json=True))
