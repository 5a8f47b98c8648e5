"""The verb as a user starts it: in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest

from tests.unit.serving.shop import AS_OF_US
from tests.unit.ui.conftest import CHECKOUT
from twinlake.serving.problems import Refusal
from twinlake.settings import Settings
from twinlake.ui.jobs import Jobs


def test_the_pages_tell_where_they_are_and_stop_when_told(lender: Settings) -> None:
    command = [sys.executable, "-m", "twinlake.cli.main", "-C", str(lender.project)]
    process = subprocess.Popen(
        [*command, "--json", "ui", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(CHECKOUT / "spark_jobs")},
    )
    with process:
        try:
            assert process.stderr is not None
            found = re.search(r"pages at (http://127.0.0.1:\d+)", process.stderr.readline())
            assert found is not None
            with urlopen(f"{found[1]}/catalogue", timeout=30) as answer:  # noqa: S310
                assert b"area_features" in answer.read()
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(out) == {"pages_at": found[1]}


def test_a_job_ends_with_the_pages() -> None:
    program = "import threading; threading.Event().wait()"
    jobs = Jobs([sys.executable, "-c", program], {}, lambda: AS_OF_US)
    job = jobs.start("parity", ["parity"])
    assert job.command == "twinlake parity"
    with pytest.raises(Refusal, match="runs already"):
        jobs.start("parity", ["parity"])
    jobs.stop()
    assert job.process.returncode == -signal.SIGTERM
