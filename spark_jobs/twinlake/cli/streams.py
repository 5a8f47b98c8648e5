"""The verbs that work on streams."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context, with_options
from twinlake.cli.layout import table
from twinlake.definitions.times import parse_duration_us
from twinlake.errors import InputError


def stream_options(command: Any) -> Any:  # noqa: ANN401 (click's decorators are untyped functions)
    """Add the options of what streams."""
    options = (
        click.option("--once", is_flag=True, help="Take what is there, and end."),
        click.option("--supervise", is_flag=True, help="Begin again after failures, ever later."),
        click.option(
            "--metrics-port",
            type=click.IntRange(0, 65_535),
            help="Serve metrics for Prometheus on 127.0.0.1; 0 for any free port.",
        ),
        click.option(
            "--max-records", type=click.IntRange(1), help="Most records in a batch of a topic."
        ),
        click.option(
            "--max-files",
            type=click.IntRange(1),
            help="Most files in a batch of a folder or table.",
        ),
        click.option(
            "--validate-every",
            metavar="DURATION",
            help="Have Great Expectations look at what was landed this often, such as 1h.",
        ),
        click.option(
            "--check-every",
            metavar="DURATION",
            help="Recompute some served keys from their events this often, such as 1m.",
        ),
    )
    return with_options(command, options)


@click.command()
@click.argument("views", nargs=-1)
@stream_options
@json_option
@pass_context
def stream(context: Context, /, views: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """Land what arrives and keep VIEWS fresh, offline and online, until told to stop.

    Without names: the views with publish="stream". Ctrl-C or SIGTERM ends it after the batch at
    hand; the next start goes on where it ended.
    """
    with context.open() as project:
        for view in views:  # a wrong name is told before anything heavy is loaded
            project.view(view)
        done = run(context, project, views, {}, StreamOptions(**options))
    context.answer(streamed_text(done), streamed_document(done))


@dataclass(frozen=True)
class StreamOptions:
    """What the options of what streams said; see ``stream_options``."""

    once: bool
    supervise: bool
    metrics_port: int | None
    max_records: int | None
    max_files: int | None
    validate_every: str | None
    check_every: str | None


def run(
    context: Context,
    project: Any,  # noqa: ANN401 (imported when used)
    views: tuple[str, ...],
    models: Mapping[str, Any],
    options: StreamOptions,
) -> dict[str, Any]:
    """Stream until a signal comes; shared with the scripts."""
    import signal
    import threading

    from twinlake.flows import streaming
    from twinlake.lake.streams import Limits

    watch = streaming.Watch(
        _seconds("--validate-every", options.validate_every),
        _seconds("--check-every", options.check_every),
    )
    asked: dict[str, Any] = {"records": options.max_records, "files": options.max_files}
    limits = Limits(**{name: most for name, most in asked.items() if most is not None})
    stopped = threading.Event()
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = {kind: signal.signal(kind, lambda *_: stopped.set()) for kind in kinds}
    ends = ExitStack()
    told = _teller(context, options.metrics_port, ends)
    how = streaming.supervised if options.supervise else streaming.stream
    try:
        return how(
            project,
            views,
            once=options.once,
            limits=limits,
            stopped=stopped,
            after_batch=told,
            models=models,
            watch=watch,
        )
    finally:
        ends.close()
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _teller(
    context: Context, metrics_port: int | None, ends: ExitStack
) -> Callable[[str, Any], None]:
    """Make what tells of a batch: to Prometheus, to a terminal, or line by line."""
    metrics = None
    if metrics_port is not None:
        from twinlake.flows.stream_metrics import StreamMetrics

        metrics = StreamMetrics()
        context.tell(f"metrics: http://127.0.0.1:{metrics.serve(metrics_port)}/metrics")
    live = None
    if sys.stderr.isatty():
        from twinlake.cli.live_view import LiveView

        live = LiveView()
        ends.enter_context(live.screen)

    from twinlake.clock import now_us
    from twinlake.registry.places import Places

    places, began_us = Places(context.settings().state), now_us()

    def told(name: str, progress: Any) -> None:  # noqa: ANN401 (imported when used)
        _remember(places.stream_note(name), began_us, progress)
        if metrics is not None:
            metrics.note(name, progress)
        if live is not None:
            live.note(name, progress)
        else:
            context.tell(batch_text(name, progress))

    return told


def _remember(file: Path, began_us: int, progress: Any) -> None:  # noqa: ANN401 (imported when used)
    """Keep what a stream did so far, for whoever looks; it goes on without."""
    from twinlake.clock import now_us
    from twinlake.registry import notes

    document = asdict(progress) | {"began_us": began_us, "at_us": now_us()}
    del document["readable_us"]
    with suppress(OSError):
        notes.write(file, json.dumps(document))


def _seconds(option: str, duration: str | None) -> float | None:
    if duration is None:
        return None
    try:
        return parse_duration_us(duration) / 1_000_000
    except ValueError as error:
        raise InputError(f"{option}: {error}", hint="write it as 15m or 1h") from error


def batch_text(source: str, progress: Any) -> str:  # noqa: ANN401 (imported when used)
    """Say in one line how a stream is doing."""
    told = ("duplicate", "quarantined", "erased", "late")
    counts = [(name, getattr(progress, name)) for name in told]
    parts = [f"{source}: {progress.accepted:,} accepted in {progress.batches:,} batches"]
    parts += [f"{count:,} {name}" for name, count in counts if count]
    spent = " ".join(f"{part} {seconds:.2f}" for part, seconds in progress.batch_s.items())
    return f"{', '.join(parts)} (s: {spent})"


def streamed_document(done: Mapping[str, Any]) -> dict[str, Any]:
    """Write down what streams did, for people and programs alike."""
    documents = {name: asdict(progress) for name, progress in done.items()}
    for document in documents.values():
        for name in ("readable_us", "batch_s", "freshness_s"):  # of single batches
            del document[name]
    return {"sources": documents}


def streamed_text(done: Mapping[str, Any]) -> str:
    """Lay out what streams did."""
    heads = ("source", "batches", "read", "accepted", "duplicate", "quarantined", "erased")
    rows = [(name, *(getattr(one, head) for head in heads[1:])) for name, one in done.items()]
    parts = [table(heads, rows)]
    views = [
        (name, count, one.online_rows[name])
        for one in done.values()
        for name, count in one.feature_rows.items()
    ]
    if views:
        parts.append(table(("view", "feature rows", "online rows"), views))
    scored = [
        (name, counts.predictions, counts.positive, counts.unscored)
        for one in done.values()
        for name, counts in one.scored.items()
    ]
    if scored:
        parts.append(table(("model", "predictions", "positive", "unscored"), scored))
    return "\n\n".join(parts)


@click.command()
@click.argument("source")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@pass_context
def push(context: Context, source: str, file: Path) -> None:
    """Land the rows of FILE in SOURCE: Parquet, or JSON with an object per line.

    Rows that were landed before count as duplicates. A stream that lands SOURCE does it between two
    batches; without one this command does it, and publishes the views with publish="stream".
    """
    with context.open() as project:
        applied = project.applied().definitions.sources
        if source not in applied:
            raise InputError.unknown("source", source, applied)
        from twinlake.flows import pushing

        done = dict(pushing.push(project, source, pushing.rows_of(file, applied[source])))
    context.answer(_counted(source, done), {"source": source, **done})


@click.group()
def quarantine() -> None:
    """Look at rows that did not pass the gate, and let them try again."""


@quarantine.command("list")
@click.argument("source")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@json_option
@pass_context
def list_(context: Context, source: str, limit: int) -> None:
    """List the quarantined rows of SOURCE that wait, newest first, with their reasons."""
    with context.open() as project:
        from twinlake.flows import pushing

        rows, count = pushing.list_quarantined(project, source, limit)
    heads = ("row", "place", "reasons", "record")
    shown = [(r["row"], _place(r), "; ".join(r["reasons"]), (r["record"] or "")[:60]) for r in rows]
    text = f"{count:,} rows wait in the quarantine of {source}"
    context.answer(
        f"{table(heads, shown)}\n\n{text}" if rows else text,
        {"source": source, "waiting": count, "rows": rows},
    )


def _place(row: dict[str, Any]) -> str:
    origin = str(row["origin"]).rsplit("/", 1)[-1]
    partition = "" if row["partition"] is None else f" {row['partition']}"
    return f"{origin}{partition} @{row['offset']}"


@quarantine.command()
@click.argument("source")
@json_option
@pass_context
def replay(context: Context, source: str) -> None:
    """Land the quarantined rows of SOURCE that pass its gate by now.

    After features.py was mended and applied: each becomes a new row that names the old one.
    """
    with context.open() as project:
        from twinlake.flows import pushing

        done = dict(pushing.replay(project, source))
    text = f"{_counted(source, done)}\n{done['refused']:,} rows are still refused"
    context.answer(text, {"source": source, **done})


def _counted(source: str, done: dict[str, Any]) -> str:
    heads = ("source", "read", "accepted", "duplicate", "quarantined", "erased")
    return table(heads, [(source, *(done[head] for head in heads[1:]))])


COMMANDS = (stream, push, quarantine)
