"""The verb that watches models: monitor."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from dataclasses import asdict
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
        after = metrics.look
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
        **asdict(seen.sums),
        "windows": seen.windows,
        "final": seen.final,
        "open": seen.open,
        "raised": list(seen.raised),
        "alerts": {"raised": seen.events["raised"], "cleared": seen.events["cleared"]},
        "alerts_waiting": dict(seen.waiting),
        "totals": list(seen.totals),
        "newest": {} if seen.newest is None else _newest(seen.newest),
    }


def _newest(metrics: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Give the figures of the newest window and version that some were given of."""
    rows = metrics.to_pylist()
    last = max((row["window_start"], row["model_version"] or 0) for row in rows)
    chosen = [row for row in rows if (row["window_start"], row["model_version"] or 0) == last]
    return {
        "window_start": last[0].isoformat(),
        "model_version": last[1],
        "figures": {" of ".join(filter(None, (r["metric"], r["of"]))): r["value"] for r in chosen},
    }


def watch_text(seen: Any) -> str:  # noqa: ANN401 (imported when used)
    """Lay out what was seen of a model."""
    document = watch_document(seen)
    told = ("predictions", "final", "open", "late", "waiting", "unlabelled", "unscored", "windows")
    parts = [table(("model", *told), [(seen.model, *(f"{document[n]:,}" for n in told))])]
    if seen.totals:
        rows = [
            (row["label"], row["predicted"], row["correct"], f"{row['records']:,}")
            for row in seen.totals
        ]
        parts.append(table(("label", "predicted", "correct", "records"), rows))
    if newest := document["newest"]:
        figures = [(name, f"{value:.4g}") for name, value in newest["figures"].items()]
        head = f"window of {newest['window_start']}, version {newest['model_version']}"
        parts.append(f"{head}\n{table(('figure', 'value'), figures)}")
    alerts, waiting = document["alerts"], sum(document["alerts_waiting"].values())
    parts.append(
        f"alerts on: {', '.join(seen.raised) or 'none'}; raised {alerts['raised']} times, over "
        f"{alerts['cleared']} times, {waiting} wait to be told"
    )
    return "\n\n".join(parts)


COMMANDS = (monitor,)
