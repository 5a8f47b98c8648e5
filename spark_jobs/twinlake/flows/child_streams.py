"""Streams in processes of their own, which can be killed as a power cut would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twinlake.errors import EnvironmentFailure
from twinlake.settings import Settings

# What the environment says of a state, for a process that works on another one.
_OF_THE_STATE = ("TWINLAKE_STATE", "TWINLAKE_STREAM_BOOTSTRAP", "TWINLAKE_CONF")
_LOOK_S = 0.1
_PATIENCE_S = 1_800


def write_conf(settings: Settings, folder: Path, name: str) -> Path:
    """Write a conf file for processes that work with embedded parts beside this one.

    Args:
        settings: Whose machine to use: master, memory, jars, Java.
        folder: The conf folder, made.
        name: The environment's name.
    """
    told: dict[str, dict[str, str | int]] = {
        "spark": {
            "master": settings.spark_master,
            "driver_memory": settings.driver_memory,
            "shuffle_partitions": settings.shuffle_partitions,
            "jars": str(settings.jars),
        },
        "java": {"home": str(settings.java_home or "")},
    }
    folder.mkdir(parents=True)
    lines = []
    for section, values in told.items():
        # JSON's strings and numbers are TOML's, too.
        lines += [f"[{section}]", *(f"{key} = {json.dumps(v)}" for key, v in values.items()), ""]
    (folder / f"{name}.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder


class ChildStream:
    """`twinlake stream VIEWS --once` in a process of its own.

    Args:
        settings: The project, the environment's name, the state.
        conf: The conf folder, as ``write_conf`` makes it.
        views: The views to publish.
        sources: Source name to the place that it is read from.
        crash_point: Where it is killed, see ``crash_points``; nowhere if empty.
        environ: The environment variables.
    """

    def __init__(
        self,
        settings: Settings,
        conf: Path,
        views: Sequence[str],
        sources: Mapping[str, Path],
        crash_point: str,
        environ: Mapping[str, str],
    ) -> None:
        command = [sys.executable, "-m", "twinlake.cli.main", "-C", str(settings.project)]
        command += ["--env", settings.env, "--state", str(settings.state)]
        for name, path in sources.items():
            command += ["--source", f"{name}={path}"]
        command += ["stream", *views, "--once", "--max-files", "1"]
        told = {name: value for name, value in environ.items() if name not in _OF_THE_STATE}
        told |= {"TWINLAKE_CONF": str(conf), "TWINLAKE_CRASH_POINT": crash_point}
        # The same twinlake, wherever this one was imported from.
        told["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            command,
            env=told,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        pipe: Any = self._process.stderr
        with pipe:
            for line in pipe:
                self._lines.append(line.rstrip())

    def wait_until_it_streams(self) -> None:
        """Wait until it reads its first batch, or ended."""
        until = time.monotonic() + _PATIENCE_S
        while self._process.poll() is None and time.monotonic() < until:
            if any(line.startswith("streaming ") for line in list(self._lines)):
                return
            time.sleep(_LOOK_S)

    def wait(self) -> bool:
        """Wait until it ended; tell whether it was killed at its crash point.

        Raises:
            EnvironmentFailure: It failed; with what it said.
        """
        code = self._process.wait(_PATIENCE_S)
        if code == -signal.SIGKILL:
            return True
        self._reader.join(_PATIENCE_S)
        if code != 0:
            said = [line for line in self._lines if line.startswith(("twinlake:", "Hint:"))]
            raise EnvironmentFailure(
                f"a stream ended with {code}: {' '.join(said or self._lines[-3:])}"
            )
        return False

    def end(self) -> None:
        """End it and all that it started, if it runs."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_PATIENCE_S)
