"""What each feature is worth to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from twinlake.models.class_figures import class_figures
from twinlake.models.classification import ranking
from twinlake.models.columns import Doubles
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.scorer import Scorer

# More rows say nothing more, and every feature asks the model for all of them once.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Importance:
    """What each feature is worth.

    Attributes:
        measured_by: How it was found, in the words that stand over a picture.
        values: By feature, in the order in which the model takes them.
    """

    measured_by: str
    values: Mapping[str, float]


def gained(scorer: Scorer) -> Importance | None:
    """Give each feature's share of what the model gained in learning, where the model knows."""
    gains = scorer.gains()
    return None if gains is None else Importance("share of the total gain", gains)


def shuffled(
    scorer: Scorer, test: pa.Table, recipe: TrainingRecipe, *, seed: int, threads: int
) -> Importance:
    """Find what the model loses where one feature is shuffled over the rows of the test part.

    It is ROC AUC that is lost, or log loss of classes or mean absolute error that is added; below 0
    the model does better without.

    Args:
        scorer: The model.
        test: Features and label.
        recipe: Names the label, and tells whether the model gives probabilities.
        seed: Of the one order in which every feature is shuffled, and of the rows that are taken
            where there are many.
        threads: How many threads may be used.
    """
    chance = np.random.default_rng(seed)
    rows = test
    if len(test) > MOST_ROWS:
        rows = test.take(pa.array(np.sort(chance.choice(len(test), MOST_ROWS, replace=False))))
    order = pa.array(chance.permutation(len(rows)))
    actual = rows[recipe.label].to_numpy()
    is_ranked = recipe.threshold is not None

    def loss(asked: pa.Table) -> float:
        forecast = scorer.predict(asked, threads=threads)
        if recipe.classes:
            return _class_loss(actual, forecast, scorer, recipe)
        return -ranking(actual, forecast) if is_ranked else _mean_error(actual, forecast)

    whole = loss(rows)
    values = {}
    for name in scorer.features:
        place = rows.schema.get_field_index(name)
        mixed = rows.set_column(place, name, rows[name].take(order))
        values[name] = loss(mixed) - whole
    lost = "ROC AUC lost" if is_ranked else "mean absolute error added"
    lost = "log loss added" if recipe.classes else lost
    return Importance(f"{lost} where the feature is shuffled", values)


def _class_loss(
    actual: Doubles, forecast: Doubles, scorer: Scorer, recipe: TrainingRecipe
) -> float:
    order = [recipe.classes.index(name) for name in scorer.classes]
    place = np.argsort(order)[actual.astype(np.int64)]
    return class_figures(place, forecast, scorer.classes).log_loss


def _mean_error(actual: Doubles, forecast: Doubles) -> float:
    return float(np.mean(np.abs(forecast - actual)))
