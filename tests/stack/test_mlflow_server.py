"""The stack's MLflow: trained to, loaded from with hashes checked, kept, found again and ended."""

from __future__ import annotations

import datetime as dt
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from bootstrap.services.mlflow_server import address
from bootstrap.stack import Stack
from tests.stack.servers import idle_stack, kill, own_ports, port_of, private_stack, status_of
from tests.unit.models.conftest import recipe, training_set
from twinlake.assurance import doctor
from twinlake.errors import EnvironmentFailure, StateError
from twinlake.flows.modelling import tracking_store
from twinlake.flows.project import Project
from twinlake.models.mlflow_session import TrackingStore
from twinlake.models.receipts import Receipt, SpinePin, TablePin
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.registered import load_model
from twinlake.models.tracking import Origin, log_training
from twinlake.models.train import train
from twinlake.settings import load_settings

__all__ = ["recipe", "training_set"]  # fixtures that the tests ask for by name

START = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
EVENTS = TablePin("daily_energy", "lake/events", "7c1e", version=3, sequence=2)
RECEIPT = Receipt(
    training_set="energy_forecast_1",
    service="energy_forecast",
    definition="d" * 64,
    tables=(EVENTS,),
    spine=SpinePin("spine.parquet", "f" * 32, 2000),
    columns=("label",),
    content="c" * 32,
    rows=2000,
    statuses={"level": {"present": 2000}},
    code_version="0.1.0",
    created_at=START,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A folder with a space, a quote and a per cent: paths reach a command line and two URIs.
    folder = tmp_path_factory.mktemp('a "stack" of 100%20')
    with private_stack(folder, services=["mlflow"]) as found:
        yield found


def store_of(stack: Stack, project: Path) -> TrackingStore:
    """Where a project trains to by its settings, as the command opens it."""
    settings = load_settings(project, "stack", environ={"TWINLAKE_STACK": str(stack.folder)})
    opened = Project(settings, environ={}, now_us=lambda: 0, tell=lambda _: None)
    return tracking_store(opened, "energy")


def test_a_model_is_trained_to_the_server_and_comes_back_as_it_was(
    running: Stack,
    tmp_path: Path,
    training_set: pa.Table,
    recipe: TrainingRecipe,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = store_of(running, tmp_path)
    assert store.uri == address(status_of(running).ports)
    result = train(training_set, recipe, seed=1, threads=1)
    logged = log_training(
        store,
        recipe,
        result,
        Origin(RECEIPT, EVENTS),
        started_at=START,
        finished_at=START,
        alias="champion",
    )
    assert capfd.readouterr() == ("", "")
    for loaded in (
        load_model(store, recipe.name, version=logged.version),
        load_model(store, recipe.name, alias="champion"),
    ):
        assert loaded.predict(training_set).tolist() == result.scorer.predict(training_set).tolist()
    # All of it is the server's: nothing is left where the trainer ran.
    artifacts = running.folder / "mlflow" / "data" / "artifacts"
    (model,) = artifacts.rglob(result.scorer.file_name)
    assert list(artifacts.rglob("receipt.json"))
    assert list(tmp_path.iterdir()) == []
    assert not Path("mlruns").exists()
    kept = model.read_bytes()
    model.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(StateError, match="it was not loaded"):
        load_model(store, recipe.name, version=logged.version)
    model.write_bytes(kept)
    # A killed server comes back where it was, with what it had.
    port, pid = port_of(running), kill(running)
    (status,) = running.up()
    assert (status.ports["port"], status.ready) == (port, True)
    assert status.pid not in (None, pid)
    again = load_model(store, recipe.name, version=logged.version)
    assert again.features == recipe.features


def test_up_again_starts_nothing(running: Stack) -> None:
    before = status_of(running).pid
    assert before is not None
    (status,) = running.up()
    assert (status.service, status.pid, status.ready) == ("mlflow", before, True)


def test_it_is_one_process_on_this_machine_only(running: Stack) -> None:
    status = status_of(running)
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    listening = {line.split()[1] for line in lines if line.split()[3] == "0A"}
    assert f"0100007F:{status.ports['port']:04X}" in listening
    assert f"00000000:{status.ports['port']:04X}" not in listening
    children = Path(f"/proc/{status.pid}/task/{status.pid}/children").read_text("ascii")
    assert children.strip() == ""


def test_the_doctor_says_whether_it_answers(running: Stack, tmp_path: Path) -> None:
    environ = {"TWINLAKE_STACK": str(running.folder)}
    (there,) = doctor._tracking(load_settings(tmp_path, "stack", environ=environ))
    assert (there.ok, there.found) == (True, f"{address(status_of(running).ports)} answers")


def test_a_stopped_server_does_not_answer_but_is_ended(
    running: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootstrap.services.mlflow_server._ANSWER_S", 1)
    pid = status_of(running).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    status = status_of(running)
    assert (status.running, status.ready) == (True, False)
    assert running.down() == ["mlflow"]
    assert running.down() == []
    assert status_of(running).running is False
    (status,) = running.up()  # a module's tests share the server; each leaves it running
    assert status.ready


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    found = idle_stack(tmp_path / "stack", services=["mlflow"])
    data = found.folder / "mlflow" / "data"
    data.mkdir(parents=True)
    (data / "mlflow.sqlite").write_text("a text where a database must be")
    with pytest.raises(EnvironmentFailure, match="ended while it started") as failure:
        found.up(own_ports(["mlflow"]))
    assert "file is not a database" in str(failure.value)
    assert str(failure.value).count("output.log") >= 1
    assert [status.running for status in found.status()] == [False]
