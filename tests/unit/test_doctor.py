"""The doctor finds what is broken, and only that."""

import importlib.metadata
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from twinlake.assurance import doctor, kafka_probe, tracking_probe
from twinlake.assurance.doctor import Finding, examine, free_memory_bytes, locked_versions
from twinlake.java import checkout, read_jars_lock
from twinlake.settings import Settings, load_settings


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"TWINLAKE_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def settings(tmp_path: Path, environ: dict[str, str]) -> Settings:
    return load_settings(tmp_path / "project", environ=environ)


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_every_part_is_looked_at(settings: Settings, environ: dict[str, str]) -> None:
    names = [finding.name for finding in examine(settings, environ)]
    assert names == [
        "Python", "Java", "jars", "numpy", "pyspark", "delta-spark",
        "state folder", "free disk", "free memory", "PYSPARK_PYTHON",
    ]  # fmt: skip


def test_a_finding_has_a_fix_exactly_when_something_is_wrong(
    settings: Settings, environ: dict[str, str]
) -> None:
    for finding in examine(settings, environ):
        assert bool(finding.fix) is not finding.ok, finding
        assert finding.found
        assert finding.expected


def test_this_python_and_its_packages_are_right(settings: Settings) -> None:
    findings = _by_name(examine(settings, {}))
    for name in ("Python", "numpy", "pyspark", "delta-spark", "PYSPARK_PYTHON"):
        assert findings[name].ok, findings[name]


def test_missing_jars_are_found(settings: Settings, environ: dict[str, str]) -> None:
    finding = _by_name(examine(settings, environ))["jars"]
    assert not finding.ok
    assert "bash bootstrap/setup" in finding.fix


def test_damaged_jars_are_found(settings: Settings, environ: dict[str, str]) -> None:
    settings.jars.mkdir(parents=True)
    root = checkout()
    assert root is not None
    for jar in read_jars_lock(root / "bootstrap" / "jars.lock"):
        (settings.jars / jar.file).write_bytes(b"half a jar")
    finding = _by_name(examine(settings, environ))["jars"]
    assert not finding.ok
    assert "delta-storage-3.3.2.jar" in finding.found


def test_a_version_off_the_lock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0.1")
    finding = doctor._package("numpy")
    assert not finding.ok
    assert finding.found == "0.0.1"
    assert finding.expected in locked_versions("numpy")


def test_the_lock_is_read_by_whole_names(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "delta==1\ndelta-spark==3.3.2 ; python_version > '3'\n    --hash=delta-spark==9\n"
    )
    assert locked_versions("delta-spark", lock) == {"3.3.2"}
    assert locked_versions("spark", lock) == set()


def test_looking_makes_no_folder(settings: Settings, environ: dict[str, str]) -> None:
    examine(settings, environ)
    assert not settings.state.exists()


def test_a_state_that_cannot_be_a_folder_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    finding = doctor._state(file / "state")
    assert not finding.ok
    assert str(file) in finding.fix


def test_too_little_memory_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_memory_bytes", lambda: 1 << 30)
    finding = doctor._memory(settings)
    assert (finding.ok, finding.found) == (False, "1.0 GiB")


