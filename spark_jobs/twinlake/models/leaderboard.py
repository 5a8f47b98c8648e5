"""Candidates of one model, measured on the same rows and put in order, best first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twinlake.models.candidates import Candidate
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.train import TrainingResult

# What a leaderboard tells of a candidate, and by what it is ordered: the first, then the second.
OF_PROBABILITIES = (
    "roc_auc", "log_loss", "accuracy", "average_precision", "precision", "recall"
)  # fmt: skip
OF_FORECASTS = ("mae", "rmse")
OF_CLASSES = ("mean_per_class_error", "log_loss", "rmse", "mse", "accuracy")
GREATER_IS_BETTER = {"roc_auc", "accuracy", "average_precision", "precision", "recall"}


@dataclass(frozen=True)
class Entry:
    """One candidate as it was trained.

    Attributes:
        candidate: How it was learned.
        result: The model, and what it is worth.
        started_at: When its training began; aware.
        finished_at: When it was measured; aware.
    """

    candidate: Candidate
    result: TrainingResult
    started_at: dt.datetime
    finished_at: dt.datetime

    def figures(self) -> dict[str, float]:
        """Give what candidates are compared by, in the order of a leaderboard's columns."""
        if self.result.classification is not None:
            told = self.result.classification.metrics()
            return {name: told[name] for name in OF_PROBABILITIES}
        if self.result.classes is not None:
            return self.result.classes.metrics()
        errors = self.result.errors["model"]
        return {"mae": errors.mae, "rmse": errors.rmse}


def ranked(entries: Iterable[Entry]) -> list[Entry]:
    """Put candidates in order, best first: by ROC AUC, mean error per class or mean absolute error.

    Equal ones are told apart by log loss, or root mean squared error; those equal in that too stay
    in the order in which they came.
    """

    def worth(entry: Entry) -> list[float]:
        first_two = list(entry.figures().items())[:2]
        return [-value if name in GREATER_IS_BETTER else value for name, value in first_two]

    return sorted(entries, key=worth)


def columns(recipe: TrainingRecipe) -> tuple[str, ...]:
    """Name the figures that a leaderboard of a model tells."""
    if recipe.classes:
        return OF_CLASSES
    return OF_FORECASTS if recipe.threshold is None else OF_PROBABILITIES


def rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Write a leaderboard down: one row a candidate, best first."""
    return [
        {
            "rank": place,
            "candidate": entry.candidate.name,
            "algorithm": entry.candidate.algorithm,
            **entry.figures(),
            "trees": entry.result.rounds,
            "seconds": (entry.finished_at - entry.started_at).total_seconds(),
        }
        for place, entry in enumerate(entries, 1)
    ]
