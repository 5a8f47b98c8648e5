"""The feature store as Python sees it: ``twinlake.open`` gives one.

Its verbs have the names that Feast made well known. Each is one call of a flow; the command line
makes the same calls.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from twinlake.clock import now_us
from twinlake.definitions.times import parse_instant_us, to_us
from twinlake.flows.online_features import OnlineFeatures
from twinlake.flows.project import Project
from twinlake.flows.spine_files import Spine, spine_file
from twinlake.settings import load_settings

if TYPE_CHECKING:
    from threading import Event

    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from twinlake.flows.checking import Verdict
    from twinlake.flows.comparing import Compared
    from twinlake.flows.historical_features import HistoricalFeatures
    from twinlake.flows.leak_checking import LeakCheck
    from twinlake.flows.materializing import Materialized
    from twinlake.flows.modelling import Leaderboard, Trained
    from twinlake.flows.rebuilding import Rebuilt
    from twinlake.flows.stream_lander import Progress
    from twinlake.flows.training_sets import TrainingSet
    from twinlake.lake.validation import Validation
    from twinlake.planning.steps import Plan

PathLike = str | os.PathLike[str]
Instant = str | datetime


class FeatureStore:
    """A project's feature store; close it, or use it as a context manager.

    Spark is started by the first verb that needs it: not by ``plan``, nor by
    ``get_online_features``.

    Args:
        project: The opened project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project

    @property
    def spark(self) -> SparkSession:
        """The Spark session: the one that was handed over, else one started now."""
        return self.project.spark

    def plan(self) -> Plan:
        """Show what ``apply`` would create, change, recompute and drop; writes nothing."""
        from twinlake.flows import applying

        return applying.plan(self.project)

    def apply(self) -> Plan:
        """Carry out what ``plan`` shows, and register the definitions.

        Raises:
            DefinitionError: An expression cannot be read by Spark.
        """
        from twinlake.flows import applying

        return applying.apply(self.project)

    def materialize(
        self,
        start: Instant | None = None,
        end: Instant | None = None,
        views: Sequence[str] = (),
        *,
        validate: bool = False,
    ) -> Materialized:
        """Land new rows, compute views into Delta and publish them online.

        Args:
            start: Compute event times after this; without it, from the beginning.
            end: Compute event times up to and with this; without it, everything.
            views: Which views; without names, all.
            validate: Let Great Expectations validate what lands, also of sources that have no
                expectations on batches.

        Raises:
            CheckFailed: A batch breaks an expectation on batches; nothing of it was landed.
        """
        from twinlake.flows import materializing

        return materializing.materialize(
            self.project,
            views,
            start_us=_instant_us(start),
            end_us=_instant_us(end),
            validate=validate,
        )

    def materialize_incremental(
        self, end: Instant | None = None, views: Sequence[str] = ()
    ) -> Materialized:
        """Like ``materialize``, from where each view was last computed to."""
        from twinlake.flows import materializing

        return materializing.materialize(
            self.project, views, end_us=_instant_us(end), incremental=True
        )

    def push(
        self, source: str, rows: pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Land rows in a source, and publish what they change in views with publish="stream".

        A stream that lands the source does it between two batches.

        Args:
            source: The source.
            rows: Its columns by name; what is left out is null.

        Returns:
            ``read``, ``accepted``, ``duplicate``, ``quarantined`` and ``erased``.

        Raises:
            InputError: A column that the source does not have, or of another type.
        """
        import pandas as pd

        from twinlake.flows import pushing

        if isinstance(rows, pd.DataFrame):
            rows = pa.Table.from_pandas(rows, preserve_index=False)
        return pushing.push(self.project, source, rows)

    def stream(
        self, views: Sequence[str] = (), *, once: bool = False, stopped: Event | None = None
    ) -> Mapping[str, Progress]:
        """Land what arrives and keep views fresh, until told to stop.

        Args:
            views: Which views; without names, those with publish="stream".
            once: Take what is there and end.
            stopped: Set it, from another thread, to end after the batches at hand.

        Returns:
            What was done, by source.
        """
        from twinlake.flows import streaming

        return streaming.stream(self.project, views, once=once, stopped=stopped)

    def build_training_set(self, service: str, spine: Spine) -> TrainingSet:
        """Join a spine to a service's features, point in time, into a Delta table with a receipt.

        Args:
            service: The feature service.
            spine: Join keys, ``event_timestamp``, request fields and labels: the path of a Parquet
                file, CSV file or Delta table, or a pandas DataFrame or Arrow table. A table in
                memory is kept as a file in the state folder, so that the receipt names what can be
                read again.

        Raises:
            InputError: The spine does not fit the service.
        """
        from twinlake.flows import training_sets

        return training_sets.build(self.project, service, self._spine_file(spine))

    def get_historical_features(
        self,
        service: str,
        spine: Spine,
        *,
        statuses: bool = True,
        event_timestamps: bool = False,
    ) -> HistoricalFeatures:
        """Give a spine with a service's features as of each of its rows.

        This builds a training set (see ``build_training_set``), or finds the one that the same
        spine, definitions and events gave before.

        Args:
            service: The feature service.
            spine: As for ``build_training_set``.
            statuses: Also give, as ``VIEW__status``, why a view's values are what they are, and
                as ``VIEW__overflow`` which features are overflow, where some can be.
            event_timestamps: Also give, as ``VIEW__event_timestamp``, the event timestamp that was
                matched.

        Returns:
            What gives the rows ``to_df()``, ``to_arrow()`` or ``to_spark()``, with their receipt.
        """
        from twinlake.flows import historical_features

        built = self.build_training_set(service, spine)
        return historical_features.of_training_set(
            self.project, built, statuses=statuses, event_timestamps=event_timestamps
        )

    def rebuild_training_set(self, name: str, out: PathLike | None = None) -> Rebuilt:
        """Build a training set once more from its receipt alone, and compare; change nothing.

        Args:
            name: The training set.
            out: Also write what was rebuilt to one Parquet file; it must not be there yet.

        Returns:
            The ``verdict``, ``same``, ``differs`` or ``gone``, and ``findings`` that say what is.
        """
        from twinlake.flows import rebuilding

        return rebuilding.rebuild(self.project, name, None if out is None else Path(out))

    def diff_training_sets(self, a: str, b: str) -> Compared:
        """Compare two training sets: their rows, their cells, and what they were made from."""
        from twinlake.flows import comparing

        return comparing.compare(self.project, a, b)

    def get_online_features(
        self, service: str, rows: Sequence[Mapping[str, Any]], as_of: Instant | None = None
    ) -> OnlineFeatures:
        """Read a service's features for some keys from the online store.

        Args:
            service: The feature service.
            rows: Per entity its join keys, and the request fields of on-demand features:
                ``[{"household_id": "MAC000002"}]``.
            as_of: A time, ``"wall"`` or ``"data"``; the project's clock without it.

        Raises:
            InputError: The moment lies before the newest event of a key, or a row lacks a field.
        """
        from twinlake.flows import reading

        return OnlineFeatures(reading.read_service(self.project, service, rows, _told(as_of)))

    def train(self, model: str, spine: Spine | None = None) -> Trained:
        """Train a model, hold the last part of time out, and log everything in MLflow.

        Args:
            model: The model.
            spine: Build the training set from this; without it, the newest one is taken.
        """
        from twinlake.flows import modelling

        return modelling.train_model(self.project, model, self._training_set(model, spine))

    def leaderboard(self, model: str, spine: Spine | None = None) -> Leaderboard:
        """Train several candidates on the same rows, and make the best the champion.

        They are XGBoost with the model's own parameters and with those of its ``candidates``, a
        linear model and a decision tree, each a run below one run of MLflow.

        Args:
            model: The model.
            spine: Build the training set from this; without it, the newest one is taken.
        """
        from twinlake.flows import modelling

        return modelling.train_candidates(self.project, model, self._training_set(model, spine))

    def parity(
        self, service: str | None = None, keys: int | None = None, as_of: Instant | None = None
    ) -> Verdict:
        """Recompute what is stored and served by independent code, and compare cell by cell.

        Args:
            service: The service whose views are compared; without it, all views.
            keys: How many keys, chosen by a fixed hash; without it, every one.
            as_of: As of when to serve; the project's clock without it.
        """
        from twinlake.flows import checking

        if service is None:
            views = list(self.project.applied().definitions.views.values())
        else:
            views = self.project.service(service).views()
        return checking.check_parity(self.project, views, keys, _told(as_of))

    def leak_check(
        self, service: str, spine: Spine | None = None, *, keys: int | None = None, seed: int = 0
    ) -> LeakCheck:
        """Plant rows that no training set may see yet, and find those that arrive in one.

        Args:
            service: The service.
            spine: Check rows of this; without it, moments around the events of some keys.
            keys: How many keys.
            seed: Chooses others.
        """
        from twinlake.flows import leak_checking

        file = None if spine is None else self._spine_file(spine)
        count = leak_checking.DEFAULT_KEYS if keys is None else keys
        return leak_checking.check_leaks(self.project, service, file, keys=count, seed=seed)

    def validate(self, source: str, landed: int | None = None) -> Validation:
        """Let Great Expectations validate a source, and write its data docs.

        Args:
            source: The source.
            landed: The ingest version of a landed batch, 0 for the newest; without it, the files.
        """
        from twinlake.flows import validating

        return validating.validate_source(self.project, source, landed)

    def register_tables(self) -> list[str]:
        """Make feature views and events readable by name in ``spark.sql``; give the names."""
        from twinlake.flows.tables_by_name import register_tables

        return register_tables(self.project)

    def sql(self, query: str) -> DataFrame:
        """Run a query that reads feature views and events by name, as they are now."""
        self.register_tables()
        return self.spark.sql(query)

    def close(self) -> None:
        """Stop what was started; a session that was handed over goes on."""
        self.project.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _training_set(self, model: str, spine: Spine | None) -> TrainingSet:
        from twinlake.flows import modelling

        service = self.project.model(model).service.name
        # Building takes long, and is for nothing where what is trained could not be kept.
        modelling.require_mlflow(self.project, model)
        if spine is None:
            return modelling.newest_training_set(self.project, service)
        return self.build_training_set(service, spine)

    def _spine_file(self, spine: Spine) -> Path:
        return spine_file(spine, self.project.places.spines)


def open_store(
    project: PathLike,
    env: str = "local",
    state: PathLike | None = None,
    sources: Mapping[str, PathLike] | None = None,
    spark: SparkSession | None = None,
    tell: Callable[[str], None] | None = None,
) -> FeatureStore:
    """Open a project's feature store; see ``twinlake.open``."""
    settings = load_settings(
        Path(project), env, None if state is None else Path(state), environ=os.environ
    )
    return FeatureStore(
        Project(
            settings,
            environ=os.environ,
            now_us=now_us,
            tell=tell or logging.getLogger("twinlake").info,
            sources={name: Path(path) for name, path in (sources or {}).items()},
            spark=spark,
        )
    )


def _told(moment: Instant | None) -> str | None:
    return moment.isoformat() if isinstance(moment, datetime) else moment


def _instant_us(moment: Instant | None) -> int | None:
    if moment is None:
        return None
    if isinstance(moment, str):
        return parse_instant_us(moment)
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
