"""Stream, and score each event with a model, with windows that contain the event.

    python spark_jobs/score_stream.py -C PROJECT MODEL [--topic TOPIC] [--endpoint URL] [--once]
    spark-submit --jars JARS spark_jobs/score_stream.py -C PROJECT MODEL --supervise

The same as ``twinlake score``; standard output ends with one JSON object of what was done.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from twinlake.cli.context import Context, pass_context
from twinlake.cli.main import report
from twinlake.cli.scoring import score_options, score_stream
from twinlake.cli.scripts import Script, open_project
from twinlake.cli.streams import streamed_document


@click.command(cls=Script)
@click.argument("model")
@score_options
@pass_context
def score(context: Context, /, model: str, **options: Any) -> None:  # noqa: ANN401
    """Score events with MODEL until told to stop."""
    with open_project(context) as project:
        done = score_stream(context, project, model, options)
    context.answer("", streamed_document(done))


if __name__ == "__main__":
    sys.exit(report(score, as_json=True))
