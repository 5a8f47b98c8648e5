"""Real twinlake processes: started, watched, stopped where a crash point says, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

COMMAND = Path(sys.prefix) / "bin" / "twinlake"
# Hundreds of small jobs, each seen once: compiling them well costs more than it gives.
SMALL = {
    "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData -Xshare:auto",
    "TWINLAKE_DRIVER_MEMORY": "800m",
    "TWINLAKE_SHUFFLE_PARTITIONS": "2",
    "TWINLAKE_SPARK_MASTER": "local[2]",
}
PATIENCE_S = 600
Found = TypeVar("Found")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    answer: str
    told: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.answer)
        return found

    @property
    def message(self) -> str:
        """What the user reads: error and hint, without progress and Java's own lines."""
        lines = self.told.splitlines()
        return "\n".join(line for line in lines if line.startswith(("twinlake:", "Hint:")))


class Running:
    """A twinlake process, leader of a session of its own that Java and its workers belong to."""

    def __init__(self, arguments: Sequence[str | Path], environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **SMALL, **environ},
            start_new_session=True,
        )
        self.pid = self.process.pid
        self._said: dict[str, str] = {}
        # Java keeps the pipes open for a moment after its parent was killed; nobody waits for that.
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe), daemon=True)
            for name, pipe in (("answer", self.process.stdout), ("told", self.process.stderr))
            if pipe is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                self._said[name] = self._said.get(name, "") + line

    def wait(self) -> Ended:
        code = self.process.wait(PATIENCE_S)
        if code >= 0:
            for reader in self._readers:
                reader.join(60)
        return Ended(code, self._said.get("answer", ""), self.told)

    @property
    def told(self) -> str:
        """What it said on standard error so far."""
        return self._said.get("told", "")

    def wait_until_stopped(self) -> None:
        """Wait until it stands still at its crash point."""
        wait_for(
            lambda: self.state() == "T" or self.process.poll() is not None, "a stopped process"
        )
        assert self.process.poll() is None, self.told

    def state(self) -> str:
        return state_of(self.pid)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def members(self) -> list[int]:
        """The living processes of the session."""
        return [pid for pid in pids() if session_of(pid) == self.pid and state_of(pid) not in "ZX"]

    def stop_all(self) -> None:
        """Let the whole session stand still."""
        for pid in self.members():
            os.kill(pid, signal.SIGSTOP)

    def continue_all(self) -> None:
        """Let what stands still go on."""
        for pid in self.members():
            os.kill(pid, signal.SIGCONT)

    def kill_all(self) -> None:
        """Kill the whole session: what a power cut does."""
        for pid in self.members():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return ["X", "0", "0", "0"]
    return text.rpartition(")")[2].split()  # the name before it may hold anything


def state_of(pid: int) -> str:
    """R, S, D, T for stopped, Z for dead but not waited for; X for gone."""
    return _stat(pid)[0]


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def session_of(pid: int) -> int:
    return int(_stat(pid)[3])


def wait_for(found: Callable[[], Found], what: str, seconds: float = PATIENCE_S) -> Found:
    """Poll until something is there."""
    deadline = time.monotonic() + seconds
    while not (there := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.002)
    return there


@contextmanager
def no_process_left() -> Iterator[list[Running]]:
    """Kill what is left of the processes that are put into the list; a leftover is a failure."""
    started: list[Running] = []
    try:
        yield started
        # Java leaves by itself when the process that started it is gone.
        for one in started:
            wait_for(lambda one=one: not one.members(), "Java to leave", 60)  # type: ignore[misc]
    finally:
        for one in started:
            if one.members():
                one.kill_all()
