"""How well several classes are told apart: errors per class, and what the probabilities are worth.

The errors of probabilities are those that H2O gives of a multinomial model, whose leaderboards have
them: of each row ``1 - p``, ``p`` being the probability that its own class was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinlake.errors import InputError
from twinlake.models.classification import NEAREST
from twinlake.models.columns import Doubles


@dataclass(frozen=True)
class ClassFigures:
    """What a model's probabilities of classes are worth on some rows.

    Attributes:
        classes: In the order of ``confusion``.
        confusion: How often a row of a class (first index) was taken for one (second index).
        log_loss: The mean of ``-ln p``; a probability of 0 counts as the nearest one above.
        mse: The mean of ``(1 - p)^2``.
    """

    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    log_loss: float
    mse: float

    @property
    def rmse(self) -> float:
        """The root of ``mse``."""
        return float(np.sqrt(self.mse))

    @property
    def errors(self) -> dict[str, float]:
        """Give each class's share of rows that were taken for another; of classes with rows."""
        rows = self.confusion.sum(axis=1)
        right = np.diag(self.confusion)
        named = zip(self.classes, rows.tolist(), right.tolist(), strict=True)
        return {name: 1 - good / count for name, count, good in named if count}

    @property
    def mean_per_class_error(self) -> float:
        """The mean of the errors of classes, each counting alike."""
        return float(np.mean(list(self.errors.values())))

    @property
    def accuracy(self) -> float:
        """The share of rows that are taken for what they are."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    def metrics(self) -> dict[str, float]:
        """Give every figure by name, for people and for MLflow."""
        return {
            "mean_per_class_error": self.mean_per_class_error,
            "log_loss": self.log_loss,
            "rmse": self.rmse,
            "mse": self.mse,
            "accuracy": self.accuracy,
        }


def class_figures(
    actual: npt.NDArray[np.int64], probabilities: Doubles, classes: Sequence[str]
) -> ClassFigures:
    """Measure probabilities of classes against what was true.

    Args:
        actual: The number of each row's class, shape (rows,).
        probabilities: Shape (rows, classes).
        classes: Their names.

    Raises:
        InputError: There is no row.
    """
    if not len(actual):
        raise InputError("there is no row to measure a model on")
    given = probabilities[np.arange(len(actual)), actual]
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (actual, np.argmax(probabilities, axis=1)), 1)
    return ClassFigures(
        tuple(classes),
        confusion,
        float(-np.mean(np.log(np.clip(given, NEAREST, None)))),
        float(np.mean((1 - given) ** 2)),
    )
