"""The verbs that work on streams."""

from __future__ import annotations

from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import table


@click.command()
@click.argument("views", nargs=-1)
@click.option("--once", is_flag=True, help="Take what is there, and end.")
@click.option("--max-records", type=click.IntRange(1), help="Most records in a batch of a topic.")
@click.option("--max-files", type=click.IntRange(1), help="Most files in a batch of a folder.")
@json_option
@pass_context
def stream(
    context: Context,
    views: tuple[str, ...],
    max_records: int | None,
    max_files: int | None,
    *,
    once: bool,
) -> None:
    """Land what arrives and keep VIEWS fresh, offline and online, until told to stop.

    Without names: the views with publish="stream". Ctrl-C or SIGTERM ends it after the batch at
    hand; the next start goes on where it ended.
    """
    with context.open() as project:
        for view in views:  # a wrong name is told before anything heavy is loaded
            project.view(view)
        done = run(context, project, views, once=once, records=max_records, files=max_files)
    document = {"sources": {name: progress_document(one) for name, one in done.items()}}
    heads = ("source", "batches", "read", "accepted", "duplicate", "quarantined")
    rows = [
        (name, one.batches, one.read, one.accepted, one.duplicate, one.quarantined)
        for name, one in done.items()
    ]
    views_heads = ("view", "feature rows", "online rows")
    view_rows = [
        (name, count, one.online_rows[name])
        for one in done.values()
        for name, count in one.feature_rows.items()
    ]
    context.answer(f"{table(heads, rows)}\n\n{table(views_heads, view_rows)}", document)


def run(
    context: Context,
    project: Any,  # noqa: ANN401 (imported when used)
    views: tuple[str, ...],
    *,
    once: bool,
    records: int | None,
    files: int | None,
) -> dict[str, Any]:
    """Stream until a signal comes; shared with the script."""
    import signal
    import threading
    from dataclasses import replace

    from twinlake.flows import streaming
    from twinlake.lake.streams import Limits

    limits = Limits()
    if records is not None:
        limits = replace(limits, records=records)
    if files is not None:
        limits = replace(limits, files=files)
    stopped = threading.Event()
    before = {
        kind: signal.signal(kind, lambda *_: stopped.set())
        for kind in (signal.SIGTERM, signal.SIGINT)
    }

    def told(name: str, progress: Any) -> None:  # noqa: ANN401
        context.tell(f"{name}: {progress.accepted:,} accepted in {progress.batches:,} batches")

    try:
        return streaming.stream(
            project, views, once=once, limits=limits, stopped=stopped, after_batch=told
        )
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def progress_document(progress: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down what a stream did, for people and programs alike."""
    from dataclasses import asdict

    return asdict(progress)


COMMANDS = (stream,)
