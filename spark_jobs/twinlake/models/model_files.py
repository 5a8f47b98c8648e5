"""Log a model's one file in MLflow and register it, with the SHA-256 that a load will check.

The file is UBJSON of XGBoost or what skops writes of scikit-learn, never a pickle.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlake.errors import StateError
from twinlake.models.mlflow_session import although_contended
from twinlake.models.registered import FILE_TAG, SHA256_TAG, fetch_file
from twinlake.models.scorer import Scorer

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class LoggedFile:
    """A model as it was logged: its URI, what its file is called, and the file's SHA-256."""

    model_uri: str
    file: str
    sha256: str


class _Hashed:
    """A part of MLflow that saves models, which notes the SHA-256 of what it saved."""

    def __init__(self, flavour: Any, file: str) -> None:  # noqa: ANN401 (a module of MLflow)
        self._flavour = flavour
        self._file = file
        self.sha256 = ""

    def save_model(self, path: str, mlflow_model: Any, **told: Any) -> None:  # noqa: ANN401 (MLflow's)
        self._flavour.save_model(path=path, mlflow_model=mlflow_model, **told)
        self.sha256 = sha256(Path(path, self._file).read_bytes()).hexdigest()


def log_model(client: MlflowClient, run_id: str, name: str, scorer: Scorer) -> LoggedFile:
    """Log a model under a run, with its signature: text as strings, all else as doubles.

    Requirements are given: MLflow would load the model to guess them, which takes seconds.

    Raises:
        StateError: What was stored is not what was saved.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    kinds = {name: "string" if name in scorer.categories else "double" for name in scorer.features}
    # Every feature may be null; the model knows what a missing value means.
    inputs = Schema([ColSpec(kind, feature, required=False) for feature, kind in kinds.items()])
    # Made here, in the run's own experiment: left to itself, MLflow takes the default one, whose
    # artifacts lie in the working directory.
    placed = client.create_logged_model(
        client.get_run(run_id).info.experiment_id, name=name, source_run_id=run_id
    )
    flavour, told = scorer.flavour()
    hashed = _Hashed(flavour, scorer.file_name)
    Model.log(
        artifact_path=None,
        name=name,
        model_id=placed.model_id,
        flavor=hashed,
        run_id=run_id,
        signature=ModelSignature(inputs=inputs, outputs=Schema([ColSpec("double")])),
        **told,
    )
    with tempfile.TemporaryDirectory() as folder:
        stored = fetch_file(placed.artifact_location, scorer.file_name, folder, client.tracking_uri)
    if sha256(stored).hexdigest() != hashed.sha256:
        raise StateError(
            f"what was stored as {placed.model_uri}/{scorer.file_name} is not the model",
            hint="look whether something else writes to where models are kept",
        )
    return LoggedFile(placed.model_uri, scorer.file_name, hashed.sha256)


def register(
    client: MlflowClient, name: str, logged: LoggedFile, run_id: str, alias: str | None
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
        source=logged.model_uri,
        run_id=run_id,
        tags={SHA256_TAG: logged.sha256, FILE_TAG: logged.file},
        model_id=logged.model_uri.removeprefix("models:/"),
    )
    if alias is not None:
        although_contended(lambda: client.set_registered_model_alias(name, alias, version.version))
    return int(version.version)
