"""A server in processes of its own, started as a user starts it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from twinlake.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass
class Server:
    """A server that runs, where it listens, and what it said so far."""

    process: subprocess.Popen[str]
    port: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> int:
        """Tell it to stop as a supervisor does, and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def served(settings: Settings, *told: str, conf: str = "") -> Iterator[Server]:
    """Run ``twinlake serve`` on a free port; ended afterwards, if need be by force."""
    folder = settings.state.parent / "conf"
    folder.mkdir(exist_ok=True)
    (folder / "local.toml").write_text(f"[serving]\nport = 0\n{conf}\n")
    command = [sys.executable, "-m", "twinlake.cli.main", "-C", str(settings.project)]
    command += ["--state", str(settings.state), "serve", *told]
    environ = {"PYTHONPATH": str(CHECKOUT / "spark_jobs"), "TWINLAKE_CONF": str(folder)}
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environ
    )
    server = Server(process)
    assert process.stderr is not None
    reader = Thread(target=server.said.extend, args=(process.stderr,), daemon=True)
    try:
        for line in process.stderr:
            server.said.append(line)
            if found := re.search(r"serving at http://127.0.0.1:(\d+),", line):
                server.port = int(found[1])
                break
        assert server.port, "".join(server.said)
        reader.start()
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if reader.ident is not None:
            reader.join(10)
        process.stderr.close()