def test_a_container_limits_the_memory(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    assert free_memory_bytes(tmp_path) is None
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   4000 kB\n")
    assert free_memory_bytes(tmp_path) == 4000 * 1024
    (group / "memory.current").write_text("1024\n")
    (group / "memory.max").write_text("max\n")
    assert free_memory_bytes(tmp_path) == 4000 * 1024
    (group / "memory.max").write_text("2048\n")
    assert free_memory_bytes(tmp_path) == 1024


def test_another_worker_python_is_found(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 3.9\n")
    other.chmod(0o755)
    finding = doctor._worker_python({"PYSPARK_PYTHON": str(other)})
    assert not finding.ok
    assert "(3.9)" in finding.found
    assert doctor._worker_python({"PYSPARK_PYTHON": sys.executable}).ok
    assert not doctor._worker_python({"PYSPARK_PYTHON": str(tmp_path / "none")}).ok


@contextmanager
def _server(answer: bytes) -> Iterator[int]:
    """A server that sends these bytes, whatever it is asked, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield listening.getsockname()[1]
        serving.join(10)


def _cluster(*brokers: int, controller: int, number: int = 1) -> bytes:
    listed = b"".join(
        broker.to_bytes(4, "big") + b"\0\1h" + (9092).to_bytes(4, "big") + b"\xff\xff"
        for broker in brokers
    )
    body = number.to_bytes(4, "big") + len(brokers).to_bytes(4, "big") + listed
    body += controller.to_bytes(4, "big", signed=True)
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_cluster(1, controller=1), None),
        (_cluster(3, 1, controller=1), None),
        (_cluster(controller=-1), "lists no broker"),
        (_cluster(1, controller=-1), "no controller"),
        (_cluster(1, controller=1, number=2), "does not speak Kafka"),
        (_cluster(1, controller=1)[:20], "closed the connection"),
        (b"\0\0\0\x08\0\0\0\1\0\0\0\7", "does not speak Kafka"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak Kafka"),
        (b"", "closed the connection"),
    ],
)
def test_only_a_cluster_that_works_is_one(answer: bytes, told: str | None) -> None:
    with _server(answer) as port:
        found = kafka_probe.problem("127.0.0.1", port, 10)
    assert (found is None) if told is None else (told in str(found))


def test_a_silent_server_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert kafka_probe.problem("127.0.0.1", silent.getsockname()[1], 0.2) is not None


def test_every_server_of_a_stream_is_looked_at(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, _server(_cluster(1, controller=1)) as one:
        closed = taken.getsockname()[1]
        taken.close()
        environ = {"TWINLAKE_STREAM_BOOTSTRAP": f"127.0.0.1:{closed},127.0.0.1:{one}"}
        refused, answered = doctor._stream(load_settings(tmp_path, environ=environ))
    assert (refused.name, refused.ok, answered.ok) == ("Kafka", False, True)
    assert f"127.0.0.1:{closed}: Connection refused" in refused.found
    assert "bootstrap/stack up" in refused.fix
    assert answered.fix == ""


def _http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_http("200 OK", '{"experiment": {"experiment_id": "0"}}'), None),
        # The default experiment may be deleted, and a server may ask who is there.
        (_http("404 Not Found", '{"error_code": "RESOURCE_DOES_NOT_EXIST"}'), None),
        (_http("401 Unauthorized", "You are not authenticated."), None),
        (_http("200 OK", "<html>a page</html>"), "it answers 200 OK"),
        (_http("404 Not Found", "[]"), "it answers 404 Not Found"),
        (_http("503 Service Unavailable", '{"error_code": "TEMPORARILY_UNAVAILABLE"}'), "503"),
        (b"\0\0\0\x08 no HTTP\r\n\r\n", "does not speak HTTP"),
        (b"", "closed connection"),
    ],
)
def test_only_a_server_of_mlflow_is_one(answer: bytes, told: str | None) -> None:
    with _server(answer) as port:
        found = tracking_probe.problem("http" + f"://127.0.0.1:{port}", 10)
    assert (found is None) if told is None else (told in str(found))


def test_a_silent_server_of_mlflow_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = "http" + f"://127.0.0.1:{silent.getsockname()[1]}"
        assert tracking_probe.problem(uri, 0.2) == "no answer within 0.2 s"
    assert tracking_probe.problem(uri, 5) == "Connection refused"


def test_mlflow_is_looked_at_where_it_is_a_server(tmp_path: Path) -> None:
    assert doctor._tracking(load_settings(tmp_path, environ={})) == []
    with _server(_http("200 OK", '{"experiment": {}}')) as port:
        uri = "http" + f"://127.0.0.1:{port}"
        (found,) = doctor._tracking(
            load_settings(tmp_path, environ={"TWINLAKE_MLFLOW_TRACKING": uri})
        )
    assert (found.name, found.ok, found.found) == ("MLflow", True, f"{uri} answers")
    (gone,) = doctor._tracking(load_settings(tmp_path, environ={"TWINLAKE_MLFLOW_TRACKING": uri}))
    assert (gone.ok, gone.found) == (False, f"{uri}: Connection refused")
    assert "bootstrap/stack up" in gone.fix
