"""The verbs that do work: materialize, backfill, train."""

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
        heads = ("source", "version", "read", "accepted", "duplicate", "quarantined")
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


@click.command()
@click.argument("model")
@click.option(
    "--spine",
    type=click.Path(path_type=Path),
    help="Build the training set from this spine; the newest one is taken without it.",
)
@json_option
@pass_context
def train(context: Context, model: str, spine: Path | None) -> None:
    """Train MODEL and log it in MLflow.

    The last part of time is held out, and naive forecasts are measured on the same rows; of a
    model that gives probabilities, how well they tell positives from negatives.
    """
    with context.open() as project:
        service = project.model(model).service.name
        # MLflow takes seconds to load, and a wrong name is told without it.
        from twinlake.flows import modelling, training_sets

        if spine is None:
            chosen = modelling.newest_training_set(project, service)
        else:
            chosen = training_sets.build(project, service, spine)
        trained = modelling.train_model(project, model, chosen)
        tracking = project.settings.mlflow_tracking
    document = trained_document(trained)
    text = (
        f"{model} version {trained.tracked.version}, {document['trees']} trees, tested on "
        f"{document['test_rows']:,} rows from {document['cut']}\n\n"
        f"{quality_text(document)}\n\n"
        f"look at it: .venv/bin/mlflow ui --backend-store-uri {tracking}"
    )
    context.answer(text, document)


def quality_text(document: dict[str, Any]) -> str:
    """Lay out the errors beside those of the naive forecasts, or how labels are told apart."""
    found = document["classification"]
    if found is None:
        errors = document["errors"].items()
        rows = [(name, f"{e['mae']:.4f}", f"{e['rmse']:.4f}") for name, e in errors]
        return table(("forecast", "MAE", "RMSE"), rows)
    positives = found["true_positives"] + found["false_negatives"]
    share = positives / document["test_rows"]
    ranked = [
        ("ROC AUC", f"{found['roc_auc']:.4f}", "0.5000"),
        ("average precision", f"{found['average_precision']:.4f}", f"{share:.4f}"),
    ]
    called = [
        ("positive", f"{found['true_positives']:,}", f"{found['false_negatives']:,}"),
        ("negative", f"{found['false_positives']:,}", f"{found['true_negatives']:,}"),
    ]
    return (
        f"{table(('metric', 'model', 'a guess'), ranked)}\n\n"
        f"{table(('label', 'called positive', 'called negative'), called)}\n\n"
        f"above a probability of {found['threshold']}: precision {found['precision']:.4f}, "
        f"recall {found['recall']:.4f}"
    )


def trained_document(trained: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down a trained model, for people and programs alike."""
    result = trained.result
    errors = {name: {"mae": e.mae, "rmse": e.rmse} for name, e in result.errors.items()}
    gain = result.metrics().get("mae_gain_over_best_baseline")
    told = result.classification
    return {
        "model": trained.model.name,
        "version": trained.tracked.version,
        "run_id": trained.tracked.run_id,
        "sha256": trained.tracked.sha256,
        "training_set": trained.training_set.name,
        "train_rows": result.train_rows,
        "test_rows": result.test_rows,
        "cut": result.cut.isoformat(),
        "trees": result.rounds,
        "errors": errors,
        "mae_gain_over_best_baseline": gain,
        "classification": None if told is None else {"threshold": told.threshold, **told.metrics()},
    }


COMMANDS = (materialize, materialize_incremental, backfill, train)
