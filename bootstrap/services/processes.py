"""Server processes that outlive the command that started them, and are never mistaken for others.

A process belongs to a service when its command line carries the service's marker, so neither a
stale pid file nor a pid that another program has got by now can lead to a wrong kill.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from twinlake.errors import EnvironmentFailure

LOOPBACK = "127.0.0.1"
PROC = Path("/proc")
_TERMINATION_S = 30
_KILL_S = 10
_LET_GO_S = 5
_POLL_S = 0.1
# Python warns of a child whose object it forgets while it runs; these are meant to outlive us.
_started: list[subprocess.Popen[bytes]] = []


def marker(folder: Path) -> str:
    """The argument that every process of the service in this folder was started with."""
    return f"-Dtwinlake.service={folder}"


def find(folder: Path) -> int | None:
    """The pid of the service's process, or None; a pid file is a hint, the marker decides."""
    hint = recorded_pid(folder)
    if hint is not None and _is_marked(hint, folder):
        return hint
    for entry in PROC.iterdir():
        if entry.name.isdigit() and _is_marked(int(entry.name), folder):
            return int(entry.name)
    return None


def recorded_pid(folder: Path) -> int | None:
    """What the pid file says; the process may be gone, or be another one by now."""
    try:
        return int((folder / "pid").read_text("ascii"))
    except (OSError, ValueError):
        return None


def start(
    folder: Path, command: Sequence[str], log: Path, environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, its output into ``log``, its pid in the pid file."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environ),
            start_new_session=True,  # the terminal's signals are not for it
        )
    _started.append(process)
    _wait_for_marker(process, folder)
    fresh = folder / "pid.new"
    fresh.write_text(f"{process.pid}\n", "ascii")
    fresh.replace(folder / "pid")
    return process


def _wait_for_marker(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the command line can be read: for a moment after its start it is empty."""
    until = time.monotonic() + _LET_GO_S
    while process.poll() is None and not _is_marked(process.pid, folder):
        if time.monotonic() > until:
            return
        time.sleep(_POLL_S / 10)


def stop(folder: Path) -> bool:
    """End the service's process and wait until it is gone; False when there was none.

    Raises:
        EnvironmentFailure: It did not end, not even when killed.
    """
    pid = find(folder)
    found = pid is not None
    if pid is not None:
        with suppress(ProcessLookupError):  # it ended by itself meanwhile
            _end(pid, folder)
    (folder / "pid").unlink(missing_ok=True)
    return found


def _end(pid: int, folder: Path) -> None:
    # The descriptor holds on to this very process: once it is open, the pid cannot become
    # another's unnoticed.
    process = os.pidfd_open(pid)
    try:
        if not _is_marked(pid, folder):
            return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        signal.pidfd_send_signal(process, signal.SIGCONT)  # one that is stopped hears nothing else
        if _has_ended(process, _TERMINATION_S):
            return
        signal.pidfd_send_signal(process, signal.SIGKILL)
        if not _has_ended(process, _KILL_S):
            raise EnvironmentFailure(f"process {pid} does not end", hint=f"look at ps -p {pid}")
    finally:
        os.close(process)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # where this process started it


def _has_ended(process: int, seconds: float) -> bool:
    return bool(select.select([process], [], [], seconds)[0])


def _is_marked(pid: int, folder: Path) -> bool:
    """Whether a live process carries the marker; the command line of a zombie is empty."""
    try:
        arguments = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(marker(folder)) in arguments


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        # As servers do: a port whose old connections are still winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_let_go(port: int) -> bool:
    """Whether a port is free, or becomes free within a moment.

    A server that was just killed holds its port a little longer than its pid tells.
    """
    until = time.monotonic() + _LET_GO_S
    while not is_free(port):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True


def free_port(preferred: Sequence[int], taken: Sequence[int] = ()) -> int:
    """The first preferred port that is free, else any; never one of ``taken``."""
    for port in preferred:
        if port not in taken and is_free(port):
            return port
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
