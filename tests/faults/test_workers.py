"""Python workers of Spark are killed in the middle of computing."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import Lake
from tests.faults.processes import Running, no_process_left, parent_of, state_of, wait_for
from tests.faults.test_kills import check_again

SPARE_BYTES = 64 << 20


def stopped_workers(running: Running) -> list[int]:
    return [pid for pid in running.members() if state_of(pid) == "T"]


@pytest.mark.parametrize("point", ["worker.feature_rows", "worker.online_rows"])
def test_a_worker_that_is_killed_once_is_made_up_for(lake: Lake, point: str) -> None:
    state = lake.copy("first")
    with no_process_left() as started:
        running = lake.start(state, "materialize", TWINLAKE_CRASH_POINT=f"{point}:stop")
        started.append(running)
        victim = wait_for(lambda: stopped_workers(running), "a worker at work")[0]
        os.kill(victim, signal.SIGKILL)

        def is_over() -> bool:
            for pid in stopped_workers(running):
                os.kill(pid, signal.SIGCONT)
            return running.process.poll() is not None

        wait_for(is_over, "the job to end")
        ended = running.wait()
    assert ended.code == 0, ended.told
    check_again(lake, state, "again")


def test_workers_that_die_every_time_are_an_error_and_the_next_run_completes(lake: Lake) -> None:
    state = lake.copy("first")
    ended = lake.run(state, "materialize", TWINLAKE_CRASH_POINT="worker.feature_rows")
    assert ended.code == 3, ended.told
    assert "a Python worker of Spark died again and again" in ended.message
    assert "run the command again" in ended.message
    assert lake.run(state, "materialize").code == 0
    check_again(lake, state, "again")


def test_workers_that_get_no_memory_are_an_error_and_the_next_run_completes(lake: Lake) -> None:
    state = lake.copy("first")
    with no_process_left() as started:
        running = lake.start(state, "materialize", TWINLAKE_CRASH_POINT="worker.feature_rows:stop")
        started.append(running)

        # Of all workers to come: what they begin with, and hardly more.
        victim = wait_for(lambda: stopped_workers(running), "a worker at work")[0]
        daemon = parent_of(victim)
        pages = int(Path(f"/proc/{daemon}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + SPARE_BYTES
        resource.prlimit(daemon, resource.RLIMIT_AS, (limit, limit))
        os.kill(victim, signal.SIGKILL)
        ended = running.wait()
    assert ended.code == 3, ended.told
    assert "a Python worker of Spark had not enough memory" in ended.message
    assert "run the command again" in ended.message
    assert lake.run(state, "materialize").code == 0
    check_again(lake, state, "again")
