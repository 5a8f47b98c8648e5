"""Log finished trainings in MLflow: runs, data sets, receipt, pictures, models.

MLflow takes seconds to import and so is imported only where it is called. It is used through its
client, which leaves the caller's active run alone.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlake.definitions.times import format_instant
from twinlake.models import leaderboard
from twinlake.models.candidates import XGBOOST, Candidate, own_settings
from twinlake.models.leaderboard import Entry
from twinlake.models.mlflow_session import (
    TrackingStore,
    although_contended,
    experiment_id,
    mlflow_at,
)
from twinlake.models.model_files import LoggedFile, log_model, register
from twinlake.models.plots import draw_importance, draw_leaderboard, draw_result
from twinlake.models.receipts import Receipt, TablePin
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.registered import SHA256_TAG
from twinlake.models.train import TrainingResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

CANDIDATE_TAG = "twinlake.candidate"
# By this tag MLflow shows a run below another.
PARENT_TAG = "mlflow.parentRunId"
LEADERBOARD_FILE = "leaderboard.json"
# MLflow keeps at most 36 characters of a data set's digest; the tag keeps all.
DIGEST_SHOWN = 32


@dataclass(frozen=True)
class Origin:
    """What was learned from: a training set's receipt, and its Delta table, pinned."""

    receipt: Receipt
    training_set: TablePin


@dataclass(frozen=True)
class TrackedModel:
    """A model as it was logged and registered."""

    run_id: str
    model_uri: str
    name: str
    version: int
    sha256: str


@dataclass(frozen=True)
class TrackedLeaderboard:
    """A leaderboard as it was logged.

    Attributes:
        run_id: The parent run.
        runs: The run of each candidate, by its name.
        best: The best candidate, registered; its run is the one below the parent.
    """

    run_id: str
    runs: Mapping[str, str]
    best: TrackedModel


def log_training(
    store: TrackingStore,
    recipe: TrainingRecipe,
    result: TrainingResult,
    origin: Origin,
    *,
    started_at: dt.datetime,
    finished_at: dt.datetime,
    alias: str | None = None,
) -> TrackedModel:
    """Log one training as a finished run and register its model.

    Args:
        store: Where to.
        recipe: What was learned; the model is registered under its name.
        result: The model and its errors.
        origin: What it was learned from.
        started_at: When the training began; aware.
        finished_at: When it ended; aware.
        alias: Alias that is to name this version from now on, such as ``champion``.

    Returns:
        Ids, version and the SHA-256 of the model.

    Raises:
        EnvironmentFailure: MLflow does not take it.
    """
    entry = Entry(own_settings(recipe), result, started_at, finished_at)
    named = f"{recipe.name} {origin.receipt.digest()[:8]}"
    with mlflow_at(store.uri) as client:
        with _run(client, store, named, (started_at, finished_at)) as run_id:
            logged = _log_entry(client, run_id, recipe.name, entry, origin)
            version = register(client, recipe.name, logged, run_id, alias)
        return TrackedModel(run_id, logged.model_uri, recipe.name, version, logged.sha256)


def log_leaderboard(
    store: TrackingStore,
    recipe: TrainingRecipe,
    entries: Sequence[Entry],
    origin: Origin,
    *,
    alias: str | None = None,
) -> TrackedLeaderboard:
    """Log candidates as runs below one run, and register the best.

    Args:
        store: Where to.
        recipe: The model's; the best candidate is registered under its name.
        entries: The candidates, best first.
        origin: What they were learned from.
        alias: Alias that is to name the best from now on, such as ``champion``.

    Raises:
        EnvironmentFailure: MLflow does not take it.
    """
    times = min(e.started_at for e in entries), max(e.finished_at for e in entries)
    named = f"{recipe.name} leaderboard {origin.receipt.digest()[:8]}"
    runs: dict[str, str] = {}
    logged: dict[str, LoggedFile] = {}
    with mlflow_at(store.uri) as client, _run(client, store, named, times) as parent:
        for entry in entries:
            name = entry.candidate.name
            tags = {PARENT_TAG: parent, CANDIDATE_TAG: name}
            with _run(client, store, name, (entry.started_at, entry.finished_at), tags) as run_id:
                runs[name] = run_id
                logged[name] = _log_entry(client, run_id, recipe.name, entry, origin)
        best = entries[0].candidate.name
        _log_facts(client, parent, own_settings(recipe), entries[0].result, times[1])
        _log_data(client, parent, entries[0].result, recipe, origin)
        _log_board(client, parent, entries, recipe.label)
        client.set_tag(parent, CANDIDATE_TAG, best)
        _tell_origin(client, parent, origin.receipt)
        version = register(client, recipe.name, logged[best], runs[best], alias)
    found = logged[best]
    tracked = TrackedModel(runs[best], found.model_uri, recipe.name, version, found.sha256)
    return TrackedLeaderboard(parent, runs, tracked)


