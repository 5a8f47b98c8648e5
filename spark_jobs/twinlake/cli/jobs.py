"""The verbs that do work: materialize, backfill, training-set, train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import table, tree

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


@click.group("training-set")
def training_set() -> None:
    """Build training sets; look at receipts."""


@training_set.command("build")
@click.argument("service")
@click.option(
    "--spine",
    required=True,
    type=click.Path(path_type=Path),
    help="Join keys, event_timestamp, labels: Parquet, CSV or a Delta table.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write one Parquet file.")
@json_option
@pass_context
def build(context: Context, service: str, spine: Path, out: Path | None) -> None:
    """Join a spine to SERVICE, point in time, into a Delta table with a receipt."""
    with context.open() as project:
        project.service(service)  # a wrong name is told before anything heavy is loaded
        _refuse_unwritable(out)
        from twinlake.flows import training_sets

        built = training_sets.build(project, service, spine)
        if out is not None:
            training_sets.write_out(project, built, out)
    document = training_set_document(built) | {"out": None if out is None else str(out)}
    counts = built.receipt.statuses
    heads = ["feature", "present", "null", "missing", "expired", "not_yet_known"]
    heads += ["overflow"] if any("overflow" in found for found in counts.values()) else []
    rows = [(name, *(counts[name].get(head, 0) for head in heads[1:])) for name in counts]
    told = "built" if built.built else "there already, with the same inputs"
    text = (
        f"{built.name}: {built.receipt.rows:,} rows, {told}\n{built.path} at version "
        f"{built.version}\n\n{table(heads, rows)}\n\ncontent {built.receipt.content}\n"
        f"receipt {built.receipt.digest()}"
    )
    context.answer(text, document)


def _refuse_unwritable(out: Path | None) -> None:
    """Refuse a place that cannot be written to, before the training set is built."""
    import os

    from twinlake.errors import InputError

    if out is None:
        return
    above = next((folder for folder in out.absolute().parents if folder.exists()), Path("/"))
    if out.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        found = "it is a folder" if out.is_dir() else f"{above} cannot be written to"
        raise InputError(f"cannot write {out}: {found}", hint="choose another --out")


@training_set.command("show")
@click.argument("name")
@json_option
@pass_context
def show(context: Context, name: str) -> None:
    """Print the receipt of a training set."""
    import json

    from twinlake.errors import InputError
    from twinlake.flows import training_sets

    with context.open() as project:
        receipt = training_sets.find_receipt(project, name)
        known = training_sets.names(project)
    if receipt is None:
        raise InputError.unknown("training set", name, known)
    document = json.loads(receipt.to_json()) | {"digest": receipt.digest()}
    context.answer("\n".join(tree(document, 0)), document)


def training_set_document(built: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down a training set, for people and programs alike."""
    import json

    return {
        "training_set": built.name,
        "built": built.built,
        "path": str(built.path),
        "version": built.version,
        "rows": built.receipt.rows,
        "features": {name: dict(counts) for name, counts in built.receipt.statuses.items()},
        "receipt": json.loads(built.receipt.to_json()) | {"digest": built.receipt.digest()},
    }


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
        f"look at it: {where_to_look(tracking)}"
    )
    context.answer(text, document)


def where_to_look(tracking: str) -> str:
    """Say how to see runs: a server shows them itself, a file has to be served."""
    if tracking.startswith("http"):
        return tracking
    return f".venv/bin/mlflow ui --backend-store-uri {tracking}"


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


COMMANDS = (materialize, materialize_incremental, backfill, training_set, train)
