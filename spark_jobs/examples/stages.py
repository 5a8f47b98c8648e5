"""What the runs of examples share: stages, named and timed, and rows by verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from twinlake.flows.project import Project

Result = TypeVar("Result")


class Stages:
    """Runs the stages of an example one after the other.

    Args:
        project: Tells where the run is.

    Attributes:
        seconds: How long each stage took.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Result]) -> Result:
        """Run a stage and give what it gives."""
        self._project.tell(f"== {name}")
        began = time.monotonic()
        result = work()
        self.seconds[name] = round(time.monotonic() - began, 2)
        return result


def rows_by_verdict(project: Project, source: str) -> dict[str, int]:
    """Count what was landed of a source: read, and what became of it."""
    landings = project.landings(source).all()
    names = ("read", "accepted", "duplicate", "quarantined")
    return {name: sum(getattr(landing, name) for landing in landings) for name in names}
