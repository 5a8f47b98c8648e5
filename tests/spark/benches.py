"""A bench: a project in a folder of the test, opened with the lane's session and a fixed clock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.flows import applying, materializing
from twinlake.flows.project import Project, online_table, view_table
from twinlake.lake import feature_rows, tables
from twinlake.settings import load_settings

# The fake present is 2100-01-01: after every commit, whatever the clock of the machine says.
NOW_US = 4_102_444_800_000_000
IMPORTS = """
from twinlake import (
    Aggregate, Clock, Column, Derived, Entity, Expectation, FeatureService, FeatureView, Files,
    Source,
)
clock = Clock("data")
"""
Cells = dict[str, Any]


class Bench:
    """Definitions, input files and state of one project."""

    def __init__(self, folder: Path, spark: SparkSession) -> None:
        self.spark = spark
        self.folder = folder
        self.root = folder / "project"
        self.inputs = self.root / "in"
        self.inputs.mkdir(parents=True)
        self._opened: list[Project] = []
        self._project: Project | None = None

    def define(self, text: str) -> Self:
        """Write features.py; the project is opened anew when asked for next."""
        (self.root / "features.py").write_text(IMPORTS + text)
        self._project = None
        return self

    def put(self, name: str, rows: Iterable[Cells], schema: pa.Schema) -> Path:
        """Write rows to a Parquet file among the inputs."""
        path = self.inputs / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
        return path

    def open(self) -> Project:
        """Open the project once more, as another process would."""
        settings = load_settings(self.root, state=self.folder / "state", environ=os.environ)
        project = Project(
            settings,
            environ=os.environ,
            now_us=lambda: NOW_US,
            tell=lambda _: None,
            spark=self.spark,
        )
        self._opened.append(project)
        return project

    @property
    def project(self) -> Project:
        if self._project is None:
            self._project = self.open()
        return self._project

    def apply(self) -> Self:
        applying.apply(self.project)
        return self

    def materialize(self, *views: str, **interval: Any) -> materializing.Materialized:
        return materializing.materialize(self.project, views, **interval)

    def close(self) -> None:
        """Close the stores; the session belongs to the lane."""
        for project in self._opened:
            project._spark = None
            project.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What is stored

    def events(self, source: str, *columns: str) -> list[Cells]:
        """Rows of an events table; all columns unless some are named."""
        frame = tables.read(self.spark, self.project.places.events(source))
        return collected(frame.select(*columns) if columns else frame)

    def verdicts(self, source: str, identity: str) -> dict[Any, list[str]]:
        """Verdicts by identity, sorted."""
        found: dict[Any, list[str]] = {}
        for row in self.events(source, identity, "_verdict"):
            found.setdefault(row[identity], []).append(row["_verdict"])
        return {name: sorted(verdicts) for name, verdicts in found.items()}

    def view_path(self, view: str) -> Path:
        return self.project.places.view(view_table(self.project.view(view)))

    def feature_rows(self, view: str, *, every: bool = False) -> list[Cells]:
        """Rows of a feature view table, times in microseconds; superseded ones if asked."""
        frame = tables.read(self.spark, self.view_path(view))
        if not every:
            frame = feature_rows.newest_versions(
                frame, list(self.project.view(view).entity.join_keys)
            )
        return collected(frame)

    def online(self, view: str) -> dict[tuple[Any, ...], Any]:
        """Online rows by key."""
        table = online_table(self.project.view(view))
        return {row.key: row for row in self.project.store.scan(table)}

    def write_times(self) -> dict[str, dict[tuple[Any, ...], int]]:
        """Write timestamps of all online rows."""
        names = self.project.applied().definitions.views
        return {n: {k: row.write_us for k, row in self.online(n).items()} for n in names}

    def delta_versions(self) -> dict[str, int]:
        """The newest version of every Delta table of the state, from its log."""
        lake = self.folder / "state" / "lake"
        logs = sorted(lake.rglob("_delta_log"))
        return {str(log.parent.relative_to(lake)): delta_version(log.parent) for log in logs}


def delta_version(table: Path) -> int:
    return max(int(file.stem) for file in (table / "_delta_log").glob("*.json"))


def collected(frame: Any) -> list[Cells]:
    micros = [
        (F.unix_micros(name) if kind == "timestamp" else F.col(name)).alias(name)
        for name, kind in frame.dtypes
    ]
    return [row.asDict() for row in frame.select(*micros).collect()]


def without(row: Cells, names: Sequence[str]) -> Cells:
    return {name: cell for name, cell in row.items() if name not in names}
