"""A quiet session with one MLflow store, after which the process is as it was before."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Said on every use, and of no use to whoever trains a model. Errors still pass.
NOISY_LOGGERS = ("alembic", "mlflow.store.db.utils", "matplotlib.font_manager")

# What MLflow says of a type hint of its own, when its part for Python models is first loaded.
NOISY_WARNING = ".*Any type hint is inferred as AnyType"

# MLflow would otherwise call home, and draw progress bars over small local files.
QUIET_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True)
class TrackingStore:
    """Where MLflow keeps things.

    Attributes:
        uri: ``sqlite:////absolute/mlflow.db``, or the address of a server.
        artifacts: Folder or URI of the artifacts; used when the experiment is created.
        experiment: The experiment's name; created when it is not there.
    """

    uri: str
    artifacts: str
    experiment: str


@contextmanager
def mlflow_at(uri: str) -> Iterator[MlflowClient]:
    """Open an ``MlflowClient`` on one store.

    Parts of MLflow know only the process-wide tracking URI, so it is set for the time of the
    session and set back afterwards. Not for two threads with different stores at once.

    Args:
        uri: Of the tracking store, which is the model registry too.

    Yields:
        The client.
    """
    # Telemetry decides when MLflow is imported, so this one stays for the process.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings(), _quiet(NOISY_LOGGERS):
        warnings.filterwarnings("ignore", message=NOISY_WARNING)
        import mlflow

        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        with _environment({**QUIET_ENVIRONMENT, "MLFLOW_TRACKING_URI": uri}):
            mlflow.set_tracking_uri(uri)
            try:
                yield mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            finally:
                mlflow.set_tracking_uri(before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet(names: tuple[str, ...]) -> Iterator[None]:
    """Let only errors of some loggers through for a while."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
