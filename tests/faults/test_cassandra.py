"""Cassandra stands still, dies, or dies and comes back, in the middle of a publication."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.stack import Stack
from tests.faults import small_lake
from tests.faults.conftest import Lake
from tests.faults.laws import State, check_whole
from tests.faults.processes import Ended, Running, no_process_left
from tests.stack.servers import kill, port_of, private_stack

STILL_S = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with private_stack(tmp_path_factory.mktemp("cassandra")) as found:
        yield found


class Online:
    """A state whose online store is the server."""

    def __init__(self, lake: Lake, server: Stack, folder: Path) -> None:
        self.lake = lake
        self.server = server
        self.state = State(folder)

    def start(self, *verb: str, **environ: str) -> Running:
        return self.lake.start(
            self.state,
            *verb,
            before=("--env", "stack"),
            TWINLAKE_ONLINE_PORT=str(port_of(self.server)),
            TWINLAKE_STACK=str(self.state.folder / "no-stack"),
            **environ,
        )

    def run(self, *verb: str) -> Ended:
        with no_process_left() as started:
            started.append(self.start(*verb))
            return started[0].wait()

    def stopped_amid_writes(self, started: list[Running]) -> Running:
        running = self.start("materialize", TWINLAKE_CRASH_POINT="publishing.chunk_sent:2:stop")
        started.append(running)
        running.wait_until_stopped()
        return running

    def check_complete(self) -> None:
        check_whole(self.state)
        found = self.run("parity", "--all")
        assert found.code == 0, found.told
        assert found.document["mismatching"] == 0
        assert found.document["keys"] == small_lake.METERS
        again = self.run("materialize")
        assert again.code == 0, again.told
        assert set(again.document["views"].values()) == {None}


@pytest.fixture
def online(lake: Lake, server: Stack, tmp_path: Path) -> Online:
    made = Online(lake, server, tmp_path / "state")
    assert made.run("apply").code == 0
    return made


def test_a_server_that_stands_still_for_a_while_is_waited_for(online: Online) -> None:
    with no_process_left() as started:
        running = online.stopped_amid_writes(started)
        (status,) = online.server.status()
        assert status.pid is not None
        os.kill(status.pid, signal.SIGSTOP)
        try:
            running.go_on()
            time.sleep(STILL_S)  # the fault itself
        finally:
            os.kill(status.pid, signal.SIGCONT)
        ended = running.wait()
    assert ended.code == 0, ended.told
    online.check_complete()


def test_a_server_that_comes_back_is_written_to_the_end(online: Online) -> None:
    with no_process_left() as started:
        running = online.stopped_amid_writes(started)
        kill(online.server)
        back = threading.Thread(target=online.server.up)
        back.start()
        running.go_on()
        ended = running.wait()
        back.join(600)
    assert ended.code == 0, ended.told
    online.check_complete()


def test_a_server_that_stays_away_is_named_and_the_next_run_completes(online: Online) -> None:
    with no_process_left() as started:
        running = online.stopped_amid_writes(started)
        kill(online.server)
        running.go_on()
        ended = running.wait()
    try:
        assert ended.code == 3, (ended.code, ended.told)
        assert f"127.0.0.1:{port_of(online.server)}" in ended.message
        assert "Traceback" not in ended.told
    finally:
        online.server.up()
    assert online.run("materialize").code == 0
    online.check_complete()
