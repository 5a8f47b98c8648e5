"""A quiet session with one MLflow store, after which the process is as it was before."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from twinlake.errors import EnvironmentFailure
from twinlake.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Said on every use, and of no use to whoever trains a model. Errors still pass.
NOISY_LOGGERS = (
    "alembic",
    "mlflow.store.db.utils",
    "mlflow.store.model_registry.abstract_store",
    "mlflow.utils.environment",
    "matplotlib.font_manager",
)

# What MLflow says of a type hint of its own, when its part for Python models is first loaded.
NOISY_WARNING = ".*Any type hint is inferred as AnyType"

# MLflow would otherwise call home, draw progress bars over small local files, and print where a
# server's pages are to where a command prints its JSON.
QUIET_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

# Before there is anything to lose. In the middle of logging, MLflow tries for four minutes.
IMPATIENT_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
# What MLflow says where the database below it does not take a row.
REFUSED_BY_DATABASE = {"BAD_REQUEST", "TEMPORARILY_UNAVAILABLE"}
CONTENDED_TRIES = 5
# As long as another process may take to write what it writes at once.
SQLITE_WAIT_S = 30.0


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


def tracking_store(settings: Settings, experiment: str) -> TrackingStore:
    """Tell where runs and models of an environment go."""
    artifacts = settings.mlflow_artifacts
    if not re.match(r"[a-z][a-z0-9+.-]*:/", artifacts):
        artifacts = Path(artifacts).absolute().as_uri()
    return TrackingStore(settings.mlflow_tracking, artifacts, experiment)


@contextmanager
def mlflow_at(uri: str, *, patient: bool = True) -> Iterator[MlflowClient]:
    """Open an ``MlflowClient`` on one store.

    Parts of MLflow know only the process-wide tracking URI, so it is set for the time of the
    session and set back afterwards. Not for two threads with different stores at once.

    Args:
        uri: Of the tracking store, which is the model registry too.
        patient: Try again and again where a server does not answer.

    Yields:
        The client.

    Raises:
        EnvironmentFailure: Something that was asked of MLflow inside failed there.
    """
    # Telemetry decides when MLflow is imported, so this one stays for the process.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings(), _quiet(NOISY_LOGGERS):
        warnings.filterwarnings("ignore", message=NOISY_WARNING)
        import mlflow
        from mlflow.exceptions import MlflowException

        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        patience = {} if patient else IMPATIENT_ENVIRONMENT
        with _environment({**QUIET_ENVIRONMENT, **patience, "MLFLOW_TRACKING_URI": uri}):
            mlflow.set_tracking_uri(uri)
            try:
                yield _client(uri)
            except MlflowException as error:
                raise _failure(uri, str(error)) from error
            finally:
                mlflow.set_tracking_uri(before)


def _client(uri: str) -> MlflowClient:
    """Open a client, and make the store's tables where there are none yet."""
    import mlflow

    with _one_at_a_time(uri):
        try:
            return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        except Exception as error:  # of MLflow, or of any database below it
            raise _failure(uri, str(error)) from error


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Wait for other processes that open the same SQLite file.

    MLflow makes its tables step by step without a lock: two that begin at once tear them, and
    nothing can be logged there any more.
    """
    if not urlsplit(uri).scheme.startswith("sqlite"):
        yield
        return
    file = _database(uri)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_name(f"{file.name}.lock").open("a")
    except OSError as error:
        raise _failure(uri, str(error)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def has_database(uri: str) -> bool:
    """Whether there is anything to read at a URI; of a server only asking it tells."""
    return not urlsplit(uri).scheme.startswith("sqlite") or _database(uri).exists()


def _database(uri: str) -> Path:
    return Path(uri.partition(":///")[2].partition("?")[0])


def require_tracking(store: TrackingStore) -> None:
    """Find out whether MLflow takes what a training will log, before there is anything to log.

    The experiment is there afterwards.

    Raises:
        EnvironmentFailure: It does not answer, or cannot write.
    """
    scheme = urlsplit(store.uri).scheme
    if scheme.startswith("sqlite"):
        _require_database(store.uri)
    if urlsplit(store.artifacts).scheme in {"", "file"}:
        folder = Path(unquote(urlsplit(store.artifacts).path))
        if refused := _refused(folder):
            raise _failure(store.uri, f"it keeps files in {folder}: {refused}")
    with mlflow_at(store.uri, patient=False) as client:
        experiment_id(client, store)


def although_contended(write: Callable[[], None]) -> None:
    """Write what another process may be the first to write at the same time, and then is there.

    MLflow looks whether a row is there and adds it where it is not; of two that add it at once the
    database refuses one, who finds it when it looks again.
    """
    from mlflow.exceptions import MlflowException

    for _ in range(CONTENDED_TRIES - 1):
        try:
            return write()
        except MlflowException as error:
            if error.error_code not in REFUSED_BY_DATABASE:
                raise
    return write()


def experiment_id(client: MlflowClient, store: TrackingStore) -> str:
    """Find the experiment or create it."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(store.experiment)
    if found is None:
        try:
            return str(
                client.create_experiment(store.experiment, artifact_location=store.artifacts)
            )
        except MlflowException as error:
            # Another process that trains for the first time may have been quicker.
            found = client.get_experiment_by_name(store.experiment)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
    return str(found.experiment_id)


def _require_database(uri: str) -> None:
    """Refuse a SQLite file that cannot be written; MLflow itself tries for minutes."""
    file = _database(uri)
    # SQLite writes a second file beside the first.
    if refused := _refused(file.parent):
        raise _failure(uri, f"{file.parent}: {refused}")
    if not file.exists():
        return
    if not os.access(file, os.R_OK | os.W_OK):
        raise _failure(uri, "its file cannot be read and written")
    try:
        with closing(sqlite3.connect(file, timeout=SQLITE_WAIT_S, isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            store.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise _failure(uri, str(error)) from error


def _refused(folder: Path) -> str | None:
    """Tell why a folder cannot be written to, or made; None where it can."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        return f"{there} is no folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"


def _failure(uri: str, found: str) -> EnvironmentFailure:
    lines = [line for line in found.splitlines() if line.strip()] or ["no answer"]
    # An address may hold a password.
    shown = re.sub(r"//[^/@]*@", "//", f"MLflow at {uri} failed: {lines[0]}")
    hint = "check that it runs and can be written to; conf/ says under [mlflow] where it is"
    return EnvironmentFailure(shown, hint=hint)


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
