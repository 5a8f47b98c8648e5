"""bootstrap/stack: what it starts it finds, keeps and ends, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap import jvm, stack
from bootstrap.services import processes
from bootstrap.services.cassandra_server import JARS, CassandraServer
from bootstrap.services.processes import LOOPBACK, free_port
from bootstrap.stack import Stack
from tests.stack.servers import client, idle_stack, kill, own_ports, port_of, private_stack
from twinlake.errors import EnvironmentFailure
from twinlake.java import jars_folder
from twinlake.settings import load_settings


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A folder with a space and a quote: paths reach YAML, a command line and a URI.
    with private_stack(tmp_path_factory.mktemp('a "stack"')) as found:
        yield found


def pid_of(found: Stack) -> int | None:
    (status,) = found.status()
    return status.pid


def up_again(found: Stack) -> None:
    """A module's tests share the server; each leaves it running."""
    found.up()
    assert [status.ready for status in found.status()] == [True]


def test_up_again_starts_nothing(running: Stack) -> None:
    before = pid_of(running)
    assert before is not None
    (status,) = running.up()
    assert (status.pid, status.running, status.ready) == (before, True, True)


def test_it_listens_on_this_machine_only(running: Stack) -> None:
    ports = running.status()[0].ports.values()
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    listening = {line.split()[1] for line in lines if line.split()[3] == "0A"}
    assert {f"0100007F:{port:04X}" for port in ports} <= listening
    assert not {f"00000000:{port:04X}" for port in ports} & listening


def test_killed_server_comes_back_with_its_data_and_port(running: Stack) -> None:
    port = port_of(running)
    session = client(port)
    session.execute(
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
    )
    session.execute("CREATE TABLE k.t (k int PRIMARY KEY)")
    for key in range(100):
        session.execute("INSERT INTO k.t (k) VALUES (%s)", [key])
    pid = kill(running)
    session.cluster.shutdown()
    client.cache_clear()
    with subprocess.Popen(["sleep", "600"]) as foreign:
        # The pid file now names a process that is none of ours.
        (running.folder / "cassandra" / "pid").write_text(f"{foreign.pid}\n")
        assert [status.running for status in running.status()] == [False]
        running.down()
        assert foreign.poll() is None
        up_again(running)
        assert foreign.poll() is None
        foreign.terminate()
    assert port_of(running) == port
    assert pid_of(running) not in (None, pid, foreign.pid)
    assert len(list(client(port).execute("SELECT k FROM k.t"))) == 100


def test_a_lost_pid_file_loses_no_server(running: Stack) -> None:
    before = pid_of(running)
    (running.folder / "cassandra" / "pid").unlink()
    assert pid_of(running) == before
    up_again(running)
    assert pid_of(running) == before


def test_a_stopped_server_does_not_answer_but_is_ended(
    running: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootstrap.services.cassandra_server._ANSWER_S", 1)
    pid = pid_of(running)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    (status,) = running.status()
    assert (status.running, status.ready) == (True, False)
    assert running.down() == ["cassandra"]
    assert running.down() == []
    assert not Path(f"/proc/{pid}/cmdline").exists() or not processes._is_marked(
        pid, running.folder / "cassandra"
    )
    assert [status.running for status in running.status()] == [False]
    up_again(running)


def test_what_was_started_is_found_at_once(tmp_path: Path) -> None:
    # A command line is empty for a moment after the start: one of five was taken for ended.
    command = [
        sys.executable,
        "-X",
        processes.marker(tmp_path),
        "-I",
        "-c",
        "import time; time.sleep(60)",
    ]
    for _ in range(50):
        started = processes.start(tmp_path, command, tmp_path / "output.log", os.environ)
        found = processes.find(tmp_path)
        started.kill()
        started.wait()
        assert found == started.pid


def test_the_command_tells_by_exit_code_and_json(running: Stack, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bootstrap.stack", *arguments],
            cwd=stack.__file__.rpartition("/bootstrap/")[0],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    there = run("status", "--json", "cassandra", "--folder", str(running.folder))
    assert there.returncode == 0
    (told,) = json.loads(there.stdout)["services"]
    assert told["pid"] == pid_of(running)
    assert told["ready"] is True
    nothing = run("status", "--folder", str(tmp_path / "none"))
    assert (nothing.returncode, "stopped" in nothing.stdout) == (1, True)
    assert not (tmp_path / "none").exists()
    assert run("down", "--folder", str(tmp_path / "none")).returncode == 0
    assert run("up", "--port", "mysql=1").returncode == 2
    assert run("up", "cassandra", "--port", "kafka=1").returncode == 2
    unknown = run("up", "kafak")
    assert (unknown.returncode, "cassandra, kafka" in unknown.stderr) == (2, True)
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        other_folder = ("--folder", str(tmp_path / "other"))
        taken = run("up", "cassandra", *other_folder, "--port", f"cassandra={port}")
    assert taken.returncode == 3
    assert f"cannot listen on port {port}" in taken.stderr
    assert "Traceback" not in taken.stderr


def test_settings_follow_the_endpoints(running: Stack, tmp_path: Path) -> None:
    environ = {"TWINLAKE_STACK": str(running.folder)}
    settings = load_settings(tmp_path, "stack", environ=environ)
    assert (settings.online_kind, settings.cassandra.port) == ("cassandra", port_of(running))
    assert settings.state.name == ".twinlake-stack"


def test_preferred_ports_that_are_taken_are_passed_over() -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        taken = other.getsockname()[1]
        free = free_port(())
        assert free_port([taken, free]) == free
        assert free_port([taken]) not in (taken, 0)
        assert free_port([free], [free]) != free


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    found = idle_stack(tmp_path / "stack")
    place = found.folder / "cassandra"
    place.mkdir(parents=True)
    (place / "data").write_text("a file where a folder must be")
    with pytest.raises(EnvironmentFailure, match="ended while it started") as failure:
        found.up(own_ports())
    assert "system.log" in str(failure.value)
    assert [status.running for status in found.status()] == [False]


def test_half_a_jar_is_fetched_again_and_without_network_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jvm, "PAUSES_S", ())
    nowhere = f"{LOOPBACK}:{free_port(())}"
    environ = {
        **os.environ,
        "TWINLAKE_CACHE": str(tmp_path / "cache"),
        **dict.fromkeys(("http_proxy", "https_proxy"), "http" + f"://{nowhere}"),
    }
    environ.pop("TWINLAKE_IVY_SETTINGS", None)
    folder = jars_folder(environ, JARS)
    folder.mkdir(parents=True)
    whole = jars_folder(os.environ, JARS)
    for jar in jvm.locked([JARS]):
        (folder / jar.file).symlink_to(whole / jar.file)
    CassandraServer().fetch(environ)  # all there: no network is asked
    (folder / "jamm-0.4.0.jar").unlink()
    (folder / "jamm-0.4.0.jar").write_bytes((whole / "jamm-0.4.0.jar").read_bytes()[:1000])
    found = idle_stack(tmp_path / "stack", environ)
    with pytest.raises(EnvironmentFailure, match="was not fetched") as failure:
        found.up(own_ports())
    assert "check the network" in str(failure.value)
    assert "jamm-0.4.0.jar: SHA-256 is" in capsys.readouterr().err
    assert [status.running for status in found.status()] == [False]
