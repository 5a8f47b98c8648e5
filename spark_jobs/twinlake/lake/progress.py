"""Tell how far Spark is while a job takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

# Shorter work needs no report; more often would only scroll.
_EVERY_S = 10.0


class Progress:
    """Reports the parts done of the stages that run, every ten seconds, from a thread of its own.

    Args:
        spark: The session.
        tell: Is given one line at a time.
        every_s: Seconds between reports.
    """

    def __init__(
        self, spark: SparkSession, tell: Callable[[str], None], every_s: float = _EVERY_S
    ) -> None:
        self._tracker = spark.sparkContext.statusTracker()
        self._tell = tell
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True, name="progress")
        self._thread.start()

    def stop(self) -> None:
        """End the reports; does not wait longer than for one that is being made."""
        self._over.set()
        self._thread.join(self._every_s)

    def _report(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                text = self._parts_done()
            except (Py4JError, OSError):
                return  # Spark is gone, and so is what there was to report
            if text and not self._over.is_set():
                self._tell(text)

    def _parts_done(self) -> str:
        """Say how many parts are done of what runs now; nothing before the first is."""
        done = parts = 0
        for stage in self._tracker.getActiveStageIds():
            info = self._tracker.getStageInfo(stage)
            if info is not None:
                done += info.numCompletedTasks
                parts += info.numTasks
        return f"  ... {done} of {parts} parts done" if done else ""
