"""The verb that watches models: monitor."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context, with_options
from twinlake.cli.layout import table
from twinlake.definitions.times import parse_duration_us
from twinlake.errors import InputError


def monitor_options(command: Any) -> Any:  # noqa: ANN401 (click's decorators are untyped functions)
    """Add the options of what watches."""
    options = (
        click.option("--once", is_flag=True, help="Take what is there, and end."),
        click.option(
            "--every",
            metavar="DURATION",
            default="10s",
            show_default=True,
            help="How often to look.",
        ),
        click.option(
            "--metrics-port",
            type=click.IntRange(0, 65_535),
            help="Serve metrics for Prometheus on 127.0.0.1; 0 for any free port.",
        ),
    )
    return with_options(command, options)


@click.command()
@click.argument("model")
@monitor_options
@json_option
@pass_context
def monitor(context: Context, /, model: str, **options: Any) -> None:  # noqa: ANN401
    """Watch the predictions of MODEL: windows of quality, figures, alerts.

    Reads what `score` wrote, until told to stop; the next start goes on where it ended.
    """
    with context.open() as project:
        project.model(model)
        seen = run(context, project, model, **options)
    context.answer(watch_text(seen), watch_document(seen))


def run(
    context: Context,
    project: Any,  # noqa: ANN401 (imported when used)
    model: str,
    *,
    once: bool,
    every: str,
    metrics_port: int | None,
) -> Any:  # noqa: ANN401 (imported when used)
    """Watch until a signal comes; shared with the script."""
    try:
        every_s = parse_duration_us(every) / 1_000_000
    except ValueError as error:
        raise InputError(f"--every: {error}", hint="write it as 10s or 1m") from error
    from twinlake.flows import monitoring

    stopped, after, ends = threading.Event(), None, ExitStack()
    if metrics_port is not None:
        from twinlake.flows.quality_metrics import QualityMetrics

        metrics = QualityMetrics()
        after = metrics.note
        context.tell(f"metrics: http://127.0.0.1:{metrics.serve(metrics_port)}/metrics")
    for kind in (signal.SIGTERM, signal.SIGINT):
        ends.callback(signal.signal, kind, signal.signal(kind, lambda *_: stopped.set()))
    with ends:
        return monitoring.monitor(
            project, model, every_s=every_s, once=once, stopped=stopped, after_look=after
        )


def watch_document(seen: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down what was seen of a model."""
    return {
        "model": seen.model,
        "predictions": seen.predictions,
        "windows": seen.windows,
        "counted": seen.counted,
        "open": seen.open,
        "late": seen.late,
        "raised": seen.raised,
        "alerts": {"raised": seen.events["raised"], "cleared": seen.events["cleared"]},
        "waiting": seen.waiting,
        "totals": [
            {"label": label, "predicted": predicted, "records": count}
            for (label, predicted), count in seen.totals.items()
        ],
        "newest": {
            "model_version": seen.newest_version,
            "figures": {f"{one.metric} {one.of}".strip(): one.value for one in seen.newest},
        },
    }


def watch_text(seen: Any) -> str:  # noqa: ANN401 (imported when used)
    """Lay out what was seen of a model."""
    told = ("predictions", "windows", "counted", "open", "late")
    counts = table(("model", *told), [(seen.model, *(f"{getattr(seen, n):,}" for n in told))])
    parts = [counts]
    if seen.totals:
        rows = [
            (label or "", said or "", "" if None in {label, said} else label == said, f"{count:,}")
            for (label, said), count in sorted(seen.totals.items(), key=str)
        ]
        parts.append(table(("label", "predicted", "correct", "records"), rows))
    if seen.newest:
        figures = [
            (one.metric, one.of, f"{one.value:.4g}", f"{one.records:,}") for one in seen.newest
        ]
        head = f"newest final window, version {seen.newest_version}"
        parts.append(f"{head}\n{table(('figure', 'of', 'value', 'records'), figures)}")
    parts.append(
        f"alerts raised now: {', '.join(seen.raised) or 'none'}; "
        f"raised {seen.events['raised']} times, cleared {seen.events['cleared']} times, "
        f"{seen.waiting} wait"
    )
    return "\n\n".join(parts)


COMMANDS = (monitor,)
