"""Load a registered model, or refuse to: the SHA-256 of the very bytes loaded is checked."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from twinlake.errors import InputError, StateError
from twinlake.models.boosting import xgb
from twinlake.models.mlflow_session import TrackingStore, mlflow_at

MODEL_FILE = "model.ubj"
SHA256_TAG = "twinlake.model_sha256"


def load_model(
    store: TrackingStore, name: str, *, version: int | None = None, alias: str | None = None
) -> xgb.Booster:
    """Load a registered model: the version given, or the one that the alias names.

    Raises:
        InputError: There is no such model, version or alias, or not exactly one was asked for.
        StateError: The file is not the one that was registered, or its SHA-256 was never noted.
    """
    if (version is None) == (alias is None):
        raise InputError("give either the version of a model or an alias")
    from mlflow.exceptions import MlflowException

    with mlflow_at(store.uri) as client, tempfile.TemporaryDirectory() as folder:
        try:
            if alias is not None:
                found = client.get_model_version_by_alias(name, alias)
            else:
                found = client.get_model_version(name, str(version))
        except MlflowException as error:
            asked = f"version {version}" if alias is None else f"alias {alias}"
            raise InputError(
                f"there is no {asked} of a model named {name!r}: {error.message}"
            ) from error
        try:
            model = stored_model(
                client.get_model_version_download_uri(name, found.version), folder, store.uri
            )
        except (OSError, MlflowException) as error:
            raise StateError(
                f"model {name} version {found.version} has no {MODEL_FILE}: {error}"
            ) from error
    expected, actual = found.tags.get(SHA256_TAG), sha256(model).hexdigest()
    if expected != actual:
        raise StateError(
            f"model {name} version {found.version}: its file has SHA-256 {actual}, "
            f"but {expected or 'none'} was registered; it was not loaded",
            hint="train and register it again, or restore the file",
        )
    booster = xgb.Booster()
    booster.load_model(bytearray(model))
    return booster


@dataclass(frozen=True)
class Champion:
    """The version of a model that is in use.

    Attributes:
        booster: The model.
        version: Its number in the registry.
        features: The columns that it takes, in order.
    """

    booster: xgb.Booster
    version: int
    features: tuple[str, ...]


def load_champion(store: TrackingStore, name: str, alias: str = "champion") -> Champion:
    """Load the version of a model that an alias names.

    Raises:
        InputError: There is no such model or alias.
        StateError: The file is not the one that was registered.
    """
    from mlflow.exceptions import MlflowException

    with mlflow_at(store.uri) as client:
        try:
            version = int(client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            raise InputError(
                f"model {name} has no {alias}: {error.message}", hint=f"run `twinlake train {name}`"
            ) from error
    booster = load_model(store, name, version=version)
    return Champion(booster, version, tuple(booster.feature_names or ()))


def stored_model(location: str, folder: str, tracking_uri: str) -> bytes:
    """Fetch a model's file as it is stored."""
    import mlflow.artifacts

    path = mlflow.artifacts.download_artifacts(
        artifact_uri=f"{location}/{MODEL_FILE}", dst_path=folder, tracking_uri=tracking_uri
    )
    return Path(path).read_bytes()
