"""Watch a model's predictions: windows of quality, figures, alerts.

Predictions are read in the order in which they were landed, some ingest versions at a time, each
time a pass. Before a pass it is noted up to which version it reads; a pass that was cut short is
done again over the same rows, and what it wrote already is not written twice. So windows are
counted once, whatever is killed when; messages and alerts may be sent once more.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from twinlake.assurance.alert_sinks import Outbox, Sink, webhook
from twinlake.assurance.alerting import AlertEvent, Alerting
from twinlake.assurance.quality import Figure, FinalWindow, QualityFold, Watched
from twinlake.crash_points import reached
from twinlake.definitions.quality import Quality
from twinlake.definitions.resolution import all_columns
from twinlake.definitions.services import Model
from twinlake.definitions.times import parse_duration_us, to_datetime
from twinlake.errors import InputError
from twinlake.flows.project import Project
from twinlake.flows.stream_outputs import TopicOutput
from twinlake.flows.stream_scoring import scored_source
from twinlake.lake import predictions, tables
from twinlake.lake import quality as tables_of_quality
from twinlake.registry import notes

_US_PER_MS = 1_000
_RECENT = 100


@dataclass
class Watch:
    """What was seen of a model's predictions since it is watched.

    Attributes:
        model: The model.
        predictions: How many rows were taken.
        windows: How many windows are final, each version of a window counting.
        counted: How many rows they hold.
        open: How many rows are in windows that are not final.
        late: How many came for windows that were.
        totals: How many rows had which label and prediction, in final windows.
        raised: Alerts that are raised.
        events: How many alerts were raised and cleared, by kind.
        newest: The figures of the newest final window.
        newest_version: The version that they are of.
        waiting: How many alerts wait for a place to go to.
        recent: The alerts that were raised and cleared last, since the process began.
    """

    model: str
    predictions: int = 0
    windows: int = 0
    counted: int = 0
    open: int = 0
    late: int = 0
    totals: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    raised: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    newest: Sequence[Figure] = ()
    newest_version: int | None = None
    waiting: int = 0
    recent: deque[AlertEvent] = field(default_factory=lambda: deque(maxlen=_RECENT))


class Monitor:
    """Watches a model, until it is closed.

    Args:
        project: The project.
        model: The model.
        seconds: Tells seconds since some moment.

    Raises:
        InputError: The model says nothing of what to watch.
        StateError: Another process watches it.
    """

    def __init__(
        self, project: Project, model: Model, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self.project = project
        self.model = model
        self.quality = _quality(model)
        self._seconds = seconds
        self._source = scored_source(model)
        self._path = project.places.predictions(model.name)
        self._note = project.places.quality_note(model.name)
        self._locks = ExitStack()
        self._locks.enter_context(project.places.exclusively("monitor", model.name))
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        spark, places, name = self.project.spark, self.project.places, self.model.name
        self._counts = places.quality(name, "windows")
        self._figures = places.quality(name, "figures")
        comment = f"quality windows of model {name}"
        columns = tables_of_quality.COUNTS, tables_of_quality.FIGURES
        tables_of_quality.create(spark, self._counts, columns[0], f"Counts of final {comment}")
        tables_of_quality.create(spark, self._figures, columns[1], f"Figures of final {comment}")
        self._topics = {
            role: TopicOutput(self.project, topic, keys)
            for role, topic, keys in (
                ("topic", self.quality.topic, [self.model.label]),
                ("totals", self.quality.totals_topic, [self.model.label]),
                ("alerts", self.quality.alerts_topic, ["alert"]),
            )
            if topic
        }
        told = notes.read(self._note) or {}
        self._number, self._through = told.get("pass", 0), told.get("through", -1)
        self._fold = QualityFold(watched_of(self.model), told.get("newest_us"), told.get("late", 0))
        self._alerting = Alerting(name, self.quality.alerts, told.get("alerts"))
        self._outbox = Outbox(self._sinks(), told.get("waiting"))
        self.seen = Watch(
            name,
            told.get("predictions", 0),
            told.get("windows", 0),
            told.get("counted", 0),
            late=self._fold.late,
            totals=Counter({(a, b): n for a, b, n in told.get("totals", ())}),
            raised=self._alerting.raised,
            events=Counter(told.get("events", {})),
        )
        self._restore()
        if (unfinished := told.get("next")) is not None:
            self._read(unfinished)

    def _sinks(self) -> dict[str, Sink]:
        sinks: dict[str, Sink] = {}
        if "alerts" in self._topics:
            sinks[f"topic {self.quality.alerts_topic}"] = self._send_alerts
        if address := self.project.settings.alerts_webhook:
            sinks["the webhook"] = webhook(address)
        return sinks

    def _restore(self) -> None:
        """Hold again what is in windows that are not final."""
        since_us = self._fold.open_from_us
        if since_us is None:
            return
        frame = predictions.after(self.project.spark, self._path, -1, self._through)
        self._fold.restore(self._watched(tables.since(frame, "event_timestamp", since_us)))
        self.seen.open = self._fold.held

    def _watched(self, frame: Any) -> pa.Table:  # noqa: ANN401 (a frame of Spark)
        model = self.model
        label = model.label if model.label in all_columns(self._source) else None
        said = model.predicted_column if model.classes else None
        rows = tables_of_quality.watched_rows(frame, label, said, is_text=bool(model.classes))
        return tables_of_quality.collected(rows)

    def close(self) -> None:
        """Watch no longer."""
        self._locks.close()

    def look(self) -> list[AlertEvent]:
        """Take what was predicted since the last look; give the alerts that it brought."""
        events: list[AlertEvent] = []
        if tables.exists(self._path):
            newest = predictions.scored_through(self.project.spark, self._path)
            if newest is not None and newest > self._through:
                events = self._read(newest)
        self._deliver()
        return events

    def _read(self, through: int) -> list[AlertEvent]:
        """Take the predictions up to an ingest version, by a pass or several."""
        spark, events = self.project.spark, []
        frame = predictions.after(spark, self._path, self._through, through)
        for last, piece in predictions.version_ranges(frame, "_event_version"):
            notes.write(self._note, json.dumps(self._document() | {"next": last}))
            events += self._pass(self._watched(piece), last)
        self._through = through
        notes.write(self._note, json.dumps(self._document()))
        return events

    def _pass(self, rows: pa.Table, through: int) -> list[AlertEvent]:
        finals = self._fold.add(rows)
        reached("monitoring.folded")
        if finals:
            self._number += 1
            self._write(finals)
            reached("monitoring.written")
            self._tell(finals)
        events = list(self._alerting.take(finals))
        self._outbox.add([event.document() for event in events])
        self._count(rows.num_rows, finals, events)
        self._through = through
        notes.write(self._note, json.dumps(self._document()))
        reached("monitoring.noted")
        for event in events:
            self.project.tell(event.text())
        return events

    def _count(
        self, taken: int, finals: Sequence[FinalWindow], events: Sequence[AlertEvent]
    ) -> None:
        seen = self.seen
        seen.predictions += taken
        seen.windows += len(finals)
        for window in finals:
            for label, predicted, count in window.counts:
                seen.counted += count
                seen.totals[label, predicted] += count
        if finals:
            seen.newest, seen.newest_version = finals[-1].figures, finals[-1].version
        seen.open, seen.late = self._fold.held, self._fold.late
        seen.raised = self._alerting.raised
        seen.events.update(event.kind for event in events)
        seen.recent.extend(events)

    def _write(self, finals: Sequence[FinalWindow]) -> None:
        counts, figures = [], []
        for window in finals:
            when = {
                "window_start": to_datetime(window.start_us),
                "window_end": to_datetime(window.end_us),
                "model_version": window.version,
            }
            counts += [
                {**when, "label": label, "predicted": predicted, "count": count}
                for label, predicted, count in window.counts
            ]
            figures += [
                {**when, "metric": one.metric, "of": one.of, "value": one.value,
                 "records": one.records}
                for one in window.figures
            ]  # fmt: skip
        append = partial(
            tables_of_quality.append,
            self.project.spark,
            number=self._number,
            scratch=self.project.places.new_scratch(),
        )
        append(self._counts, tables_of_quality.COUNTS, counts)
        append(self._figures, tables_of_quality.FIGURES, figures)

    def _tell(self, finals: Sequence[FinalWindow]) -> None:
        """Send what was counted, in the words of the model's own columns."""
        said = self.model.predicted_column if self.model.classes else "is_positive"
        if "topic" in self._topics:
            rows = [
                {
                    "startMs": window.start_us // _US_PER_MS,
                    "endMs": window.end_us // _US_PER_MS,
                    self.model.label: label,
                    said: predicted,
                    "count": count,
                    "modelVersion": window.version,
                }
                for window in finals
                for label, predicted, count in window.counts
            ]
            self._topics["topic"].send(pa.Table.from_pylist(rows), self._number)
        if "totals" in self._topics:
            totals = self.seen.totals.copy()
            for window in finals:
                totals.update({(a, b): n for a, b, n in window.counts})
            rows = total_rows(self.model, totals)
            self._topics["totals"].send(pa.Table.from_pylist(rows), self._number)

    def _send_alerts(self, events: Sequence[Any]) -> None:
        # Alerts are sent apart from windows: the number of the pass would be used twice.
        number = self.seen.events.total()
        self._topics["alerts"].send(pa.Table.from_pylist([dict(e) for e in events]), number)

    def _deliver(self) -> None:
        waiting = self._outbox.document()
        for trouble in self._outbox.deliver(self._seconds()):
            self.project.tell(trouble)
        left = self._outbox.document()
        self.seen.waiting = max((len(listed) for listed in left.values()), default=0)
        if left != waiting:
            notes.write(self._note, json.dumps(self._document()))

    def _document(self) -> dict[str, Any]:
        seen = self.seen
        return {
            "pass": self._number,
            "through": self._through,
            "newest_us": self._fold.newest_us,
            "late": self._fold.late,
            "predictions": seen.predictions,
            "windows": seen.windows,
            "counted": seen.counted,
            "totals": [[*pair, count] for pair, count in seen.totals.items()],
            "events": dict(seen.events),
            "alerts": self._alerting.document(),
            "waiting": self._outbox.document(),
        }


