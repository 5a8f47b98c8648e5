"""Watch a model's predictions: windows of quality, figures, alerts.

Predictions are read in the order in which they were landed, some ingest versions at a time, each
time a pass; labels that come later are read after them. Before a pass it is noted up to where it
reads; a pass that was cut short is done again over the same rows, and what it wrote already is not
written twice. So windows are counted once, whatever is killed when; messages and alerts may be sent
once more.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from twinlake.assurance.alerting import AlertEvent, AlertRules
from twinlake.assurance.quality import Final, QualityFold, Sums
from twinlake.crash_points import reached
from twinlake.definitions.services import Model
from twinlake.errors import InputError
from twinlake.flows.alert_places import make_outbox
from twinlake.flows.project import Project
from twinlake.flows.quality_inputs import QualityInputs
from twinlake.flows.stream_outputs import TopicOutput
from twinlake.lake import quality as quality_tables
from twinlake.registry import notes

_RECENT = 100
_START = {"pass": 0, "predictions": -1, "labels": -1}


@dataclass
class Watch:
    """What was seen of a model's predictions since it is watched.

    Attributes:
        model: The model.
        sums: What became of all predictions and labels.
        windows: How many windows are final.
        final: How many predictions with a label they hold.
        totals: How often which label was predicted as what: ``label``, ``predicted``, ``correct``
            and ``records``.
        raised: Alerts that are on.
        events: How many alerts were raised and cleared, by kind.
        newest: The figures of the newest final windows, as ``Final.metrics``.
        waiting: How many alerts wait, by the place that they go to.
        recent: The alerts that were raised and cleared last, since the process began.
    """

    model: str
    sums: Sums
    windows: int = 0
    final: int = 0
    totals: Sequence[Mapping[str, Any]] = ()
    raised: Sequence[str] = ()
    events: Counter[str] = field(default_factory=Counter)
    newest: pa.Table | None = None
    waiting: Mapping[str, int] = field(default_factory=dict)
    recent: deque[AlertEvent] = field(default_factory=lambda: deque(maxlen=_RECENT))

    @property
    def open(self) -> int:
        """How many predictions with a label are in windows that are not final."""
        return self.sums.counted - self.final


class Monitor:
    """Watches a model, until it is closed.

    Args:
        project: The project.
        model: The model.

    Raises:
        InputError: The model says nothing of what to watch.
        StateError: Another process watches it.
    """

    def __init__(self, project: Project, model: Model) -> None:
        if model.quality is None:
            raise InputError(
                f"model {model.name} does not say what to watch",
                hint='give it quality=Quality(window="1m", alerts=[...]) in features.py, and apply',
            )
        self.project = project
        self.model = model
        self.quality = model.quality
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
        comment = f"final quality windows of model {name}"
        quality_tables.create(spark, self._counts, quality_tables.COUNTS, f"Counts of {comment}")
        quality_tables.create(spark, self._figures, quality_tables.FIGURES, f"Figures of {comment}")
        self._windows_topic = self._topic(self.quality.topic)
        self._totals_topic = self._topic(self.quality.totals_topic)
        told = notes.read(self._note) or {}
        self._done: dict[str, int] = {name: told.get(name, at) for name, at in _START.items()}
        self._inputs = QualityInputs(self.project, self.model)
        kept = told.get("fold")
        self._fold = QualityFold(self._inputs.spec, self._inputs.reference(), kept)
        if kept is not None:
            self._replay(told)
        self._rules = AlertRules(name, self.quality.alerts, told.get("rules"))
        self._outbox = make_outbox(self.project, self.model)
        self.seen = Watch(
            name,
            self._fold.sums(),
            told.get("windows", 0),
            told.get("final", 0),
            events=Counter(told.get("events", {})),
        )
        self._look_at_fold()
        if (unfinished := told.get("next")) is not None:
            self._pass(unfinished)

    def _topic(self, name: str) -> TopicOutput | None:
        return TopicOutput(self.project, name, [self.model.label]) if name else None

    def _replay(self, told: Mapping[str, Any]) -> None:
        """Take again what windows that are not final hold, and labels that wait."""
        for rows in self._inputs.predictions(-1, self._done["predictions"], told["replay_from_us"]):
            self._fold.add(rows, replayed=True)
        labels = self._inputs.labels(-1, self._done["labels"], told["labels_from_us"])
        if labels is not None:
            self._fold.add_labels(labels, replayed=True)

    def close(self) -> None:
        """Watch no longer."""
        self._locks.close()

    def look(self) -> None:
        """Take what was predicted, and what turned out, since the last look; deliver alerts."""
        newest = self._inputs.newest()
        while newest["predictions"] > self._done["predictions"]:
            last = self._inputs.cut(self._done["predictions"], newest["predictions"])
            self._begin_pass({"predictions": last, "labels": self._done["labels"]})
        if newest["labels"] > self._done["labels"]:
            self._begin_pass({**self._done, "labels": newest["labels"]})
        done = self._outbox.deliver(self.project.now_us() / 1_000_000)
        if done.problems != self._problems():
            for place, why in done.problems.items():
                self.project.tell(f"{done.waiting.get(place, 0)} alerts wait for {place}: {why}")
        self._last_problems = done.problems
        self.seen.waiting = done.waiting

    def _problems(self) -> Mapping[str, str]:
        return getattr(self, "_last_problems", {})

    def _begin_pass(self, until: Mapping[str, int]) -> None:
        notes.write(self._note, json.dumps(self._document() | {"next": dict(until)}))
        self._pass(until)

    def _pass(self, until: Mapping[str, int]) -> None:
        """Take predictions and labels up to some ingest versions."""
        for rows in self._inputs.predictions(self._done["predictions"], until["predictions"]):
            self._fold.add(rows)
        labels = self._inputs.labels(self._done["labels"], until["labels"])
        if labels is not None:
            self._tell_of_labels(self._fold.add_labels(labels))
        final = self._fold.close()
        reached("monitoring.folded")
        number = self._done["pass"] + 1
        if final.metrics.num_rows or final.counts.num_rows:
            self._write(final, number)
            reached("monitoring.written")
            self._send(final, number)
        events = self._rules.feed(final.metrics)
        self._outbox.put(events)
        self._count(final, events)
        self._done = {"pass": number, **{n: until[n] for n in ("predictions", "labels")}}
        notes.write(self._note, json.dumps(self._document()))
        reached("monitoring.noted")
        for message in (*(e.message for e in events), *final.unknown["message"].to_pylist()):
            self.project.tell(message)

    def _tell_of_labels(self, judged: pa.Table) -> None:
        """Say of labels that are of no use why; the first ones of each kind."""
        told: Counter[str] = Counter()
        for row in judged.to_pylist():
            if row["message"] is not None:
                told[row["verdict"]] += 1
                if told[row["verdict"]] == 1:
                    self.project.tell(f"label {row['verdict']}: {row['message']}")

    def _count(self, final: Final, events: Sequence[AlertEvent]) -> None:
        seen = self.seen
        seen.windows += len(set(_of(final.metrics, "records", "window_start")))
        seen.final += sum(final.counts["count"].to_pylist())
        if final.metrics.num_rows:
            seen.newest = final.metrics
        seen.events.update(event.kind for event in events)
        seen.recent.extend(events)
        self._look_at_fold()

    def _look_at_fold(self) -> None:
        self.seen.sums = self._fold.sums()
        self.seen.totals = self._fold.running().to_pylist()
        self.seen.raised = [name for name, is_on in self._rules.raised().items() if is_on]

    def _write(self, final: Final, number: int) -> None:
        append = partial(
            quality_tables.append,
            self.project.spark,
            number=number,
            scratch=self.project.places.new_scratch(),
        )
        append(self._counts, quality_tables.COUNTS, final.counts)
        append(self._figures, quality_tables.FIGURES, final.metrics)

    def _send(self, final: Final, number: int) -> None:
        """Send what was counted, in the words of the model's own columns."""
        if self._windows_topic is not None and final.counts.num_rows:
            self._windows_topic.send(window_messages(self.model, final.counts), number)
        if self._totals_topic is not None and final.counts.num_rows:
            totals = self._fold.running()
            names = [self.model.label, self.model.said_column, "correct", "records"]
            self._totals_topic.send(totals.rename_columns(names), number)

    def _document(self) -> dict[str, Any]:
        seen = self.seen
        return {
            **self._done,
            "fold": self._fold.note(),
            "replay_from_us": self._fold.replay_from_us,
            "labels_from_us": self._fold.labels_from_us,
            "rules": self._rules.note(),
            "sums": asdict(seen.sums),
            "totals": list(seen.totals),
            "windows": seen.windows,
            "final": seen.final,
            "events": dict(seen.events),
            "raised": list(seen.raised),
        }


def window_messages(model: Model, counts: pa.Table) -> pa.Table:
    """Write counts of final windows as messages, in the words of the original system."""
    ms = [counts[name].cast(pa.int64()).to_pylist() for name in ("window_start", "window_end")]
    return pa.table(
        {
            "startMs": pa.array([us // 1000 for us in ms[0]], pa.int64()),
            "endMs": pa.array([us // 1000 for us in ms[1]], pa.int64()),
            model.label: counts["label"],
            model.said_column: counts["predicted"],
            "count": counts["count"],
            "modelVersion": counts["model_version"],
        }
    )


def _of(metrics: pa.Table, metric: str, column: str) -> list[Any]:
    named = zip(metrics["metric"].to_pylist(), metrics[column].to_pylist(), strict=True)
    return [value for name, value in named if name == metric]


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
