"""The verbs that compute and publish: materialize, materialize-incremental, backfill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import table

validate_option = click.option(
    "--validate",
    is_flag=True,
    help="Write data docs also where no expectation is on batches.",
)


@click.command()
@click.argument("views", nargs=-1)
@click.option("--start", metavar="T", help="Compute event times after this.")
@click.option("--end", metavar="T", help="Compute event times up to and with this.")
@validate_option
@json_option
@pass_context
def materialize(
    context: Context,
    views: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    validate: bool,
) -> None:
    """Land new rows, compute views, publish them.

    VIEWS are all by default. Features go into Delta and, newest rows, online.
    """
    _materialize(context, views, start, end, incremental=False, validate=validate)


@click.command()
@click.argument("views", nargs=-1, required=True)
@click.option("--start", metavar="T", required=True, help="Compute event times after this.")
@click.option("--end", metavar="T", required=True, help="Compute up to and with this.")
@validate_option
@json_option
@pass_context
def backfill(
    context: Context, views: tuple[str, ...], start: str, end: str, *, validate: bool
) -> None:
    """Compute VIEWS for a past interval, also beside a running stream.

    Files that were not landed are landed; a stream that lands their source does it between two
    batches. Windows reach back before the interval. Rows that were computed stay as they are.
    """
    _materialize(context, views, start, end, incremental=False, validate=validate)


@click.command("materialize-incremental")
@click.argument("views", nargs=-1)
@click.option("--end", metavar="T", help="Compute event times up to and with this.")
@validate_option
@json_option
@pass_context
def materialize_incremental(
    context: Context, views: tuple[str, ...], end: str | None, *, validate: bool
) -> None:
    """Go on where each view was last computed to."""
    _materialize(context, views, None, end, incremental=True, validate=validate)


def _materialize(
    context: Context,
    views: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    incremental: bool,
    validate: bool,
) -> None:
    from twinlake.definitions.times import parse_instant_us
    from twinlake.flows import materializing

    with context.open() as project:
        done = materializing.materialize(
            project,
            views,
            start_us=None if start is None else parse_instant_us(start),
            end_us=None if end is None else parse_instant_us(end),
            incremental=incremental,
            validate=validate,
        )
        state = project.settings.state
    document = materialized_document(done, state)
    context.answer(_materialized_text(document), document)


def materialized_document(done: Any, state: Path) -> dict[str, Any]:  # noqa: ANN401 (imported late)
    """Write down what a materialize did, for people and programs alike."""
    from dataclasses import asdict

    def landed(landing: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
        docs = None if landing.data_docs is None else str(state / landing.data_docs)
        return asdict(landing) | {"data_docs": docs}

    return {
        "changed": done.changed,
        "sources": {
            name: None if landing is None else landed(landing)
            for name, landing in done.landings.items()
        },
        "views": {
            name: None if publication is None else asdict(publication)
            for name, publication in done.publications.items()
        },
        "intervals": {name: str(interval) for name, interval in done.intervals.items()},
    }


def _materialized_text(document: dict[str, Any]) -> str:
    if not document["changed"]:
        return "Nothing new: no Delta version and no online row was written."
    landed = [
        (
            name,
            item["version"],
            item["read"],
            item["accepted"],
            item["duplicate"],
            item["quarantined"],
            item["erased"],
        )
        for name, item in document["sources"].items()
        if item is not None
    ]
    published = [
        (
            name,
            document["intervals"][name],
            item["feature_rows"],
            item["table_version"],
            item["online_rows"],
        )
        for name, item in document["views"].items()
        if item is not None
    ]
    parts = []
    if landed:
        heads = ("source", "version", "read", "accepted", "duplicate", "quarantined", "erased")
        parts.append(table(heads, landed))
    if published:
        heads5 = ("view", "event times", "feature rows", "table version", "online rows")
        parts.append(table(heads5, published))
    parts += [
        f"data docs of {name}: {item['data_docs']}"
        for name, item in document["sources"].items()
        if item is not None and item["data_docs"]
    ]
    return "\n\n".join(parts)


COMMANDS = (materialize, materialize_incremental, backfill)
