"""SIGKILL at every step of a stream's batch, and what the next start makes of it."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import Running, no_process_left, wait_for
from tests.spark.benches import Bench
from tests.spark.conftest import bench, module_bench
from tests.spark.test_streaming import (
    check_equal_to_one_batch,
    defined,
    line,
    payments,
    send,
    stream,
)
from twinlake import crash_points

__all__ = ["bench", "module_bench"]

VIEWS = ("activity", "history")
POINTS = tuple(
    name
    for name in crash_points.NAMES
    if name.startswith("streaming.") and name != "streaming.scored"
)


def start(bench: Bench, *verb: str, **environ: str) -> Running:
    arguments = ["-C", str(bench.root), "--state", str(bench.folder / "state"), "--json"]
    return Running([*arguments, "stream", *VIEWS, *verb], environ)


def test_a_stream_killed_at_one_step_after_the_other(bench: Bench, module_bench: Any) -> None:
    rows = payments(random.Random(21), 40 * (len(POINTS) + 1))
    defined(bench)
    pieces = [rows[at : at + 40] for at in range(0, len(rows), 40)]
    for number, (point, piece) in enumerate(zip(POINTS, pieces, strict=False)):
        send(bench, f"{number:02}", map(line, piece))
        ended = start(bench, "--once", "--max-files", "1", TWINLAKE_CRASH_POINT=point).wait()
        assert ended.code == -signal.SIGKILL, f"{point} was not reached: {ended.told}"
        events = bench.events("payments")
        assert len({(row["_version"], row["_row"]) for row in events}) == len(events)
    for number, piece in enumerate(pieces[len(POINTS) :], len(POINTS)):
        send(bench, f"{number:02}", map(line, piece))
    ended = start(bench, "--once").wait()
    assert ended.code == 0, ended.told
    # Nothing lost and nothing twice: each record is one row of the events table.
    assert len(bench.events("payments")) == len(rows)
    check_equal_to_one_batch(bench, module_bench(), rows)
    assert stream(bench, *VIEWS).batches == 0


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_stream_after_its_batch(
    bench: Bench, module_bench: Any, kind: signal.Signals
) -> None:
    rows = payments(random.Random(22), 60)
    defined(bench)
    send(bench, "0", map(line, rows))
    with no_process_left() as started:
        running = start(bench)
        started.append(running)
        wait_for(lambda: "accepted in" in running.told or running.process.poll(), "a batch")
        running.process.send_signal(kind)
        ended = running.wait()
    assert ended.code == 0, ended.told
    assert ended.document["sources"]["payments"]["read"] == len(rows)
    check_equal_to_one_batch(bench, module_bench(), rows)


def test_a_supervised_stream_begins_again_when_java_dies(bench: Bench, module_bench: Any) -> None:
    rows = payments(random.Random(23), 80)
    defined(bench)
    send(bench, "0", map(line, rows[:40]))
    with no_process_left() as started:
        running = start(bench, "--supervise")
        started.append(running)

        def batches_since(text: str) -> bool:
            _, found, after = running.told.partition(text)
            return running.process.poll() is not None or (bool(found) and "accepted in" in after)

        wait_for(lambda: batches_since("streaming"), "a batch")
        (java,) = (pid for pid in running.members() if name_of(pid) == "java")
        os.kill(java, signal.SIGKILL)
        send(bench, "1", map(line, rows[40:]))
        wait_for(lambda: batches_since("beginning again"), "a batch after it began again")
        running.process.send_signal(signal.SIGTERM)
        ended = running.wait()
    assert ended.code == 0, ended.told
    check_equal_to_one_batch(bench, module_bench(), rows)


def name_of(pid: int) -> str:
    return (Path("/proc") / str(pid) / "comm").read_text().strip()
