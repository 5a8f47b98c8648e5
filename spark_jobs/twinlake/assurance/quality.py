"""Quality windows: predictions and their labels, counted by window and model version.

A window ``[start, end)`` is of the predictions' event timestamps and follows the one before from
the UTC epoch on. It takes predictions until the newest event timestamp seen is ``end + lateness``;
its figures that need labels are final once each of its predictions has a label, or none is waited
for any longer: ``within`` after that. Windows are given in order, each figure once.

What is decided of a row depends on the rows before it only, never on how they were cut into
batches. Always: predictions = counted + late + waiting + unlabelled + unscored.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinlake.assurance import quality_tables as tables
from twinlake.assurance.drift import Reference
from twinlake.assurance.quality_figures import NUMBER
from twinlake.assurance.quality_labels import WAITING, LabelBook
from twinlake.assurance.quality_rows import (
    Codes,
    Predictions,
    QualitySpec,
    keys_of,
    read_predictions,
    require,
    times_of,
)
from twinlake.assurance.quality_window import OpenWindow, pairs
from twinlake.definitions.times import MIN_US


@dataclass(frozen=True, slots=True)
class Sums:
    """What became of all predictions; ``predictions`` is the sum of the others.

    Attributes:
        predictions: Rows of predictions.
        counted: Those in windows with their label.
        late: Those that came when their window was final.
        waiting: Those whose label is waited for.
        unlabelled: Those whose label never came in time.
        unscored: Those without a prediction.
        labels: Rows of labels by verdict; those that still wait are ``waiting``.
    """

    predictions: int
    counted: int
    late: int
    waiting: int
    unlabelled: int
    unscored: int
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Final:
    """What became final.

    Attributes:
        counts: By window, model version, label and prediction.
        metrics: By window and model version, in long form.
        unknown: Labels that no prediction came for, each with a message.
    """

    counts: pa.Table
    metrics: pa.Table
    unknown: pa.Table


class QualityFold:
    """The state of one model's windows.

    Args:
        spec: How the model is watched.
        reference: What its inputs are compared with, if they are.
        note: What ``note`` gave before a restart. Then the rows since ``replay_from_us`` are added
            again with ``replayed=True``, in their order and before any other.
    """

    def __init__(
        self,
        spec: QualitySpec,
        reference: Reference | None = None,
        note: Mapping[str, Any] | None = None,
    ) -> None:
        self._spec, self._reference = spec, reference
        self._codes = Codes(spec)
        self._newest_us, self._floor_us = MIN_US, MIN_US
        self._traffic_until = self._labels_until = self._ids_until = MIN_US
        self._accepted = 0
        self._sums: Counter[str] = Counter()
        self._running: Counter[tuple[int, int]] = Counter()
        self._windows: dict[int, OpenWindow] = {}
        self._order: list[int] = []
        self._book = LabelBook(spec, self._codes, self._windows, self._used)
        if note is not None:
            self._resume(note)

    def add(self, predictions: pa.Table, *, replayed: bool = False) -> None:
        """Take predictions.

        Args:
            predictions: Columns ``event_timestamp``, ``model_version``, ``predicted`` or
                ``prediction``, the id columns where labels are waited for; if there:
                ``probabilities``, ``unscored``, the label, and inputs to compare.
            replayed: They were counted before a restart.

        Raises:
            InputError: A column is not there, or an event timestamp is null.
        """
        rows = read_predictions(predictions, self._spec, self._codes)
        if not predictions.num_rows:
            return
        self._start(replayed)
        newest = np.maximum.accumulate(np.maximum(rows.times, self._newest_us))
        width = self._spec.window_us
        number = np.floor_divide(rows.times, width)
        is_late = (number + 1) * width + self._spec.lateness_us <= newest
        if not replayed:
            self._sums["predictions"] += len(rows.times)
            self._sums["late"] += int(np.count_nonzero(is_late))
            self._sums["unscored"] += int(np.count_nonzero(~is_late & ~rows.scored))
        before = self._accepted + np.cumsum(~is_late) - 1
        self._accepted += int(np.count_nonzero(~is_late))
        entered: list[tuple[int, OpenWindow, int]] = []
        for each in np.unique(number[~is_late]).tolist():
            which = ~is_late & (number == each)
            window = self._window(each * width, int(before[np.argmax(which)]))
            place = len(window.times)
            taken = window.append(rows, which, self._reference)
            self._take(window, rows, taken, replayed)
            if self._waits:
                places = enumerate(taken.tolist(), place)
                entered += [(row, window, at) for at, row in places]
        self._enter(predictions, entered, newest)
        self._newest_us = int(newest[-1])
        self._advance(replayed)

    def add_labels(self, labels: pa.Table, *, replayed: bool = False) -> pa.Table:
        """Take labels that came after their predictions.

        Args:
            labels: The id columns, ``event_timestamp`` and the label.
            replayed: They were counted before a restart.

        Returns:
            For each row its ``verdict`` (used, duplicate, conflicting, waiting, late, refused) and
            a ``message``, null where the label is used or waits for its prediction.

        Raises:
            InputError: A column is not there, or an event timestamp is null.
        """
        self._start(replayed)
        require(labels, [*self._spec.id_columns, "event_timestamp", self._spec.label], "labels")
        keys = keys_of(labels, self._spec.id_columns)
        values = labels.column(self._spec.label).to_pylist()
        times = times_of(labels).tolist()
        told = [
            self._book.judge(key, value, time_us, replayed=replayed)
            for key, value, time_us in zip(keys, values, times, strict=True)
        ]
        return pa.table(
            {
                "verdict": pa.array([verdict for verdict, _ in told], pa.string()),
                "message": pa.array([message for _, message in told], pa.string()),
            }
        )

    def close(self, watermark_us: int | None = None) -> Final:
        """Give what became final since the last time.

        Args:
            watermark_us: Take it that nothing older comes any more, such as at the end of input.
        """
        self._start(replayed=False)
        self._newest_us = max(self._newest_us, watermark_us or MIN_US)
        self._advance(replayed=False)
        metrics: list[tables.MetricRow] = []
        counts: list[tables.CountRow] = []
        for start in self._after(self._traffic_until):
            if not self._is_final(start):
                break
            window = self._windows[start]
            for version in window.versions():
                figures = window.traffic(version, self._reference)
                metrics += [(start, version, *figure) for figure in figures]
            self._traffic_until = start + self._spec.window_us
        for start in self._after(self._labels_until):
            window = self._windows[start]
            if not self._is_final(start) or window.waiting:
                break
            for version in window.versions():
                figures = window.labelled(version, self._spec.task, self._codes)
                metrics += [(start, version, *figure) for figure in figures]
                named = window.counts(version, self._spec.task)
                counts += [(start, version, *self._named(a, b), n) for a, b, n in named]
            window.drop_rows()
            self._labels_until = start + self._spec.window_us
        self._forget()
        width = self._spec.window_us
        return Final(
            tables.count_table(counts, width),
            tables.metric_table(metrics, width),
            self._book.given_up(),
        )

    def running(self) -> pa.Table:
        """Give the table ``label, predicted, correct, records`` since the start."""
        rows = [(*self._named(a, b), a == b, n) for (a, b), n in self._running.items()]
        return tables.running_table(rows)

    def sums(self) -> Sums:
        """Give what became of all predictions and labels so far."""
        waiting = sum(window.waiting for window in self._windows.values())
        labels = {**self._book.verdicts, WAITING: self._book.waiting}
        of = self._sums
        return Sums(
            of["predictions"],
            of["counted"],
            of["late"],
            waiting,
            of["unlabelled"],
            of["unscored"],
            {verdict: count for verdict, count in sorted(labels.items()) if count},
        )

    @property
    def replay_from_us(self) -> int | None:
        """The start of the oldest window that is not final; None: there is none."""
        return next(iter(self._after(self._labels_until)), None)

    @property
    def labels_from_us(self) -> int | None:
        """The oldest event timestamp of a label that a restart needs again; None: none."""
        used = (self._windows[start].oldest_label_us for start in self._after(self._labels_until))
        times = [time_us for time_us in used if time_us is not None]
        waits = self._book.oldest_us
        return min(times if waits is None else [*times, waits], default=None)

    def note(self) -> dict[str, Any]:
        """Give what rows that are added again do not tell, as a JSON object; small.

        Take it after ``close``: it belongs to the rows and to the windows given so far.
        """
        return {
            "newest_us": max(self._newest_us, self._floor_us),
            "traffic_until": self._traffic_until,
            "labels_until": self._labels_until,
            "sums": dict(self._sums),
            "labels": dict(self._book.verdicts),
            "running": [[*self._named(a, b), n] for (a, b), n in self._running.items()],
        }

    def _resume(self, note: Mapping[str, Any]) -> None:
        self._floor_us = note["newest_us"]
        self._traffic_until, self._labels_until = note["traffic_until"], note["labels_until"]
        self._sums.update(note["sums"])
        self._book.verdicts.update(note["labels"])
        for label, predicted, count in note["running"]:
            self._running[self._codes.code(label), self._codes.code(predicted)] = count

    @property
    def _waits(self) -> bool:
        return self._spec.within_us is not None

    def _start(self, replayed: bool) -> None:
        """What was seen before a restart counts again once all of it was added again."""
        if not replayed and self._floor_us > self._newest_us:
            self._newest_us = self._floor_us
            self._advance(replayed=True)

    def _window(self, start: int, opened_at: int) -> OpenWindow:
        if start not in self._windows:
            self._windows[start] = OpenWindow(start, opened_at)
            bisect.insort(self._order, start)
        return self._windows[start]

    def _take(
        self, window: OpenWindow, rows: Predictions, taken: npt.NDArray[np.int64], replayed: bool
    ) -> None:
        """Count what came with its label; without one it waits, or never gets any."""
        labels = rows.label[taken]
        open_ = int(np.count_nonzero(np.isnan(labels)))
        if self._waits and window.start_us < self._labels_until:
            window.given_up = True  # it was final before the restart
        elif self._waits:
            window.waiting += open_
        if replayed:
            return
        self._sums["counted"] += len(labels) - open_
        self._sums["unlabelled"] += 0 if self._waits else open_
        if self._spec.task != NUMBER:
            for label, predicted, count in pairs(labels, rows.predicted[taken]):
                self._running[label, predicted] += count

    def _enter(
        self,
        rows: pa.Table,
        entered: list[tuple[int, OpenWindow, int]],
        newest: npt.NDArray[np.int64],
    ) -> None:
        """Enter predictions in the order in which they came, whatever their windows."""
        if not entered:
            return
        keys, seen = keys_of(rows, self._spec.id_columns), newest.tolist()
        for row, window, place in sorted(entered, key=lambda each: each[0]):
            window.keys.append(keys[row])
            self._book.enter(window, place, keys[row], seen[row])

    def _used(self, window: OpenWindow, place: int) -> None:
        self._sums["counted"] += 1
        if self._spec.task != NUMBER:
            self._running[window.pair(place)] += 1

    def _is_final(self, start: int) -> bool:
        return start + self._spec.window_us + self._spec.lateness_us <= self._newest_us

    def _after(self, bound: int) -> list[int]:
        return self._order[bisect.bisect_left(self._order, bound) :]

    def _advance(self, replayed: bool) -> None:
        """Give up what was waited for too long, oldest windows first."""
        if not self._waits:
            return
        for start in self._after(self._labels_until):
            window = self._windows[start]
            end = start + self._spec.window_us + self._spec.lateness_us
            is_over = end + (self._spec.within_us or 0) <= self._newest_us
            is_over |= self._accepted - window.opened_at > self._spec.most_held
            if not self._is_final(start) or not is_over:
                break
            if not window.given_up and not replayed:
                self._sums["unlabelled"] += window.waiting
            window.given_up, window.waiting = True, 0
        self._forget_ids()
        self._book.expire(self._newest_us)

    def _forget_ids(self) -> None:
        """Forget ids once ``within`` passed again: until then a late label is told as such."""
        again_us = 2 * (self._spec.within_us or 0) + self._spec.lateness_us
        for start in self._after(self._ids_until):
            is_old = start + self._spec.window_us + again_us <= self._newest_us
            opened_at = self._windows[start].opened_at
            is_old |= self._accepted - opened_at > 2 * self._spec.most_held
            if not self._is_final(start) or not is_old:
                break
            self._book.forget(self._windows[start])
            self._ids_until = start + self._spec.window_us

    def _forget(self) -> None:
        """Drop windows of which everything was given, and no id is known any more."""
        until = min(self._labels_until, self._traffic_until)
        until = min(until, self._ids_until) if self._waits else until
        gone = bisect.bisect_left(self._order, until)
        for start in self._order[:gone]:
            del self._windows[start]
        del self._order[:gone]

    def _named(self, label: int, predicted: int) -> tuple[str, str]:
        return self._codes.names[label], self._codes.names[predicted]
