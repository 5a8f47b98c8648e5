"""Watch a model's predictions: windows of quality, figures, alerts.

    python spark_jobs/monitor_models.py -C PROJECT MODEL [--every 10s] [--once]
    spark-submit --jars JARS spark_jobs/monitor_models.py -C PROJECT MODEL

The same as ``twinlake monitor``; standard output ends with one JSON object of what was seen.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from twinlake.cli.context import Context, pass_context
from twinlake.cli.main import report
from twinlake.cli.monitoring import monitor_options, run, watch_document
from twinlake.cli.scripts import Script, open_project


@click.command(cls=Script)
@click.argument("model")
@monitor_options
@pass_context
def monitor(context: Context, /, model: str, **options: Any) -> None:  # noqa: ANN401
    """Watch MODEL until told to stop."""
    with open_project(context) as project:
        seen = run(context, project, model, **options)
    context.answer("", watch_document(seen))


if __name__ == "__main__":
    sys.exit(report(monitor, as_json=True))
