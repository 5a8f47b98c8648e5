"""Land what arrives and keep feature views fresh, offline and online.

    python spark_jobs/stream_features.py -C PROJECT [VIEW...] [--once] [--supervise]
    spark-submit --jars JARS spark_jobs/stream_features.py -C PROJECT --supervise

The same as ``twinlake stream``; standard output ends with one JSON object of what was done.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from twinlake.cli.context import Context, pass_context
from twinlake.cli.main import report
from twinlake.cli.scripts import Script, open_project
from twinlake.cli.streams import StreamOptions, run, stream_options, streamed_document


@click.command(cls=Script)
@click.argument("views", nargs=-1)
@stream_options
@pass_context
def stream(context: Context, /, views: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """Stream VIEWS (by default those with publish="stream") until told to stop."""
    with open_project(context) as project:
        done = run(context, project, views, {}, StreamOptions(**options))
    context.answer("", streamed_document(done))


if __name__ == "__main__":
    sys.exit(report(stream, as_json=True))
