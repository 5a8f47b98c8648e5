"""What the pages are opened with, and the project as one page looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from twinlake.flows.project import Project
from twinlake.settings import Settings


@dataclass(frozen=True)
class Opening:
    """What the pages show, and by whom jobs are done.

    Attributes:
        settings: What the environment decides.
        environ: The environment variables.
        now_us: Gives the present in microseconds since the epoch.
        command: The ``twinlake`` command on this project, up to the verb; jobs are started by it.
        sources: Source name to another path than the definition's.
    """

    settings: Settings
    environ: Mapping[str, str]
    now_us: Callable[[], int]
    command: Sequence[str]
    sources: Mapping[str, Path] = field(default_factory=dict)

    @contextmanager
    def project(self) -> Iterator[Project]:
        """Open the project for one page; what it would tell is of no use there."""
        with Project(
            self.settings,
            environ=self.environ,
            now_us=self.now_us,
            tell=lambda _: None,
            sources=self.sources,
        ) as project:
            yield project

    @property
    def mlflow(self) -> str:
        """The address of MLflow's own pages; empty where none is known."""
        if self.settings.ui_mlflow:
            return self.settings.ui_mlflow.rstrip("/")
        tracking = self.settings.mlflow_tracking
        return tracking.rstrip("/") if tracking.startswith(("http://", "https://")) else ""
