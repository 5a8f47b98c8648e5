"""What the predictions of a window are worth, once it is known what was true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinlake.models.classification import NEAREST, calibrate, ranking, surprise

Doubles = npt.NDArray[np.float64]
CLASSES, PROBABILITY, NUMBER = "classes", "probability", "number"
TASKS = (CLASSES, PROBABILITY, NUMBER)
# A metric, what it is of, its value, and on how many records it rests.
Figure = tuple[str, str | None, float, int]


@dataclass(frozen=True)
class Labelled:
    """Predictions of one model version and one window whose labels are known.

    Attributes:
        task: What the model says: one of several classes, the probability of the positive, or a
            number.
        label: What was true, shape (rows,): the index of a class, 1 or 0, or the number.
        predicted: The index of the predicted class; by the threshold, for a probability.
        prediction: The probability of the positive, or the number.
        probabilities: Of each class, shape (rows, classes), NaN where there are none; or None.
        names: Of the classes by index.
    """

    task: str
    label: Doubles
    predicted: npt.NDArray[np.int32]
    prediction: Doubles
    probabilities: Doubles | None
    names: tuple[str, ...]

    def figures(self) -> Iterator[Figure]:
        """Give every figure that these rows allow; one that they do not allow is left out."""
        rows = len(self.label)
        if not rows:
            return
        if self.task == NUMBER:
            off = self.prediction - self.label
            yield "mae", None, float(np.mean(np.abs(off))), rows
            yield "rmse", None, float(np.sqrt(np.mean(off * off))), rows
            return
        yield from self._errors()
        if self.task == PROBABILITY:
            positive = self.label == 1
            if positive.any() and not positive.all():
                yield "auc", None, ranking(self.label, self.prediction), rows
            yield "log_loss", None, surprise(positive, self.prediction), rows
            yield from self._calibration(positive)
        elif self.probabilities is not None:
            yield from self._of_classes(self.probabilities)

    def _errors(self) -> Iterator[Figure]:
        wrong = self.predicted != self.label
        yield "accuracy", None, float(np.mean(~wrong)), len(wrong)
        shares = []
        for index in np.unique(self.label).astype(int).tolist():
            of = self.label == index
            shares.append(float(np.mean(wrong[of])))
            yield "error", self.names[index], shares[-1], int(np.count_nonzero(of))
        yield "mean_per_class_error", None, sum(shares) / len(shares), len(wrong)

    def _calibration(self, positive: npt.NDArray[np.bool_]) -> Iterator[Figure]:
        """Give the parts, and by how much forecast and share differ in the mean of all rows."""
        parts = calibrate(positive, self.prediction).to_pylist()
        for number, part in enumerate(parts):
            yield "calibration_forecast", str(number), part["forecast"], part["rows"]
            yield "calibration_actual", str(number), part["actual"], part["rows"]
        off = sum(abs(part["forecast"] - part["actual"]) * part["rows"] for part in parts)
        yield "calibration_error", None, off / len(positive), len(positive)

    def _of_classes(self, probabilities: Doubles) -> Iterator[Figure]:
        """Give log loss, and AUC as the mean over classes of each one against the rest."""
        there = ~np.isnan(probabilities).any(axis=1)
        given, label = probabilities[there], self.label[there].astype(int)
        rows = len(label)
        if not rows:
            return
        # A class that the model does not know was given no probability.
        known = label < given.shape[1]
        hit = np.zeros(rows)
        hit[known] = given[known, label[known]]
        yield "log_loss", None, float(-np.mean(np.log(np.clip(hit, NEAREST, 1 - NEAREST)))), rows
        ranks = [
            ranking((label == index).astype(np.float64), given[:, index])
            for index in range(given.shape[1])
            if 0 < np.count_nonzero(label == index) < rows
        ]
        if ranks:
            yield "auc", None, sum(ranks) / len(ranks), rows
