"""One window of predictions while it is open, and while labels of it are waited for."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from twinlake.assurance.drift import Counts, Reference
from twinlake.assurance.quality_figures import CLASSES, NUMBER, Figure, Labelled
from twinlake.assurance.quality_rows import Codes, Predictions


@dataclass(slots=True)
class OpenWindow:
    """The rows of one window; arrays grow at their end, and a row keeps its place.

    Attributes:
        start_us: The window's first instant.
        opened_at: How many predictions had been accepted before its first one.
        unscored: Rows without a prediction, by model version.
        waiting: Rows whose label is waited for.
        given_up: Whether labels are waited for no longer.
        oldest_label_us: The oldest label that was used; labels are read again from it on.
        keys: What identifies each row, to forget it by.
    """

    start_us: int
    opened_at: int
    unscored: Counter[int] = field(default_factory=Counter)
    inputs: dict[tuple[int, str], Counts] = field(default_factory=dict)
    waiting: int = 0
    given_up: bool = False
    oldest_label_us: int | None = None
    keys: list[Any] = field(default_factory=list)
    times: array[int] = field(default_factory=lambda: array("q"))
    labels: array[float] = field(default_factory=lambda: array("d"))
    _version: array[int] = field(default_factory=lambda: array("q"))
    _predicted: array[int] = field(default_factory=lambda: array("i"))
    _prediction: array[float] = field(default_factory=lambda: array("d"))
    _probabilities: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def append(
        self, rows: Predictions, which: npt.NDArray[np.bool_], reference: Reference | None
    ) -> npt.NDArray[np.int64]:
        """Take rows that belong here; give the indices, in ``rows``, of those with a prediction."""
        missed = rows.version[which & ~rows.scored]
        self.unscored.update(missed.tolist())
        taken = np.flatnonzero(which & rows.scored)
        self.times.frombytes(rows.times[taken].tobytes())
        self.labels.frombytes(rows.label[taken].tobytes())
        self._version.frombytes(rows.version[taken].tobytes())
        self._predicted.frombytes(rows.predicted[taken].tobytes())
        self._prediction.frombytes(rows.prediction[taken].tobytes())
        if rows.probabilities is not None:
            self._probabilities.append(rows.probabilities[taken])
        elif self._probabilities:  # rows before had some
            width = self._probabilities[0].shape[1]
            self._probabilities.append(np.full((len(taken), width), np.nan))
        if reference is not None:
            self._count_inputs(rows, taken, reference)
        return taken

    def _count_inputs(
        self, rows: Predictions, taken: npt.NDArray[np.int64], reference: Reference
    ) -> None:
        there = [name for name in reference.features if name in rows.rows.column_names]
        for version in np.unique(rows.version[taken]).tolist():
            of = rows.rows.select(there).take(taken[rows.version[taken] == version])
            for name in there:
                counted = reference.features[name].count(of.column(name))
                key = (version, name)
                self.inputs[key] = self.inputs.get(key, 0) + counted

    def versions(self) -> list[int]:
        """Give the model versions that said something here, or failed to."""
        return sorted(set(np.unique(np.array(self._version)).tolist()) | set(self.unscored))

    def drop_rows(self) -> None:
        """Forget what only figures need; times and labels still tell what comes again."""
        self._version, self._predicted = array("q"), array("i")
        self._prediction, self._probabilities = array("d"), []
        self.inputs, self.unscored = {}, Counter()

    def traffic(self, version: int, reference: Reference | None) -> Iterator[Figure]:
        """Give what is known without labels."""
        scored = int(np.count_nonzero(np.array(self._version) == version))
        missed = self.unscored[version]
        records = scored + missed
        yield "records", None, float(records), records
        yield "unscored", None, float(missed), records
        yield "unscored_share", None, missed / records, records
        if reference is None or not scored:
            return
        moved = [
            (name, parts.psi(self.inputs[version, name]))
            for name, parts in sorted(reference.features.items())
            if (version, name) in self.inputs and any(parts.rows)
        ]
        for name, index in moved:
            yield "psi", name, index, scored
        if moved:
            yield "psi", None, max(index for _, index in moved), scored

    def labelled(self, version: int, task: str, codes: Codes) -> Iterator[Figure]:
        """Give what labels tell."""
        of = np.array(self._version) == version
        label = np.array(self.labels)
        there = of & ~np.isnan(label)
        rows, known = int(np.count_nonzero(of)), int(np.count_nonzero(there))
        yield "labelled", None, float(known), rows
        yield "unlabelled", None, float(rows - known), rows
        given = None
        if task == CLASSES and self._probabilities:
            given = self._all_probabilities(len(label))[there]
        yield from Labelled(
            task,
            label[there],
            np.array(self._predicted, np.int32)[there],
            np.array(self._prediction)[there],
            given,
            tuple(codes.names),
        ).figures()

    def _all_probabilities(self, rows: int) -> npt.NDArray[np.float64]:
        given = np.concatenate(self._probabilities)
        before = np.full((rows - len(given), given.shape[1]), np.nan)
        return np.concatenate([before, given])

    def counts(self, version: int, task: str) -> Iterator[tuple[int, int, int]]:
        """Give how many rows have which label and which prediction."""
        if task == NUMBER:
            return
        of = np.array(self._version) == version
        yield from pairs(np.array(self.labels)[of], np.array(self._predicted)[of])

    def pair(self, index: int) -> tuple[int, int]:
        """Give the label and the prediction of a row whose label is known."""
        return int(self.labels[index]), self._predicted[index]


def pairs(
    labels: npt.NDArray[np.float64], predicted: npt.NDArray[np.int32]
) -> Iterator[tuple[int, int, int]]:
    """Count the rows of each known label and prediction."""
    known = ~np.isnan(labels)
    both = labels[known].astype(np.int64) << 32 | predicted[known].astype(np.int64)
    found, counts = np.unique(both, return_counts=True)
    for pair, count in zip(found.tolist(), counts.tolist(), strict=True):
        yield pair >> 32, pair & 0xFFFFFFFF, count
