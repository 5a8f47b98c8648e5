"""How well probabilities tell positives from negatives: by their ranking, and at a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinlake.errors import InputError
from twinlake.models.columns import Doubles

CALIBRATION_PARTS = 10
# The distance from 0 and from 1 that a probability is taken to have at least.
NEAREST = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Classification:
    """What a model's probabilities are worth on the rows of a test part.

    Attributes:
        threshold: A row whose probability is above it is called positive.
        roc_auc: The share of pairs of a positive and a negative in which the positive has the
            greater probability; a tie counts half. A guess comes to 0.5.
        average_precision: Precision, averaged over the steps of recall; a guess comes to the share
            of positives.
        true_positives: Positives called so.
        false_positives: Negatives called positive.
        false_negatives: Positives that were missed.
        true_negatives: Negatives called so.
        log_loss: The mean surprise, ``-ln`` of the probability that was given to what was true; a
            probability of 0 or 1 counts as the nearest one within. The share of positives for every
            row comes to ``base_log_loss``.
        calibration: The rows in parts of about the same size by their probability, rising:
            ``forecast``, its mean in the part, ``actual``, the share of positives, and ``rows``.
        curve: ``recall`` and ``precision`` at every threshold that matters, recall falling.
    """

    threshold: float
    roc_auc: float
    average_precision: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    log_loss: float
    calibration: pa.Table
    curve: pa.Table

    @property
    def precision(self) -> float:
        """The share of positives among what is called positive; 0 where nothing is."""
        called = self.true_positives + self.false_positives
        return self.true_positives / called if called else 0.0

    @property
    def recall(self) -> float:
        """The share of the positives that is called positive."""
        return self.true_positives / (self.true_positives + self.false_negatives)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        positives = self.true_positives + self.false_negatives
        return positives + self.false_positives + self.true_negatives

    @property
    def accuracy(self) -> float:
        """The share of rows that are called what they are."""
        return (self.true_positives + self.true_negatives) / self.rows

    @property
    def base_log_loss(self) -> float:
        """What the log loss comes to where every row is given the share of positives."""
        share = (self.true_positives + self.false_negatives) / self.rows
        return -share * math.log(share) - (1 - share) * math.log(1 - share)

    def metrics(self) -> dict[str, float]:
        """Give every figure by name, for people and for MLflow."""
        return {
            "roc_auc": self.roc_auc,
            "average_precision": self.average_precision,
            "log_loss": self.log_loss,
            "accuracy": self.accuracy,
            "precision": self.precision,
            "recall": self.recall,
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
            "true_negatives": self.true_negatives,
        }


def classify(actual: Doubles, probability: Doubles, threshold: float) -> Classification:
    """Measure probabilities against what was true.

    Args:
        actual: 1 where a row is positive, 0 where it is not, shape (rows,).
        probability: What the model gave, shape (rows,).
        threshold: Above which probability a row is called positive.

    Raises:
        InputError: All rows are positive, or none is: there is nothing to tell apart.
    """
    # XGBoost has loaded scikit-learn by now; who measures nothing does not wait for it.
    from sklearn.metrics import average_precision_score, precision_recall_curve

    is_positive, called = actual == 1, probability > threshold
    positives = int(np.count_nonzero(is_positive))
    if positives in {0, len(actual)}:
        raise InputError(
            f"{positives:,} of the {len(actual):,} rows of the test part are positive",
            hint="hold out a time in which both labels occur",
        )
    true_positives = int(np.count_nonzero(is_positive & called))
    false_positives = int(np.count_nonzero(called)) - true_positives
    precision, recall, _ = precision_recall_curve(is_positive, probability, drop_intermediate=True)
    return Classification(
        threshold=threshold,
        roc_auc=ranking(actual, probability),
        average_precision=float(average_precision_score(is_positive, probability)),
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=positives - true_positives,
        true_negatives=len(actual) - positives - false_positives,
        log_loss=surprise(is_positive, probability),
        calibration=calibrate(is_positive, probability),
        curve=pa.table({"recall": recall, "precision": precision}),
    )


def ranking(actual: Doubles, probability: Doubles) -> float:
    """Give the ROC AUC; 0.5, a guess, where all rows have one label."""
    from sklearn.metrics import roc_auc_score

    is_positive = actual == 1
    if is_positive.all() or not is_positive.any():
        return 0.5
    return float(roc_auc_score(is_positive, probability))


def surprise(is_positive: npt.NDArray[np.bool_], probability: Doubles) -> float:
    """Give the log loss."""
    given = np.where(is_positive, probability, 1 - probability)
    return float(-np.mean(np.log(np.clip(given, NEAREST, 1 - NEAREST))))


def calibrate(is_positive: npt.NDArray[np.bool_], probability: Doubles) -> pa.Table:
    """Compare probabilities with shares of positives, part by part.

    Rows of one probability stay together, so that parts depend on no order; where many rows have
    the same, parts are fewer.
    """
    inner = np.arange(1, CALIBRATION_PARTS) / CALIBRATION_PARTS
    edges = np.unique(np.quantile(probability, inner, method="inverted_cdf"))
    part = np.searchsorted(edges, probability, side="left")
    rows = np.bincount(part)
    some = rows > 0
    return pa.table(
        {
            "forecast": np.bincount(part, probability)[some] / rows[some],
            "actual": np.bincount(part, is_positive)[some] / rows[some],
            "rows": rows[some],
        }
    )
