"""Named places where a test makes the process die, as a power cut would, or stand still.

Without the environment variables a place costs one comparison and does nothing.

    TWINLAKE_CRASH_POINT   NAME         kill this process, by SIGKILL, where NAME is reached
                           NAME:2       ... where it is reached for the second time
                           NAME:stop    stop it there, by SIGSTOP, until somebody continues it
                           NAME:2:stop  both
    TWINLAKE_CRASH_SEEN    FILE         append the name of every place that is reached

Nothing runs after a SIGKILL: no ``finally``, no ``atexit``, no flush. Workers of Spark inherit the
variables and count for themselves.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from twinlake.errors import InputError

NAMES = (
    "apply.begun",
    "apply.step_done",
    "apply.view_half_made",
    "apply.registered",
    "documents.written_aside",
    "forgetting.begun",
    "forgetting.written_down",
    "forgetting.sets_erased",
    "forgetting.online_erased",
    "forgetting.rows_erased",
    "forgetting.refolded",
    "forgetting.purged",
    "landing.begun",
    "landing.intent_written",
    "landing.judged",
    "landing.committed",
    "landing.counted",
    "landing.written_down",
    "monitoring.folded",
    "monitoring.written",
    "monitoring.noted",
    "publishing.begun",
    "publishing.rows_appended",
    "publishing.rows_counted",
    "publishing.chunk_written",
    "publishing.chunk_sent",
    "publishing.online_written",
    "publishing.written_down",
    "streaming.begun",
    "streaming.judged",
    "streaming.committed",
    "streaming.written_down",
    "streaming.scored",
    "streaming.online_written",
    "streaming.rows_appended",
    "streaming.published",
    "training_set.begun",
    "training_set.table_made",
    "training_set.committed",
    "training_set.counted",
    "training_set.table_marked",
    "training_set.receipt_written_aside",
    "training_set.receipt_written",
    "worker.feature_rows",
    "worker.online_rows",
)


class _Point:
    """What the environment asks for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name, *further = environ.get("TWINLAKE_CRASH_POINT", "").split(":")
        self.name = name
        self.signal = signal.SIGSTOP if "stop" in further else signal.SIGKILL
        self.left = next((int(word) for word in further if word.isdigit()), 1)
        self.seen = environ.get("TWINLAKE_CRASH_SEEN", "")
        self.is_known = not name or name in NAMES

    @property
    def is_idle(self) -> bool:
        return not self.name and not self.seen


_POINT = _Point(os.environ)


def reached(name: str) -> None:
    """Die or stand still here, if the environment asks for it.

    Raises:
        InputError: The environment names no place there is; it would never be reached.
    """
    if _POINT.is_idle:
        return
    if not _POINT.is_known:
        raise InputError(
            f"TWINLAKE_CRASH_POINT names no crash point: {_POINT.name!r}",
            hint=f"there are: {', '.join(NAMES)}",
        )
    if _POINT.seen:
        with Path(_POINT.seen).open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
    if name == _POINT.name:
        _POINT.left -= 1
        if _POINT.left == 0:
            os.kill(os.getpid(), _POINT.signal)
