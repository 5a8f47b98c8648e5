"""Log a finished training in MLflow: run, data sets, receipt, pictures, model.

MLflow takes seconds to import and so is imported only where it is called. It is used through its
client, which leaves the caller's active run alone. The model is written as XGBoost's UBJSON, never
as a pickle, and registered together with the SHA-256 of its file.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlake.definitions.times import format_instant
from twinlake.errors import StateError
from twinlake.models.boosting import xgb
from twinlake.models.mlflow_session import TrackingStore, mlflow_at
from twinlake.models.plots import draw_importance, draw_result
from twinlake.models.receipts import Receipt, TablePin
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.registered import MODEL_FILE, SHA256_TAG, stored_model
from twinlake.models.train import TrainingResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow keeps at most 36 characters of a data set's digest; the tag keeps all.
DIGEST_SHOWN = 32


@dataclass(frozen=True)
class TrackedModel:
    """A model as it was logged and registered."""

    run_id: str
    model_uri: str
    name: str
    version: int
    sha256: str


def log_training(
    store: TrackingStore,
    recipe: TrainingRecipe,
    result: TrainingResult,
    receipt: Receipt,
    training_set: TablePin,
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
        receipt: The receipt of the training set.
        training_set: The Delta table that was trained on, pinned.
        started_at: When the training began; aware.
        finished_at: When it ended; aware.
        alias: Alias that is to name this version from now on, such as ``champion``.

    Returns:
        Ids, version and the SHA-256 of the model.
    """
    with mlflow_at(store.uri) as client:
        experiment = _experiment_id(client, store)
        run = client.create_run(
            experiment,
            start_time=_milliseconds(started_at),
            run_name=f"{recipe.name} {receipt.digest()[:8]}",
        )
        run_id: str = run.info.run_id
        try:
            _log_facts(client, run_id, recipe, result, _milliseconds(finished_at))
            _log_data(client, run_id, recipe, receipt, training_set)
            _log_files(client, run_id, recipe, result, receipt)
            model_uri, digest = _log_model(client, run_id, recipe, result)
            version = _register(client, recipe.name, model_uri, run_id, digest, alias)
        except BaseException:
            client.set_terminated(run_id, "FAILED", end_time=_milliseconds(finished_at))
            raise
        client.set_tag(run_id, SHA256_TAG, digest)
        _tell_origin(client, run_id, receipt)
        client.set_terminated(run_id, "FINISHED", end_time=_milliseconds(finished_at))
    return TrackedModel(run_id, model_uri, recipe.name, version, digest)


def _experiment_id(client: MlflowClient, store: TrackingStore) -> str:
    """Find the experiment or create it."""
    found = client.get_experiment_by_name(store.experiment)
    if found is None:
        return str(client.create_experiment(store.experiment, artifact_location=store.artifacts))
    return str(found.experiment_id)


def _log_facts(
    client: MlflowClient, run_id: str, recipe: TrainingRecipe, result: TrainingResult, at: int
) -> None:
    """Log what was asked for as parameters and what came out as metrics."""
    from mlflow.entities import Metric, Param

    params = {
        "label": recipe.label,
        "features": ",".join(recipe.features),
        "baselines": ",".join(f"{name}={column}" for name, column in recipe.baselines.items()),
        "rounds": recipe.rounds,
        "cut": result.cut.isoformat(),
        **{f"xgboost.{name}": value for name, value in recipe.params.items()},
    }
    if recipe.tested_from_us is None:
        params["test_fraction"] = recipe.test_fraction
    if recipe.trained_from_us is not None:
        params["trained_from"] = format_instant(recipe.trained_from_us)
    if recipe.threshold is not None:
        params["threshold"] = recipe.threshold
    metrics = {
        **result.metrics(),
        "train_rows": result.train_rows,
        "test_rows": result.test_rows,
        "compared_rows": result.compared_rows,
        "trees": result.rounds,
    }
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), at, 0) for name, value in metrics.items()],
        params=[Param(name, str(value)) for name, value in params.items()],
    )


def _log_data(
    client: MlflowClient,
    run_id: str,
    recipe: TrainingRecipe,
    receipt: Receipt,
    training_set: TablePin,
) -> None:
    """Log the training set and the tables it was built from, each with its Delta version."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"type": "double", "name": name} for name in (*recipe.features, recipe.label)]
    tables = [("training", training_set, receipt.digest())]
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
    client.log_inputs(run_id, inputs)


def _tell_origin(client: MlflowClient, run_id: str, receipt: Receipt) -> None:
    """Say in the run's own tags what its training set was made from; the receipt is a file."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, text) for name, text in receipt.tags().items()])


def _log_files(
    client: MlflowClient,
    run_id: str,
    recipe: TrainingRecipe,
    result: TrainingResult,
    receipt: Receipt,
) -> None:
    """Log the receipt, and two pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "receipt.json").write_text(receipt.to_json(), encoding="utf-8")
        draw_result(result, recipe.label, folder)
        draw_importance(result, folder / "importance.png")
        client.log_artifacts(run_id, str(folder))


def _log_model(
    client: MlflowClient, run_id: str, recipe: TrainingRecipe, result: TrainingResult
) -> tuple[str, str]:
    """Log the model as UBJSON with its signature.

    Requirements are given: MLflow would load the model to guess them, which takes seconds.

    Returns:
        The model's URI and the SHA-256 of its file as it is stored.
    """
    import mlflow.xgboost
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    # Every feature may be null; the model knows what a missing value means.
    inputs = Schema([ColSpec("double", name, required=False) for name in recipe.features])
    # Made here, in the run's own experiment: left to itself, MLflow takes the default one, whose
    # artifacts lie in the working directory.
    placed = client.create_logged_model(
        client.get_run(run_id).info.experiment_id, name=recipe.name, source_run_id=run_id
    )
    Model.log(
        artifact_path=None,
        name=recipe.name,
        model_id=placed.model_id,
        flavor=mlflow.xgboost,
        run_id=run_id,
        xgb_model=result.booster,
        model_format="ubj",
        signature=ModelSignature(inputs=inputs, outputs=Schema([ColSpec("float")])),
        pip_requirements=[f"xgboost-cpu=={xgb.__version__}"],
    )
    with tempfile.TemporaryDirectory() as folder:
        stored = stored_model(placed.artifact_location, folder, client.tracking_uri)
    if stored != bytes(result.booster.save_raw("ubj")):
        raise StateError(f"what was stored as {placed.model_uri}/{MODEL_FILE} is not the model")
    return placed.model_uri, sha256(stored).hexdigest()


def _register(
    client: MlflowClient, name: str, model_uri: str, run_id: str, digest: str, alias: str | None
) -> int:
    """Register a logged model as the next version of its name."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=model_uri,
        run_id=run_id,
        tags={SHA256_TAG: digest},
        model_id=model_uri.removeprefix("models:/"),
    )
    if alias is not None:
        client.set_registered_model_alias(name, alias, version.version)
    return int(version.version)


def _milliseconds(moment: dt.datetime) -> int:
    """Give an aware time as MLflow counts it: milliseconds since the epoch."""
    return int(moment.timestamp() * 1000)
