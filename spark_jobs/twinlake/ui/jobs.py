"""Jobs that a page starts: the command's own verbs, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from twinlake.serving.problems import Refusal

_LINES_KEPT = 200
_LINE_LENGTH = 500
_LONGEST_ANSWER = 4 << 20
_STOP_S = 10
RUNNING, DONE, FOUND, FAILED = "running", "done", "found something", "failed"


@dataclass
class Job:
    """One run of a verb.

    Attributes:
        name: What it is, such as ``parity``; one of a name runs at a time.
        arguments: The verb and what follows it.
        began_us: When it was started.
        lines: What it said, the newest last.
        status: ``running``, ``done``, ``found something`` (exit 1) or ``failed``.
        ended_us: When it ended.
        answer: The object that it printed; None until it ended, or where it is none.
    """

    name: str
    arguments: Sequence[str]
    began_us: int
    process: subprocess.Popen[str]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))
    status: str = RUNNING
    ended_us: int | None = None
    answer: dict[str, Any] | None = None

    @property
    def command(self) -> str:
        """What a person would type."""
        return "twinlake " + " ".join(self.arguments)

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self.status == RUNNING

    def document(self) -> dict[str, Any]:
        """Write down how it goes, for the page's script."""
        return {"status": self.status, "lines": list(self.lines)}


class Jobs:
    """The jobs of this process.

    Args:
        command: The ``twinlake`` command up to the verb.
        environ: The environment variables that they get.
        now_us: Gives the present.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], now_us: Callable[[], int]
    ) -> None:
        self._command, self._environ, self._now_us = command, environ, now_us
        self._lock = threading.Lock()
        self._newest: dict[str, Job] = {}

    def newest(self, name: str) -> Job | None:
        """Give the job of a name that was started last."""
        return self._newest.get(name)

    def start(self, name: str, arguments: Sequence[str]) -> Job:
        """Start a job.

        Raises:
            Refusal: One of that name runs.
        """
        with self._lock:
            held = self._newest.get(name)
            if held is not None and held.is_running:
                raise Refusal(
                    409, f"{held.command} runs already", hint="wait for its end; the page shows it"
                )
            process = subprocess.Popen(
                [*self._command, "--json", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=dict(self._environ),
                start_new_session=True,  # a Ctrl-C here is not meant for it; ``stop`` tells it
            )
            job = self._newest[name] = Job(name, arguments, self._now_us(), process)
        threading.Thread(target=self._follow, args=(job,), daemon=True).start()
        return job

    def _follow(self, job: Job) -> None:
        said: list[str] = []
        assert job.process.stdout is not None  # noqa: S101 (piped above; tells mypy)
        stdout = job.process.stdout
        reader = threading.Thread(target=lambda: said.append(stdout.read(_LONGEST_ANSWER)))
        reader.start()
        with job.process as process:  # which closes what it was read from
            for line in process.stderr or ():
                job.lines.append(line.rstrip("\n")[:_LINE_LENGTH])
            reader.join()
        code = job.process.returncode
        with suppress(ValueError, IndexError):
            found = json.loads(said[0])
            job.answer = found if isinstance(found, dict) else None
        job.ended_us = self._now_us()
        job.status = {0: DONE, 1: FOUND}.get(code, FAILED)

    def stop(self) -> None:
        """End what runs, as a supervisor would: every verb may be ended at any moment."""
        with self._lock:
            running = [job for job in self._newest.values() if job.is_running]
        for kind in (signal.SIGTERM, signal.SIGKILL):
            for job in running:
                with suppress(ProcessLookupError):
                    os.killpg(job.process.pid, kind)
            for job in running:
                with suppress(subprocess.TimeoutExpired):
                    job.process.wait(_STOP_S)
