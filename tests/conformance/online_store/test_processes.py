"""Two writing processes, and one that is killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.conformance.online_store.samples import METERS, meter
from tests.conformance.online_store.stores import Subject
from tests.conformance.online_store.writer import HOMES, ROUNDS
from twinlake.online.store import OnlineStore

ROOT = Path(__file__).parents[3]


def start(subject: Subject, *arguments: str) -> subprocess.Popen[str]:
    module = "tests.conformance.online_store.writer"
    return subprocess.Popen(
        [sys.executable, "-m", module, subject.name, subject.location, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'spark_jobs'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_end_in_the_greatest(subject: Subject, store: OnlineStore) -> None:
    writers = [start(subject, "compete", seed) for seed in ("1", "2")]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    newest = ROUNDS[-1] * 1000 + 2
    assert {row.key: row for row in store.scan(METERS)} == {
        (home,): meter(home, newest) for home in HOMES
    }


def test_killed_writer_leaves_whole_rows_and_writing_again_completes(
    subject: Subject, store: OnlineStore
) -> None:
    chance = random.Random(5)
    size = 2000
    for attempt in range(4):
        with start(subject, "endless", str(size)) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) >= 3000 * (attempt + 1):
                    break
            time.sleep(chance.uniform(0, 0.03))
            writer.kill()
        with subject.open() as again:
            left = list(again.scan(METERS))
            assert left == [meter(str(row.key[0]), 2000, size=size) for row in left]
            # Once a writer asks for row 3,000 or later, what it wrote before is there.
            assert {f"home{number}" for number in range(1000)} <= {row.key[0] for row in left}
    rows = [meter(f"home{number}", 2000, size=size) for number in range(len(left) + 1000)]
    report = store.write(METERS, rows)
    assert report.applied + report.skipped == len(rows)
    assert store.count(METERS) == len(rows)
    assert store.read(METERS, [row.key for row in rows]) == rows
