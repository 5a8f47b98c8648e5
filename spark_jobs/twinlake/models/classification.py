"""How well probabilities tell positives from negatives: by their ranking, and at a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinlake.errors import InputError

Doubles = npt.NDArray[np.float64]


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
        curve: ``recall`` and ``precision`` at every threshold that matters, recall falling.
    """

    threshold: float
    roc_auc: float
    average_precision: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
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

    def metrics(self) -> dict[str, float]:
        """Give every figure by name, for people and for MLflow."""
        return {
            "roc_auc": self.roc_auc,
            "average_precision": self.average_precision,
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
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

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
        roc_auc=float(roc_auc_score(is_positive, probability)),
        average_precision=float(average_precision_score(is_positive, probability)),
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=positives - true_positives,
        true_negatives=len(actual) - positives - false_positives,
        curve=pa.table({"recall": recall, "precision": precision}),
    )
