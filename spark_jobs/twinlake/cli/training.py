"""The verb that trains: one model, or candidates side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import aligned, table

spine_option = click.option(
    "--spine",
    type=click.Path(path_type=Path),
    help="Build the training set from this spine; the newest one is taken without it.",
)
leaderboard_option = click.option(
    "--leaderboard",
    is_flag=True,
    help="Train further candidates on the same rows, and keep the best.",
)
_HEADS = {
    "roc_auc": "ROC AUC",
    "log_loss": "log loss",
    "average_precision": "average precision",
    "mae": "MAE",
    "rmse": "RMSE",
    "mse": "MSE",
    "mean_per_class_error": "mean error per class",
}
DIGITS = {"seconds": 1}


@click.command()
@click.argument("model")
@spine_option
@leaderboard_option
@json_option
@pass_context
def train(context: Context, model: str, spine: Path | None, *, leaderboard: bool) -> None:
    """Train MODEL and log it in MLflow.

    The last part of time is held out, and naive forecasts are measured on the same rows; of a
    model that gives probabilities, how well they tell positives from negatives.

    With --leaderboard, further settings of XGBoost, a linear model and a decision tree learn from
    the same rows, and the best becomes the champion.
    """
    with context.open() as project:
        project.model(model)
        # MLflow takes seconds to load, and a wrong name is told without it.
        from twinlake.flows.feature_store import FeatureStore

        store = FeatureStore(project)
        document, text = {}, ""
        if leaderboard:
            document = leaderboard_document(store.leaderboard(model, spine))
            text = leaderboard_text(document)
        else:
            document = trained_document(store.train(model, spine))
            text = trained_text(document)
        tracking = project.settings.mlflow_tracking
    context.answer(f"{text}\n\nlook at it: {where_to_look(tracking)}", document)


def where_to_look(tracking: str) -> str:
    """Say how to see runs: a server shows them itself, a file has to be served."""
    if tracking.startswith("http"):
        return tracking
    return f".venv/bin/mlflow ui --backend-store-uri {tracking}"


def trained_text(document: dict[str, Any]) -> str:
    """Tell of a trained model what it is worth."""
    return (
        f"{document['model']} version {document['version']}, {document['trees']} trees, "
        f"{_tested_text(document)}\n\n{quality_text(document)}"
    )


def _tested_text(document: dict[str, Any]) -> str:
    if document["cut"] is None:
        return f"cross-validated on {document['test_rows']:,} rows"
    return f"tested on {document['test_rows']:,} rows from {document['cut']}"


def quality_text(document: dict[str, Any]) -> str:
    """Lay out the errors beside those of the naive forecasts, or how labels are told apart."""
    if document["classes"] is not None:
        return classes_text(document["classes"])
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
        ("log loss", f"{found['log_loss']:.4f}", f"{found['base_log_loss']:.4f}"),
        ("accuracy", f"{found['accuracy']:.4f}", f"{max(share, 1 - share):.4f}"),
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


def classes_text(found: dict[str, Any]) -> str:
    """Lay out how classes are told apart: what each was taken for, and the figures of all."""
    names = list(found["confusion"])
    rows = [
        (name, *(f"{count:,}" for count in taken.values()), f"{found['errors'][name]:.4f}")
        for name, taken in found["confusion"].items()
    ]
    heads = ("class", *(f"taken for {name}" for name in names), "error")
    figures = ("mean_per_class_error", "log_loss", "rmse", "mse", "accuracy")
    told = [(name.replace("_", " "), f"{found[name]:.4f}") for name in figures]
    return f"{table(heads, rows)}\n\n{table(('metric', 'model'), told)}"


def classes_document(told: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down how classes are told apart."""
    counts = told.confusion.tolist()
    return {
        **told.metrics(),
        "errors": told.errors,
        "confusion": {
            name: dict(zip(told.classes, row, strict=True))
            for name, row in zip(told.classes, counts, strict=True)
        },
    }


def trained_document(trained: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down a trained model, for people and programs alike."""
    result = trained.result
    errors = {name: {"mae": e.mae, "rmse": e.rmse} for name, e in result.errors.items()}
    gain = result.metrics().get("mae_gain_over_best_baseline")
    told = result.classification
    judged = told and {
        "threshold": told.threshold,
        **told.metrics(),
        "base_log_loss": told.base_log_loss,
    }
    return {
        **_tracked_document(trained.model, trained.tracked, trained.training_set, result),
        "trees": result.rounds,
        "errors": errors,
        "mae_gain_over_best_baseline": gain,
        "classification": judged,
        "classes": result.classes and classes_document(result.classes),
    }


def leaderboard_document(found: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down a leaderboard, for people and programs alike."""
    from twinlake.models.leaderboard import rows

    best = found.entries[0]
    runs = found.tracked.runs
    return {
        **_tracked_document(found.model, found.tracked.best, found.training_set, best.result),
        "parent_run_id": found.tracked.run_id,
        "best": best.candidate.name,
        "threshold": found.model.threshold,
        "leaderboard": [row | {"run_id": runs[row["candidate"]]} for row in rows(found.entries)],
    }


def leaderboard_text(document: dict[str, Any]) -> str:
    """Lay a leaderboard out, best first."""
    board = document["leaderboard"]
    figures = [name for name, value in board[0].items() if isinstance(value, float)]
    columns = [
        [row["rank"] for row in board],
        [row["candidate"] for row in board],
        *(aligned([row[name] for row in board], DIGITS.get(name, 4)) for name in figures),
    ]
    heads = ["", "candidate", *(_HEADS.get(name, name) for name in figures)]
    at = "" if document["threshold"] is None else f"; threshold {document['threshold']}"
    return (
        f"{document['model']}: {len(board)} candidates, learned from {document['train_rows']:,} "
        f"rows, {_tested_text(document)}{at}\n\n"
        f"{table(heads, list(zip(*columns, strict=True)))}\n\n"
        f"{document['best']} is version {document['version']}, the champion"
    )


def _tracked_document(model: Any, tracked: Any, training_set: Any, result: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "model": model.name,
        "version": tracked.version,
        "run_id": tracked.run_id,
        "sha256": tracked.sha256,
        "training_set": training_set.name,
        "train_rows": result.train_rows,
        "test_rows": result.test_rows,
        "cut": result.cut and result.cut.isoformat(),
    }


COMMANDS = (train,)
