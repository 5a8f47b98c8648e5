"""Load a registered model, or refuse to: the SHA-256 of the very bytes loaded is checked first."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from twinlake.errors import InputError, StateError
from twinlake.models.boosted_trees import UBJSON_FILE, read_trees
from twinlake.models.columns import Doubles
from twinlake.models.mlflow_session import TrackingStore, mlflow_at
from twinlake.models.pipelines import SKOPS_FILE, read_pipeline
from twinlake.models.scorer import Scorer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

SHA256_TAG = "twinlake.model_sha256"
# What a version's file is called; one without this tag is of XGBoost.
FILE_TAG = "twinlake.model_file"
READERS: Mapping[str, Callable[[bytes], Scorer]] = {
    UBJSON_FILE: read_trees,
    SKOPS_FILE: read_pipeline,
}
# What MLflow says of a name, a version or an alias that is not there.
NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True)
class Champion:
    """The version of a model that is in use, of whichever algorithm.

    Attributes:
        scorer: The model.
        version: Its number in the registry.
    """

    scorer: Scorer
    version: int

    @property
    def features(self) -> tuple[str, ...]:
        """Name the columns that it takes, in order."""
        return self.scorer.features

    def predict(self, table: pa.Table, *, threads: int = 1) -> Doubles:
        """Forecast each row of a table that has the features by name; see ``Scorer``."""
        return self.scorer.predict(table, threads=threads)


def load_model(
    store: TrackingStore, name: str, *, version: int | None = None, alias: str | None = None
) -> Scorer:
    """Load a registered model: the version given, or the one that the alias names.

    Raises:
        InputError: There is no such model, version or alias, or not exactly one was asked for.
        StateError: The file is not the one that was registered, or its SHA-256 was never noted.
        EnvironmentFailure: MLflow does not answer.
    """
    if (version is None) == (alias is None):
        raise InputError("give either the version of a model or an alias")
    with mlflow_at(store.uri, patient=False) as client:
        if alias is not None:
            return _read(client, store, _version_of(client, name, alias))
        asked = f"version {version}"
        found = _found(lambda: client.get_model_version(name, str(version)), name, asked)
        return _read(client, store, found)


def load_champion(store: TrackingStore, name: str, alias: str = "champion") -> Champion:
    """Load the version of a model that an alias names.

    Raises:
        InputError: There is no such model or alias.
        StateError: The file is not the one that was registered.
        EnvironmentFailure: MLflow does not answer.
    """
    with mlflow_at(store.uri, patient=False) as client:
        found = _version_of(client, name, alias)
        return Champion(_read(client, store, found), int(found.version))


def newer_champion(
    store: TrackingStore, name: str, held: int, alias: str = "champion"
) -> Champion | None:
    """Load the version that an alias names, unless it is the one that is held already.

    Raises:
        InputError, StateError, EnvironmentFailure: As ``load_champion``.
    """
    with mlflow_at(store.uri, patient=False) as client:
        found = _version_of(client, name, alias)
        if int(found.version) == held:
            return None
        return Champion(_read(client, store, found), int(found.version))


def name_champion(store: TrackingStore, name: str, version: int, alias: str = "champion") -> None:
    """Let an alias name a registered version of a model, which who serves or scores takes over.

    Raises:
        InputError: There is no such model or version.
        EnvironmentFailure: MLflow does not answer.
    """
    with mlflow_at(store.uri, patient=False) as client:
        _found(lambda: client.get_model_version(name, str(version)), name, f"version {version}")
        client.set_registered_model_alias(name, alias, str(version))


def fetch_file(location: str, file: str, folder: str, tracking_uri: str) -> bytes:
    """Fetch a model's file as it is stored."""
    import mlflow.artifacts

    path = mlflow.artifacts.download_artifacts(
        artifact_uri=f"{location}/{file}", dst_path=folder, tracking_uri=tracking_uri
    )
    return Path(path).read_bytes()


def _version_of(client: MlflowClient, name: str, alias: str) -> ModelVersion:
    return _found(lambda: client.get_model_version_by_alias(name, alias), name, f"alias {alias}")


def _found(ask: Callable[[], ModelVersion], name: str, asked: str) -> ModelVersion:
    """Ask for a version, and tell that it is not there apart from a store that does not answer."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        raise InputError(
            f"there is no {asked} of a model named {name!r}: {error.message}",
            hint=f"run `twinlake train {name}` first",
        ) from error


def _read(client: MlflowClient, store: TrackingStore, found: ModelVersion) -> Scorer:
    from mlflow.exceptions import MlflowException

    told = f"model {found.name} version {found.version}"
    file = found.tags.get(FILE_TAG, UBJSON_FILE)
    if file not in READERS:
        raise StateError(
            f"{told} is a file {file!r}; {' and '.join(READERS)} can be read",
            hint="train it again, or read it with the version of twinlake that made it",
        )
    location = client.get_model_version_download_uri(found.name, found.version)
    try:
        with tempfile.TemporaryDirectory() as folder:
            content = fetch_file(location, file, folder, store.uri)
    except (OSError, MlflowException) as error:
        raise StateError(
            f"{told} has no {file}: {error}", hint="restore the file, or train it again"
        ) from error
    expected, actual = found.tags.get(SHA256_TAG), sha256(content).hexdigest()
    if expected != actual:
        raise StateError(
            f"{told}: its file has SHA-256 {actual}, "
            f"but {expected or 'none'} was registered; it was not loaded",
            hint="train and register it again, or restore the file",
        )
    return READERS[file](content)
