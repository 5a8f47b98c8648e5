"""Streams: Spark hands batches of what arrives to the lander of each source.

Between two batches the lander carries out what others ask of it, see ``flows.requests``.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlake.definitions.sources import Source
from twinlake.definitions.times import format_instant
from twinlake.definitions.views import FeatureView
from twinlake.errors import CheckFailed, InputError, StateError
from twinlake.flows import validating
from twinlake.flows.live_checking import LiveCheck
from twinlake.flows.project import Project
from twinlake.flows.requests import STREAM
from twinlake.flows.stream_inputs import Input
from twinlake.flows.stream_lander import (
    ColumnsAddedError,
    DefinitionsChangedError,
    Progress,
    SourceLander,
)
from twinlake.flows.stream_requests import carry_out
from twinlake.flows.stream_scoring import Scoring, scored_source
from twinlake.lake import streams
from twinlake.lake.checkpoints import Checkpoint
from twinlake.registry import notes
from twinlake.registry.inbox import Inbox

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# How often the end of a stream and requests to it are looked for.
_LOOK_S = 0.1
# How long to wait after a failure: twice as long each time, and from the first once it ran a while.
_FIRST_WAIT_S, _LAST_WAIT_S, _LONG_ENOUGH_S = 1.0, 60.0, 300.0
# What Spark says where records are gone that it was to read.
_LOST_RECORDS = re.compile(r"[Ss]ome data may have been (?:lost|missed)")


@dataclass(frozen=True, slots=True)
class Watch:
    """How often what a stream does is looked at while it runs; None: never.

    Attributes:
        validate_every_s: How often Great Expectations looks at what was landed.
        check_every_s: How often some served keys are recomputed from their events.
    """

    validate_every_s: float | None = None
    check_every_s: float | None = None


class SourceStream:
    """The running stream of a source.

    Args:
        project: The project.
        source: The source.
        views: The views to publish.
        limits: How much a batch takes in.
        after_batch: Is told after each batch.
        models: The models that score the source's events, each with how it is asked.
        watch: How often what it does is looked at.
        progress: What was done before, to go on counting from.
    """

    def __init__(
        self,
        project: Project,
        source: Source,
        views: Sequence[FeatureView],
        limits: streams.Limits,
        after_batch: Callable[[Progress], None],
        models: Mapping[str, Scoring],
        watch: Watch,
        progress: Progress,
    ) -> None:
        self.project = project
        self.source = source
        self._feed = Input(project, source, limits)
        folder = project.places.stream(source.name) / "checkpoint"
        self._checkpoint = Checkpoint(folder, self._feed.hint)
        self._inbox = Inbox(project.settings.state, source.name)
        self._after_batch = after_batch
        self._mutex = threading.Lock()
        self._is_stopping = False
        self._failure: Exception | None = None
        self._query: Any = None
        self._lander = SourceLander(project, source, views, STREAM, models, progress)
        self._validate_every_s = watch.validate_every_s if source.expectations else None
        self._validated = self._newest_version(), time.monotonic()
        self._live = LiveCheck(project, views)
        self._check_every_s = watch.check_every_s
        self._checked_s = time.monotonic()

    @property
    def progress(self) -> Progress:
        """What was done so far."""
        return self._lander.progress

    def start(self, *, once: bool) -> None:
        """Begin where the last run ended.

        Args:
            once: Read what is there and end.
        """
        checkpoint, is_new = self._checkpoint.folder, self._checkpoint.is_new
        self._name = _stream_name(checkpoint.parent, is_new=is_new)
        self._landed_through = self.project.landings(self.source.name).newest_batch(self._name)
        if not is_new:
            self._checkpoint.refuse_unusable(self._landed_through)
        # Judged as part of the stream's own plan, which Spark compiles once.
        frame = self._lander.judging(self._feed.open(is_new=is_new))
        self._refuse_expired()
        writer = frame.writeStream.foreachBatch(self._on_batch).option(
            "checkpointLocation", str(checkpoint)
        )
        if once:
            writer = writer.trigger(availableNow=True)
        self.project.tell(f"streaming {self.source.name} from {self._feed}")
        self._query = writer.start()

    def _refuse_expired(self) -> None:
        positions = self._checkpoint.positions(self._feed.topic, self._landed_through)
        self._feed.refuse_expired(positions)

    def _on_batch(self, frame: DataFrame, number: int) -> None:
        try:
            with self._mutex:
                if self._is_stopping:
                    raise StateError("the stream is being stopped")
                if number <= self._landed_through:
                    return  # landed before a restart, and published when this stream began
                origin = {"query": self._name, "query_batch": number}
                landed = self._lander.take(frame, origin, self._feed.refuse_other_topic)
                self._landed_through = number
            if landed is not None:
                self.progress.lag = self._lag()
                self._after_batch(self.progress)
        except Exception as error:
            self._failure = self._failure or error
            raise

    def _lag(self) -> int | None:
        """Tell how many records waited when the batch before ended."""
        last = None if self._query is None else self._query.lastProgress
        told = [source.get("metrics") or {} for source in (last or {}).get("sources", [])]
        behind = [
            each["maxOffsetsBehindLatest"] for each in told if "maxOffsetsBehindLatest" in each
        ]
        return max(map(int, behind), default=None)

    def wait(self, seconds: float) -> bool:
        """Wait until the stream ended, for a bounded time; tell whether it has.

        Raises:
            TwinlakeError: What ended it.
        """
        try:
            ended: bool = self._query.awaitTermination(seconds)
        except Exception as error:
            if _LOST_RECORDS.search(str(self._failure or error)):
                self._refuse_expired()
            if self._failure is not None:
                raise self._failure from error
            raise
        return ended

    def serve(self) -> None:
        """Carry out what others asked for, between two batches."""
        for request in self._inbox.pending():
            with self._mutex:
                carry_out(self._lander, self._inbox, request)

    def validate(self, *, now: bool = False) -> None:
        """Have Great Expectations look at what was landed since it looked last, if it is due.

        What it finds is told and counted; the rows are landed, so nothing is stopped.
        """
        version, looked_s = self._validated
        if self._validate_every_s is None:
            return
        if not now and time.monotonic() - looked_s < self._validate_every_s:
            return
        if (newest := self._newest_version()) <= version:
            return
        done = validating.validate_landed(self.project, self.source, version, newest)
        self._validated = newest, time.monotonic()
        self.progress.validations += 1
        self.progress.expectations_failed = len(done.failed)
        told = "; ".join(f"{one.expectation}: {one.observed}" for one in done.failed)
        self.project.tell(
            f"{self.source.name}: {told or 'all expectations hold'}: {done.data_docs}"
        )

    def check(self, *, now: bool = False) -> None:
        """Recompute some served keys from their events, if it is due; differences are told."""
        if self._check_every_s is None:
            return
        if not now and time.monotonic() - self._checked_s < self._check_every_s:
            return
        with self._mutex:
            samples = self._live.sample(self._lander.recent)
        found = self._live.compare(samples)
        self._checked_s = time.monotonic()
        self.progress.parity_compared += sum(tally.cells for tally in found.tallies.values())
        self.progress.parity_mismatching += found.mismatches
        for one in found.differences:
            self.project.tell(
                f"PARITY {one.view} {one.key}: {one.feature} ({one.check}) as of "
                f"{format_instant(one.at_us)} is {one.found}, its events say {one.expected}"
            )

    def _newest_version(self) -> int:
        batches = self.project.landings(self.source.name).batches()
        return max((landing.version for landing in batches), default=0)

    def stop(self) -> None:
        """End the stream after the batch at hand; nothing is left half done."""
        with self._mutex:
            self._is_stopping = True
        try:
            if self._query is not None:
                self._query.stop()
        finally:
            self._lander.close()


def _stream_name(folder: Path, *, is_new: bool) -> str:
    """Give a stream its name, kept beside its checkpoint: another checkpoint is another stream."""
    file = folder / "name"
    if is_new or not file.exists():
        notes.write(file, uuid.uuid4().hex)
    return str(file.read_text())


def stream(
    project: Project,
    names: Sequence[str] = (),
    *,
    once: bool = False,
    limits: streams.Limits | None = None,
    stopped: threading.Event | None = None,
    after_batch: Callable[[str, Progress], None] | None = None,
    models: Mapping[str, Scoring] | None = None,
    watch: Watch | None = None,
) -> dict[str, Progress]:
    """Stream views until told to stop, or until all that is there was taken.

    A source that gets further columns meanwhile is read with them from the next batch on.

    Args:
        project: The project.
        names: Which views; by default those that are published by stream.
        once: Take what is there and end.
        limits: How much a batch takes in.
        stopped: Set it to end after the batches at hand.
        after_batch: Is told after each batch, by the name of its source.
        models: Models that score events, each with how it is asked.
        watch: How often what it does is looked at, and once more at the end; never by default.

    Returns:
        What was done, by source.

    Raises:
        InputError: There is no such view; or none is published by stream and nothing is scored.
        StateError: Another process lands a source or publishes a view.
    """
    begin = partial(
        _stream_until_it_ends,
        project,
        names,
        once=once,
        stopped=stopped or threading.Event(),
        after_batch=after_batch or (lambda _name, _progress: None),
        models=models or {},
        make=partial(
            SourceStream, project, limits=limits or streams.Limits(), watch=watch or Watch()
        ),
    )
    progress: dict[str, Progress] = {}
    while True:
        try:
            begin(progress)
        except ColumnsAddedError as added:
            project.tell(f"further columns are read from here on: {added.columns}")
        else:
            return progress


def _stream_until_it_ends(
    project: Project,
    names: Sequence[str],
    progress: dict[str, Progress],
    *,
    once: bool,
    stopped: threading.Event,
    after_batch: Callable[[str, Progress], None],
    models: Mapping[str, Scoring],
    make: Callable[..., SourceStream],
) -> None:
    """Stream views as ``stream`` does; what is done is counted in ``progress``, by source."""
    scoring = {name: scored_source(project.model(name)).name for name in models}
    views = _chosen(project, names, is_scoring=bool(scoring))
    applied = project.applied().definitions.sources
    sources = {name: applied[name] for name in [*(v.source.name for v in views), *scoring.values()]}
    running: list[SourceStream] = []
    with ExitStack() as ends:
        for name, source in sources.items():
            of_source = [view for view in views if view.source.name == name]
            after = partial(after_batch, name)
            scored = {model: how for model, how in models.items() if scoring[model] == name}
            done = progress.setdefault(name, Progress())
            one = make(source, of_source, after_batch=after, models=scored, progress=done)
            running.append(one)
            ends.callback(one.stop)
        for one in running:
            one.start(once=once)
        left = list(running)
        while left and not stopped.is_set():
            for one in running:
                one.serve()
                one.validate()
                one.check()
            left = [one for one in left if not one.wait(_LOOK_S)]
        for one in running:
            one.validate(now=True)
            one.check(now=True)


def supervised(
    project: Project,
    names: Sequence[str] = (),
    *,
    stopped: threading.Event,
    **options: Any,  # noqa: ANN401 (those of stream)
) -> dict[str, Progress]:
    """Stream, and begin again after failures of the environment, each time later.

    What is wrong with the project is not mended by waiting, and ends it.

    Args:
        project: The project.
        names: Which views.
        stopped: Set it to end.
        options: As ``stream`` takes them.
    """
    wait_s = _FIRST_WAIT_S
    while True:
        began = time.monotonic()
        try:
            return stream(project, names, stopped=stopped, **options)
        except DefinitionsChangedError as error:
            project.tell(f"{error.message}; beginning again")
        except (InputError, StateError, CheckFailed):
            raise
        except Exception as error:
            if time.monotonic() - began > _LONG_ENOUGH_S:
                wait_s = _FIRST_WAIT_S
            first = (str(error).splitlines() or [type(error).__name__])[0]
            project.tell(f"the stream failed: {first}; beginning again in {wait_s:.0f} s")
        if stopped.wait(wait_s):
            return {}
        project.abandon_spark()
        wait_s = min(2 * wait_s, _LAST_WAIT_S)


def _chosen(project: Project, names: Sequence[str], *, is_scoring: bool) -> list[FeatureView]:
    applied = project.applied().definitions.views
    chosen = [project.view(name) for name in names]
    if not names:
        chosen = [view for view in applied.values() if view.publish == "stream"]
    if not chosen and not is_scoring:
        raise InputError(
            "no view is published by stream", hint='name views, or define them publish="stream"'
        )
    return chosen