@contextmanager
def _run(
    client: MlflowClient,
    store: TrackingStore,
    name: str,
    times: tuple[dt.datetime, dt.datetime],
    tags: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Write a run: finished when all went well, else failed."""
    begun, ended = map(_milliseconds, times)
    run = client.create_run(
        experiment_id(client, store), start_time=begun, run_name=name, tags=dict(tags or {})
    )
    try:
        yield run.info.run_id
    except BaseException:
        client.set_terminated(run.info.run_id, "FAILED", end_time=ended)
        raise
    client.set_terminated(run.info.run_id, "FINISHED", end_time=ended)


def _log_entry(
    client: MlflowClient, run_id: str, name: str, entry: Entry, origin: Origin
) -> LoggedFile:
    """Log all of one training under its run."""
    result, recipe = entry.result, entry.candidate.recipe
    _log_facts(client, run_id, entry.candidate, result, entry.finished_at)
    _log_data(client, run_id, result, recipe, origin)
    _log_files(client, run_id, result, recipe.label, origin.receipt)
    logged = log_model(client, run_id, name, result.scorer)
    client.set_tag(run_id, SHA256_TAG, logged.sha256)
    _tell_origin(client, run_id, origin.receipt)
    return logged


def _log_facts(
    client: MlflowClient,
    run_id: str,
    candidate: Candidate,
    result: TrainingResult,
    at: dt.datetime,
) -> None:
    """Log what was asked for as parameters and what came out as metrics."""
    from mlflow.entities import Metric, Param

    recipe = candidate.recipe
    params: dict[str, Any] = {
        "algorithm": result.scorer.algorithm,
        "label": recipe.label,
        "features": ",".join(recipe.features),
        "baselines": ",".join(f"{name}={column}" for name, column in recipe.baselines.items()),
    }
    if result.cut is not None:
        params["cut"] = result.cut.isoformat()
    if candidate.algorithm == XGBOOST:
        params |= {"rounds": recipe.rounds}
        params |= {f"xgboost.{name}": value for name, value in recipe.params.items()}
    if recipe.folds is not None:
        params["folds"] = recipe.folds
    elif recipe.tested_from_us is None:
        params["test_fraction"] = recipe.test_fraction
    if recipe.trained_from_us is not None:
        params["trained_from"] = format_instant(recipe.trained_from_us)
    if recipe.classes:
        params["classes"] = ",".join(recipe.classes)
    if recipe.threshold is not None:
        params["threshold"] = recipe.threshold
    metrics = {
        **result.metrics(),
        "train_rows": result.train_rows,
        "test_rows": result.test_rows,
        "compared_rows": result.compared_rows,
    }
    if result.rounds is not None:
        metrics["trees"] = result.rounds
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, float(value), _milliseconds(at), 0) for name, value in metrics.items()
        ],
        params=[Param(name, str(value)) for name, value in params.items()],
    )


def _log_data(
    client: MlflowClient,
    run_id: str,
    result: TrainingResult,
    recipe: TrainingRecipe,
    origin: Origin,
) -> None:
    """Log the training set and the tables it was built from, each with its Delta version."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    receipt = origin.receipt
    texts = {*result.scorer.categories, *((recipe.label,) if recipe.classes else ())}
    columns = [
        {"type": "string" if name in texts else "double", "name": name}
        for name in (*recipe.features, recipe.label)
    ]
    tables = [("training", origin.training_set, receipt.digest())]
    tables += [
        ("source", pin, sha256(f"{pin.table_id}@{pin.version}@{pin.sequence}".encode()).hexdigest())
        for pin in receipt.tables
    ]
    inputs = []
    for context, pin, digest in tables:
        # Written here because MLflow's own class leaves out the table id, and version 0.
        source = {
            "path": pin.path,
            "delta_table_version": pin.version,
            "delta_table_id": pin.table_id,
        }
        profile: dict[str, Any] = {"sequence": pin.sequence, **source}
        if context == "training":
            profile |= {"rows": receipt.rows, "content": receipt.content, "receipt": digest}
        data_set = Dataset(
            name=pin.name,
            digest=digest[:DIGEST_SHOWN],
            source_type="delta_table",
            source=json.dumps(source),
            schema=json.dumps({"mlflow_colspec": columns}) if context == "training" else None,
            profile=json.dumps(profile),
        )
        inputs.append(DatasetInput(data_set, [InputTag("mlflow.data.context", context)]))
    although_contended(lambda: client.log_inputs(run_id, inputs))


def _tell_origin(client: MlflowClient, run_id: str, receipt: Receipt) -> None:
    """Say in the run's own tags what its training set was made from; the receipt is a file."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, text) for name, text in receipt.tags().items()])


def _log_files(
    client: MlflowClient, run_id: str, result: TrainingResult, label: str, receipt: Receipt
) -> None:
    """Log the receipt, and pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "receipt.json").write_text(receipt.to_json(), encoding="utf-8")
        draw_result(result, label, folder)
        draw_importance(result.importance, folder / "importance.png")
        client.log_artifacts(run_id, str(folder))


def _log_board(client: MlflowClient, run_id: str, entries: Sequence[Entry], label: str) -> None:
    """Log the leaderboard as a table that MLflow shows, and all candidates in one picture each."""
    rows = leaderboard.rows(entries)
    client.log_table(
        run_id, {head: [row[head] for row in rows] for head in rows[0]}, LEADERBOARD_FILE
    )
    with tempfile.TemporaryDirectory() as name:
        draw_leaderboard(entries, label, Path(name))
        client.log_artifacts(run_id, name)


def _milliseconds(moment: dt.datetime) -> int:
    """Give an aware time as MLflow counts it: milliseconds since the epoch."""
    return int(moment.timestamp() * 1000)
