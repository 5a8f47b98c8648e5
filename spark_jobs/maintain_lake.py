"""Compare online rows with their events and repair them; OPTIMIZE, VACUUM, drop old tables.

    python spark_jobs/maintain_lake.py -C PROJECT [VIEW...] --repair --optimize --vacuum 7
    spark-submit --jars DELTA_JARS spark_jobs/maintain_lake.py -C PROJECT --repair

The same as ``twinlake maintain``; standard output ends with one JSON object of what was done, and
the exit code is 1 if an online row differs that was not repaired.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from twinlake.cli.context import Context, pass_context
from twinlake.cli.main import report
from twinlake.cli.maintenance import maintain_options, maintained_document, run
from twinlake.cli.scripts import Script, open_project


@click.command(cls=Script)
@click.argument("views", nargs=-1)
@maintain_options
@pass_context
def maintain(context: Context, /, views: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401
    """Maintain VIEWS (all by default), their sources and what is kept of them."""
    with open_project(context) as project:
        done = run(project, views, **options)
    context.answer("", maintained_document(done))
    return 0 if done.is_clean else 1


if __name__ == "__main__":
    sys.exit(report(maintain, as_json=True))