def total_rows(
    model: Model, totals: Counter[tuple[str | None, str | None]]
) -> list[dict[str, Any]]:
    """Lay out how often which label was predicted as what, since the beginning."""
    said = model.predicted_column if model.classes else "is_positive"
    return [
        {
            model.label: label,
            said: predicted,
            "correct": None if label is None or predicted is None else label == predicted,
            "records": count,
        }
        for (label, predicted), count in sorted(
            totals.items(), key=lambda item: tuple(part or "" for part in item[0])
        )
    ]


def watched_of(model: Model) -> Watched:
    """Say what is watched of a model."""
    quality = _quality(model)
    return Watched(
        parse_duration_us(quality.window),
        parse_duration_us(quality.lateness),
        tuple(model.classes),
        model.threshold,
    )


def _quality(model: Model) -> Quality:
    if model.quality is None:
        raise InputError(
            f"model {model.name} does not say what to watch",
            hint='give it quality=Quality(window="1m", alerts=[...]) in features.py, and apply',
        )
    return model.quality


def monitor(
    project: Project,
    name: str,
    *,
    every_s: float = 10.0,
    once: bool = False,
    stopped: threading.Event | None = None,
    after_look: Callable[[Watch], None] | None = None,
) -> Watch:
    """Watch a model until told to stop.

    Args:
        project: The project.
        name: The model.
        every_s: Seconds from one look to the next.
        once: Take what is there, and end.
        stopped: Set it to end after the look at hand.
        after_look: Is told after each look.

    Returns:
        What was seen.

    Raises:
        InputError: There is no such model, or it does not say what to watch.
        StateError: Another process watches it.
    """
    stop = stopped or threading.Event()
    watching = Monitor(project, project.model(name))
    try:
        while True:
            watching.look()
            if after_look is not None:
                after_look(watching.seen)
            if once or stop.wait(every_s):
                return watching.seen
    finally:
        watching.close()
