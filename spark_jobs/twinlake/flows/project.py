"""An opened project: its definitions, settings, state, and the parts that jobs meet in.

Spark, the online store and MLflow are each started when first needed, so that a command which
needs none of them is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from twinlake.definitions.checks import check
from twinlake.definitions.documents import Definitions
from twinlake.definitions.loading import load
from twinlake.definitions.services import FeatureService, Model
from twinlake.definitions.sources import Source
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError, TwinlakeError
from twinlake.java import find_java, jar_files
from twinlake.lake.failures import meaning
from twinlake.online.opening import has_online_store, online_table, open_store, view_table
from twinlake.online.store import OnlineStore
from twinlake.registry.inputs import InputFile, format_at, has_files, list_files, other_files
from twinlake.registry.ledger import Ledger, holds
from twinlake.registry.places import Places
from twinlake.registry.state import (
    Applied,
    Landings,
    Publications,
    Registry,
)
from twinlake.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from twinlake.lake.forgotten import Forgotten
    from twinlake.lake.progress import Progress

# Flows know how tables are named and stores opened by this place, too.
__all__ = ["Project", "Tell", "online_table", "open_store", "view_table"]

Tell = Callable[[str], None]


class Project:
    """A project that is open for work; close it, or use it as a context manager.

    Args:
        settings: What the environment decides.
        environ: The environment variables.
        now_us: Gives the present in microseconds since the epoch.
        tell: Is given progress, one line at a time.
        sources: Source name to another path than the definition's.
        spark: A session to use, which is not stopped; one is started when needed otherwise.
        definitions: Checked definitions to take instead of those of ``features.py``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        now_us: Callable[[], int],
        tell: Tell,
        sources: Mapping[str, Path] | None = None,
        spark: SparkSession | None = None,
        definitions: Definitions | None = None,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.now_us = now_us
        self.tell = tell
        self.places = Places(settings.state)
        self._paths = dict(sources or {})
        self._spark = spark
        self._owns_spark = spark is None
        self._definitions = definitions
        self._store: OnlineStore | None = None
        self._progress: Progress | None = None

    @cached_property
    def definitions(self) -> Definitions:
        """The definitions of ``features.py``, checked as a whole."""
        if self._definitions is not None:
            return self._definitions
        definitions = load(self.settings.project)
        check(definitions)
        self._refuse_unknown_sources(definitions)
        return definitions

    @property
    def registry(self) -> Registry:
        """What was applied."""
        return Registry(self.settings.state)

    def applied(self) -> Applied:
        """Give what was applied last.

        Raises:
            StateError: Nothing was.
        """
        applied = self.registry.current()
        if applied.number == 0:
            raise StateError(
                f"nothing is applied in {self.settings.state}",
                hint="run `twinlake apply` first; `twinlake plan` shows what it does",
            )
        self._refuse_unknown_sources(applied.definitions)
        return applied

    def _refuse_unknown_sources(self, definitions: Definitions) -> None:
        for name in self._paths:
            if name not in definitions.sources:
                raise InputError.unknown("source", name, definitions.sources)

    def view(self, name: str) -> FeatureView:
        """Give an applied view by name."""
        views = self.applied().definitions.views
        if name not in views:
            raise self._unknown("view", name, views)
        return views[name]

    def service(self, name: str) -> FeatureService:
        """Give an applied service by name."""
        services = self.applied().definitions.services
        if name not in services:
            raise self._unknown("service", name, services)
        return services[name]

    def model(self, name: str) -> Model:
        """Give an applied model by name."""
        models = self.applied().definitions.models
        if name not in models:
            raise self._unknown("model", name, models)
        return models[name]

    def _unknown(self, kind: str, name: str, applied: Iterable[str]) -> InputError:
        """Tell that a name is not applied, and whether that is all that is missing."""
        try:
            defined = name in getattr(self.definitions, f"{kind}s")
        except TwinlakeError:  # what is wrong with the file is another matter
            defined = False
        if not defined:
            return InputError.unknown(kind, name, applied)
        return InputError(
            f"there is no {kind} named {name!r} among what is applied",
            hint="features.py defines it: run `twinlake apply` first",
        )

    def key_columns(self, source: Source) -> list[str]:
        """Name the join keys of the applied views on a source; a row without them is of no use."""
        views = self.applied().definitions.views.values()
        keys = [key for v in views if v.source.name == source.name for key in v.entity.join_keys]
        return list(dict.fromkeys(keys))

    def forgotten(self, source: Source) -> Forgotten | None:
        """Give the forgotten keys that rows of a source may belong to; None where there are none.

        Raises:
            StateError: Keys were forgotten that cannot be known again.
        """
        ledger = Ledger(self.settings.state)
        views = self.applied().definitions.views.values()
        entities = [view.entity for view in views if view.source.name == source.name]
        entries = tuple(
            entry
            for entry in ledger.entries()
            if any(holds(entity, entry.entity, entry.keys) for entity in entities)
        )
        if not entries:
            return None
        from twinlake.lake.forgotten import Forgotten

        return Forgotten(ledger.salt, entries)

    def landings(self, source: str) -> Landings:
        """What was landed of a source."""
        return Landings(self.settings.state, source)

    def publications(self, view: str) -> Publications:
        """What was published of a view."""
        return Publications(self.settings.state, view)

    def source_path(self, source: str) -> Path | None:
        """Give the other place that a source is read from, where one was named."""
        path = self._paths.get(source)
        return None if path is None else path.resolve()

    @contextmanager
    def reading_from(self, source: str, path: Path | None) -> Iterator[None]:
        """Read a source from another place for a while; None: from its own."""
        before = dict(self._paths)
        self._paths.pop(source, None)
        if path is not None:
            self._paths[source] = path
        try:
            yield
        finally:
            self._paths = before

    def input_files(self, source: Source) -> list[InputFile]:
        """List a source's files, each checked against the source's schema."""
        if source.batch is None:
            return []
        path = self._paths.get(source.name)
        location = (path or self.settings.project / source.batch.path).resolve()
        read_as = self.input_format(source)
        if source.stream is not None and path is None and not has_files(location, read_as):
            return []  # its rows arrive by the stream
        files = list_files(source, location, read_as)
        if others := other_files(location, read_as):
            count = "1 other data file" if len(others) == 1 else f"{len(others):,} other data files"
            self.tell(
                f"source {source.name} reads {read_as}: {count} in {location} left out, "
                f"first {others[0].name}"
            )
        return files

    def input_format(self, source: Source) -> str:
        """Tell the format of a source's files; those at another path may have another."""
        declared = source.batch.format if source.batch else "parquet"
        path = self._paths.get(source.name)
        return declared if path is None else format_at(path.resolve(), declared)

    @property
    def spark(self) -> SparkSession:
        """The Spark session, started on first use."""
        if self._spark is None:
            # Spark is a second of imports, and `get` and `plan` do without it.
            from twinlake.lake.progress import Progress
            from twinlake.lake.session import SessionOptions, start

            self.tell("starting Spark")
            java = find_java(self.environ, self.settings.java_home)
            options = SessionOptions(
                master=self.settings.spark_master,
                driver_memory=self.settings.driver_memory,
                jars=jar_files(self.settings.jars),
                java_home=java.home,
                java_options=java.options,
                shuffle_partitions=self.settings.shuffle_partitions,
                scratch=self.places.scratch,
            )
            self._spark = start(options)
            self._progress = Progress(self._spark, self.tell)
        return self._spark

    def again(self) -> Project:
        """Open the same project once more, for another thread, on the same Spark session."""
        return Project(
            self.settings,
            environ=self.environ,
            now_us=self.now_us,
            tell=self.tell,
            sources=self._paths,
            spark=self.spark,
        )

    def abandon_spark(self) -> None:
        """Let the next use start Spark anew, whatever became of it; a session given stays."""
        if self._spark is None or not self._owns_spark:
            return
        from twinlake.lake.session import abandon

        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        abandon(self._spark)
        self._spark = None

    @property
    def store(self) -> OnlineStore:
        """The online store, opened on first use."""
        if self._store is None:
            self._store = open_store(self.settings)
        return self._store

    def has_online_store(self) -> bool:
        """Whether there is anything to read online; opens nothing."""
        return has_online_store(self.settings)

    def close(self) -> None:
        """Stop what was started."""
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        if self._spark is not None and self._owns_spark:
            self._spark.stop()
            self._spark = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        meant = None if error is None else meaning(error, self.settings.state)
        # Where Java is gone, what else fails on the way out says nothing new.
        with suppress(Exception) if meant else nullcontext():
            self.close()
        if meant is not None:
            raise meant from error
