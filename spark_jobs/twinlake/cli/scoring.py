"""The verb that scores a stream: score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context, with_options
from twinlake.cli.streams import (
    StreamOptions,
    run,
    stream_options,
    streamed_document,
    streamed_text,
)
from twinlake.definitions.times import parse_duration_us
from twinlake.errors import InputError

_CONTRACTS = ("invocations-json", "invocations-csv", "predict-fare", "twinlake-predict")


def score_options(command: Any) -> Any:  # noqa: ANN401 (click's decorators are untyped functions)
    """Add the options of what scores, beside those of what streams."""
    options = (
        click.option("--topic", help="Also send predictions to this topic."),
        click.option("--endpoint", metavar="URL", help="Ask a model that answers over HTTP."),
        click.option(
            "--contract",
            type=click.Choice(_CONTRACTS),
            help="How the endpoint is asked.  [default: by its address]",
        ),
        click.option(
            "--timeout", default="30s", show_default=True, help="Of an event, all tries together."
        ),
        click.option(
            "--capacity",
            type=click.IntRange(1),
            default=20,
            show_default=True,
            help="Calls under way at once, per task.",
        ),
        click.option("--ordered/--unordered", default=False, help="Take answers in order, or not."),
        click.option("--budget", metavar="DURATION", help="The time for all calls of a batch."),
        click.option("--rows-per-call", type=click.IntRange(1), default=1, show_default=True),
        click.option(
            "--tasks",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Tasks of Spark that ask.",
        ),
        click.option("--api-key-variable", metavar="NAME", help="The variable that holds a key."),
        click.option(
            "--api-key-file",
            type=click.Path(path_type=Path),
            help="Or the file that does, which only its owner may read.",
        ),
        click.option("--api-key-header", default="x-api-key", show_default=True),
        click.option("--sigv4-region", help="Sign requests for this region of AWS ..."),
        click.option("--sigv4-service", help="... and this service, such as sagemaker."),
    )
    return stream_options(with_options(command, options))


@click.command()
@click.argument("model")
@score_options
@json_option
@pass_context
def score(context: Context, /, model: str, **options: Any) -> None:  # noqa: ANN401
    """Stream, and score each event with MODEL, with windows that contain the event.

    Lands what arrives and keeps the views with publish="stream" fresh, as `stream` does;
    predictions go to a Delta table. With --endpoint the model answers over HTTP: each event ends
    with one prediction, or with the reason why there is none.
    """
    with context.open() as project:
        project.model(model)
        done = score_stream(context, project, model, options)
    context.answer(streamed_text(done), streamed_document(done))


def score_stream(
    context: Context,
    project: Any,  # noqa: ANN401 (imported when used)
    model: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Score until a signal comes; shared with the script."""
    of_stream = {name: options.pop(name) for name in StreamOptions.__dataclass_fields__}
    topic, tasks = options.pop("topic"), options.pop("tasks")
    endpoint = _endpoint(**options)
    from twinlake.flows.stream_scoring import Scoring

    scoring = {model: Scoring(topic, endpoint, tasks)}
    return run(context, project, (), scoring, StreamOptions(**of_stream))


def _endpoint(
    *,
    endpoint: str | None,
    contract: str | None,
    timeout: str,
    budget: str | None,
    **told: Any,  # noqa: ANN401 (attributes of an endpoint)
) -> Any:  # noqa: ANN401 (imported when used)
    if endpoint is None:
        return None
    from twinlake.inference.endpoint import Endpoint

    return Endpoint(
        endpoint,
        contract or _contract_of(endpoint),
        timeout_s=_seconds("--timeout", timeout),
        budget_s=None if budget is None else _seconds("--budget", budget),
        **told,
    )


def _contract_of(address: str) -> str:
    """Tell by an address how it is asked."""
    path = address.partition("?")[0].rstrip("/")
    if path.endswith("/predictFare"):
        return "predict-fare"
    return "twinlake-predict" if "/v1/predict/" in path else "invocations-json"


def _seconds(option: str, duration: str) -> float:
    try:
        return parse_duration_us(duration) / 1_000_000
    except ValueError as error:
        raise InputError(f"{option}: {error}", hint="write it as 30s or 500ms") from error


COMMANDS = (score,)
