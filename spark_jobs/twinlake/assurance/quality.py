"""Quality windows: what a model's predictions were worth, window after window.

A window ``[start, end)`` of event time begins at a whole multiple of its length since 1970 and is
final once an event was seen that happened at ``end + lateness`` or later. What comes for a final
window changes nothing; it is counted as late. So the figures depend on the rows and their order
alone, not on how they were cut into batches, and rows of windows and late ones are all there are.

Held are the rows of windows that are not final: what comes in ``window + lateness``, and what lies
ahead of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.definitions.quality import OF_ALL
from twinlake.models.class_figures import class_figures
from twinlake.models.classification import ranking, surprise

IntArray = npt.NDArray[np.int64]

# The columns of a row that is watched.
TIME, VERSION, LABEL, PREDICTED = "event_us", "model_version", "label", "predicted"
PREDICTION, PROBABILITIES = "prediction", "probabilities"


@dataclass(frozen=True)
class Watched:
    """What is watched.

    Attributes:
        window_us: The length of a window.
        lateness_us: How long after its end a window is final.
        classes: The model's, in the order of its probabilities.
        threshold: Above which probability a row is called positive.
    """

    window_us: int
    lateness_us: int
    classes: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True)
class Figure:
    """One figure of a final window.

    Attributes:
        metric: What it is.
        of: The class that it is of; empty where it is of all.
        value: The figure.
        records: Of how many records it is.
    """

    metric: str
    of: str
    value: float
    records: int


@dataclass(frozen=True)
class FinalWindow:
    """A window that will not change any more, of one version of a model.

    Attributes:
        start_us: When it begins.
        end_us: When it ends; what happens then is in the next one.
        version: The version that spoke; None of rows without a prediction of any.
        counts: How many rows had which label and prediction.
        figures: What the predictions were worth.
    """

    start_us: int
    end_us: int
    version: int | None
    counts: Sequence[tuple[str | None, str | None, int]]
    figures: Sequence[Figure]


@dataclass
class QualityFold:
    """Folds predictions into windows.

    Attributes:
        watched: What is watched.
        newest_us: The newest event seen; None before the first.
        late: How many rows came for windows that were final.
    """

    watched: Watched
    newest_us: int | None = None
    late: int = 0
    _held: list[pa.Table] = field(default_factory=list)

    @property
    def held(self) -> int:
        """Count the rows of windows that are not final."""
        return sum(rows.num_rows for rows in self._held)

    @property
    def open_from_us(self) -> int | None:
        """Give the start of the oldest window that may not be final; None before the first row."""
        return None if self.newest_us is None else self._open_from_us(self.newest_us)

    def _open_from_us(self, newest_us: int) -> int:
        length = self.watched.window_us
        return (newest_us - self.watched.lateness_us) // length * length

    def restore(self, rows: pa.Table) -> None:
        """Hold rows again that were taken before, those of windows that are not final among them.

        ``newest_us`` and ``late`` are told beforehand.
        """
        since_us = self.open_from_us
        if since_us is not None and rows.num_rows:
            self._held = [rows.filter(pc.greater_equal(rows[TIME], since_us))]

    def add(self, rows: pa.Table) -> list[FinalWindow]:
        """Take further rows.

        Args:
            rows: In the order in which they were landed: ``event_us``, ``model_version``,
                ``label`` and ``predicted`` (text), ``prediction`` (double) and ``probabilities``
                (a list per row); any but the first may be null.

        Returns:
            The windows that are final now, oldest first, and in each the lowest version first.
        """
        if not rows.num_rows:
            return []
        event_us: IntArray = rows[TIME].to_numpy()
        known = np.maximum.accumulate(event_us)
        # What was seen before a row; no row is late for itself.
        before = np.concatenate([event_us[:1], known[:-1]])
        if self.newest_us is not None:
            before = np.maximum(before, self.newest_us)
            before[0] = self.newest_us
        end_us = self._start(event_us) + self.watched.window_us
        is_late = end_us + self.watched.lateness_us <= before
        self.late += int(np.count_nonzero(is_late))
        self._held.append(rows.filter(pa.array(~is_late)))
        self.newest_us = int(known[-1] if self.newest_us is None else max(known[-1], before[-1]))
        return self._close(self.newest_us)

    def _start(self, event_us: IntArray) -> IntArray:
        length = self.watched.window_us
        return event_us // length * length

    def _close(self, newest_us: int) -> list[FinalWindow]:
        since_us = self._open_from_us(newest_us)
        held = pa.concat_tables(self._held).combine_chunks()
        start = self._start(held[TIME].to_numpy())
        is_open = start >= since_us
        if is_open.all():
            self._held = [held]
            return []
        self._held = [held.filter(pa.array(is_open))]
        final, start = held.filter(pa.array(~is_open)), start[~is_open]
        version = final[VERSION].fill_null(-1).to_numpy().astype(np.int64)
        pairs, group = np.unique(np.stack([start, version], axis=1), axis=0, return_inverse=True)
        group = group.ravel()
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(pairs) + 1))
        made = []
        for place, (start_us, number) in enumerate(pairs.tolist()):
            rows = final.take(pa.array(order[ends[place] : ends[place + 1]]))
            made.append(self._window(start_us, None if number < 0 else number, rows))
        return made

    def _window(self, start_us: int, version: int | None, rows: pa.Table) -> FinalWindow:
        counted = rows.group_by([LABEL, PREDICTED]).aggregate([([], "count_all")])
        counts = [(r[LABEL], r[PREDICTED], r["count_all"]) for r in counted.to_pylist()]
        counts.sort(key=lambda one: (one[0] or "", one[1] or "", one[0] is None))
        end_us = start_us + self.watched.window_us
        return FinalWindow(start_us, end_us, version, counts, figures(rows, self.watched))


def figures(rows: pa.Table, watched: Watched) -> list[Figure]:
    """Measure the rows of a window: those that have a prediction, and of them those with a label.

    Args:
        rows: As ``QualityFold.add`` takes them.
        watched: What kind of model it is.
    """
    scored = rows.filter(pc.is_valid(rows[PREDICTION]))
    labelled = scored.filter(pc.is_valid(scored[LABEL]))
    counts = (rows.num_rows, scored.num_rows, labelled.num_rows)
    made = [Figure(name, "", float(n), n) for name, n in zip(OF_ALL, counts, strict=True)]
    if watched.classes:
        return [*made, *_of_classes(labelled, watched)]
    return [*made, *_of_numbers(scored, labelled, watched)]


def _of_classes(labelled: pa.Table, watched: Watched) -> list[Figure]:
    known = pa.array(watched.classes, pa.string())
    code = pc.index_in(labelled[LABEL], value_set=known)
    # A label that the model does not know is a mistake, but of none of its classes.
    rows, code = labelled.filter(pc.is_valid(code)), code.drop_null()
    strange = labelled.num_rows - rows.num_rows
    if not labelled.num_rows:
        return []
    if not rows.num_rows:
        return [Figure("accuracy", "", 0.0, strange)]
    listed = rows[PROBABILITIES].combine_chunks()
    given = listed.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(watched.classes))
    found = class_figures(code.to_numpy().astype(np.int64), given, watched.classes)
    count = found.confusion.sum(axis=1)
    right = found.accuracy * rows.num_rows / labelled.num_rows
    return [
        Figure("accuracy", "", right, labelled.num_rows),
        Figure("mean_per_class_error", "", found.mean_per_class_error, rows.num_rows),
        Figure("log_loss", "", found.log_loss, rows.num_rows),
        *(
            Figure("error", name, error, int(count[watched.classes.index(name)]))
            for name, error in found.errors.items()
        ),
    ]


def _of_numbers(scored: pa.Table, labelled: pa.Table, watched: Watched) -> list[Figure]:
    if not scored.num_rows:
        return []
    made = [Figure("mean_prediction", "", pc.mean(scored[PREDICTION]).as_py(), scored.num_rows)]
    if not labelled.num_rows:
        return made
    actual = labelled[LABEL].cast(pa.float64()).to_numpy()
    forecast = labelled[PREDICTION].to_numpy()
    values: dict[str, Any] = {}
    if watched.threshold is None:
        off = forecast - actual
        values = {"mae": np.mean(np.abs(off)), "rmse": np.sqrt(np.mean(off * off))}
    else:
        is_positive = actual == 1
        values["accuracy"] = np.mean((forecast > watched.threshold) == is_positive)
        values["auc"] = ranking(actual, forecast)
        values["log_loss"] = surprise(is_positive, forecast)
    return made + [Figure(n, "", float(value), len(actual)) for n, value in values.items()]
