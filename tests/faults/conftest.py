"""One session to check and to recover with, and states to start from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.faults import small_lake
from tests.faults.laws import State
from tests.faults.processes import Ended, Running, no_process_left
from tests.spark.conftest import spark
from twinlake import crash_points
from twinlake.clock import now_us
from twinlake.flows import applying, training_sets
from twinlake.flows.materializing import materialize
from twinlake.flows.project import Project
from twinlake.settings import load_settings

__all__ = ["spark"]


@dataclass
class Lake:
    """The project, its state at certain moments, and processes that work on copies of it.

    Attributes:
        root: The folder with features.py.
        spine: A spine for a training set.
        states: ``applied``: tables are made; ``first``: the first file was materialized; ``both``:
            the second one too; ``once``: both at once.
        reached: The crash points that were reached while these were made.
        content: The hash of the training set that was built on ``both``.
    """

    root: Path
    spine: Path
    states: Path
    reached: set[str]
    content: str
    spark: SparkSession
    copies: Iterator[int]

    def copy(self, name: str) -> State:
        """Copy a state, to be damaged."""
        target = self.states / f"copy-{next(self.copies)}"
        shutil.copytree(self.states / name, target)
        return State(target)

    def state(self, name: str) -> State:
        """A state to be looked at only."""
        return State(self.states / name)

    def start(
        self, state: State | Path, *verb: str, before: tuple[str, ...] = (), **environ: str
    ) -> Running:
        """Start a verb on a state; ``before`` are options that stand before it."""
        folder = state.folder if isinstance(state, State) else state
        arguments = ["-C", str(self.root), "--state", str(folder), "--json", *before, *verb]
        return Running(arguments, environ)

    def run(self, state: State | Path, *verb: str, **environ: str) -> Ended:
        """Run to the end, and see that no process is left."""
        with no_process_left() as started:
            started.append(self.start(state, *verb, before=(), **environ))
            return started[0].wait()

    def open(self, state: State) -> Project:
        """Open the project in this process, with the lane's session."""
        settings = load_settings(self.root, state=state.folder, environ=os.environ)
        return Project(
            settings, environ=os.environ, now_us=now_us, tell=lambda _: None, spark=self.spark
        )


@pytest.fixture(scope="session")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    base = tmp_path_factory.mktemp("lake")
    seen = base / "seen"
    made = Lake(
        base / "project", base / "spine.parquet", base / "states", set(), "", spark, count()
    )
    made.states.mkdir()
    small_lake.write_project(made.root)
    small_lake.write_spine(made.spine)
    idle = crash_points._POINT
    crash_points._POINT = crash_points._Point({"TWINLAKE_CRASH_SEEN": str(seen)})
    try:
        _make_states(made)
    finally:
        crash_points._POINT = idle
    made.reached = set(seen.read_text().split())
    return made


def _make_states(made: Lake) -> None:
    working = State(made.states / "working")
    with made.open(working) as project:
        applying.apply(project)
        shutil.copytree(working.folder, made.states / "applied")
        small_lake.write_rows(made.root / "in" / "1.parquet", small_lake.first_rows())
        materialize(project)
        shutil.copytree(working.folder, made.states / "first")
        small_lake.write_rows(made.root / "in" / "2.parquet", small_lake.second_rows())
        materialize(project)
        shutil.copytree(working.folder, made.states / "both")
        made.content = training_sets.build(project, "forecast", made.spine).receipt.content
        shutil.copytree(working.folder, made.states / "built")
    shutil.copytree(made.states / "applied", made.states / "once")
    with made.open(made.state("once")) as project:
        materialize(project)
