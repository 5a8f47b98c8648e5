"""MLflow that is down or cannot write is told before any work; trainers at once do not mix."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.unit.bad_input.test_environment import bound_by_rights
from tests.unit.models.applicants import applicants
from twinlake.errors import EnvironmentFailure
from twinlake.models.mlflow_session import TrackingStore, mlflow_at, require_tracking
from twinlake.models.registered import load_champion, load_model

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_down_is_told_at_once(closed_port: int, tmp_path: Path) -> None:
    address = f"http://ada:secret@127.0.0.1:{closed_port}"
    with pytest.raises(EnvironmentFailure, match=rf"127\.0\.0\.1:{closed_port} failed") as failure:
        require_tracking(TrackingStore(address, str(tmp_path / "artifacts"), "x"))
    assert "conf/" in str(failure.value.hint)
    assert "secret" not in str(failure.value)
    with pytest.raises(EnvironmentFailure, match="failed"):
        load_champion(TrackingStore(address, str(tmp_path), "x"), "x")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(EnvironmentFailure, match="file is not a database"):
        require_tracking(TrackingStore(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path), "x"))


def test_a_place_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for database, artifacts in (("file/mlflow.db", "artifacts"), ("mlflow.db", "file/artifacts")):
        store = TrackingStore(f"sqlite:///{tmp_path}/{database}", f"{tmp_path}/{artifacts}", "x")
        with pytest.raises(EnvironmentFailure, match=r"/file is no folder"):
            require_tracking(store)
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


PROBE = """
import sys
from twinlake.errors import EnvironmentFailure
from twinlake.models.mlflow_session import TrackingStore, require_tracking
try:
    require_tracking(TrackingStore(f"sqlite:///{sys.argv[1]}", f"file://{sys.argv[2]}", "x"))
except EnvironmentFailure as error:
    print(error)
    assert "mlflow" not in sys.modules, "it takes seconds to load"
"""


@pytest.mark.parametrize("spoilt", ["folder", "file", "artifacts"])
def test_a_place_without_permission_is_told(tmp_path: Path, spoilt: str) -> None:
    folder, artifacts = tmp_path / "folder", tmp_path / "artifacts"
    folder.mkdir()
    artifacts.mkdir()
    file = folder / "mlflow.db"
    if spoilt == "file":
        sqlite3.connect(file).execute("CREATE TABLE a (b)").connection.close()
    {"folder": folder, "file": file, "artifacts": artifacts}[spoilt].chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, file, artifacts],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT / "spark_jobs")},
        capture_output=True,
        text=True,
        preexec_fn=bound_by_rights,
        timeout=120,
        check=True,
    )
    told = {
        "folder": f"{folder} cannot be written to",
        "file": "its file cannot be read and written",
        "artifacts": f"it keeps files in {artifacts}: {artifacts} cannot be written to",
    }
    assert told[spoilt] in done.stdout
    assert "Hint: " in done.stdout


def test_a_place_that_takes_what_is_written_passes(tmp_path: Path) -> None:
    store = TrackingStore(f"sqlite:///{tmp_path}/new/mlflow.db", f"{tmp_path}/artifacts", "x")
    for _ in range(2):
        require_tracking(store)
    with mlflow_at(store.uri) as client:
        assert client.get_experiment_by_name("x").artifact_location == store.artifacts


def test_trainers_at_once_register_a_version_each(tmp_path: Path) -> None:
    uri, artifacts, begin = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts", "begin"
    environ = os.environ | {"PYTHONPATH": f"{CHECKOUT / 'spark_jobs'}:{CHECKOUT}"}
    program = Path(__file__).with_name("trainer.py")
    pipes = [tmp_path / f"{begin}{depth}" for depth in (1, 3)]
    trainers = []
    for depth, pipe in zip((1, 3), pipes, strict=True):
        os.mkfifo(pipe)
        command = [sys.executable, *map(str, (program, uri, artifacts, pipe, depth))]
        trainers.append(subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True))
    assert [t.stdout.readline() for t in trainers if t.stdout] == ["ready\n"] * 2
    for pipe in pipes:
        pipe.write_bytes(b"go")
    told = [trainer.communicate(timeout=240)[0].split() for trainer in trainers]
    assert [trainer.returncode for trainer in trainers] == [0, 0]
    hashes = {int(version): digest for version, digest in told}
    assert sorted(hashes) == [1, 2]
    assert hashes[1] != hashes[2]
    store = TrackingStore(uri, str(artifacts), "loans")
    with mlflow_at(uri) as client:
        for version, digest in hashes.items():
            found = client.get_model_version("loans", str(version))
            assert found.tags["twinlake.model_sha256"] == digest
            location = client.get_model_version_download_uri("loans", str(version))
            assert sha256(Path(location, "model.ubj").read_bytes()).hexdigest() == digest
    champion = load_champion(store, "loans")
    assert champion.version in hashes
    alone = load_model(store, "loans", version=champion.version)
    assert champion.predict(applicants()).tolist() == alone.predict(applicants()).tolist()
