"""What a leaderboard compares: the model's own settings, further ones, and plainer algorithms."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from twinlake.definitions.services import (
    DECISION_TREE,
    LINEAR_DISCRIMINANT,
    LOGISTIC_REGRESSION,
    OWN_SETTINGS,
    QUADRATIC_DISCRIMINANT,
    RIDGE,
    ROUNDS,
    Parameter,
)
from twinlake.models.boosted_trees import fit_trees
from twinlake.models.pipelines import fit_pipeline
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.scorer import Scorer

XGBOOST = "xgboost"
# Of a model that names none: those that did best on the loans of ``columns.ENOUGH_ROWS``.
USUAL: Mapping[str, Mapping[str, Parameter]] = {
    "xgboost_slow": {"eta": 0.05, "rounds": 600},
    "xgboost_careful": {"eta": 0.05, "lambda": 10, "rounds": 500},
    "xgboost_shallow": {"max_depth": 4, "rounds": 400},
}
# XGBoost has two words for some parameters; only one of them may be said.
OTHER_WORD = {
    "learning_rate": "eta",
    "min_split_loss": "gamma",
    "reg_lambda": "lambda",
    "reg_alpha": "alpha",
}


@dataclass(frozen=True)
class Candidate:
    """One way to learn a model.

    Attributes:
        name: What the leaderboard calls it.
        algorithm: ``xgboost``, ``logistic_regression``, ``ridge``, ``decision_tree``, or of classes
            ``linear_discriminant`` and ``quadratic_discriminant``.
        recipe: The model's recipe, with this candidate's parameters.
    """

    name: str
    algorithm: str
    recipe: TrainingRecipe

    def fit(
        self, learned: pa.Table, *, seed: int, threads: int
    ) -> tuple[Scorer, dt.datetime | None]:
        """Learn from rows.

        Returns:
            The model, and the first timestamp of the validation tail where there is one.
        """
        if self.algorithm == XGBOOST:
            return fit_trees(learned, self.recipe, seed=seed, threads=threads)
        return fit_pipeline(learned, self.recipe, self.algorithm, seed), None


def own_settings(recipe: TrainingRecipe) -> Candidate:
    """Give the model as it is defined."""
    return Candidate(OWN_SETTINGS, XGBOOST, recipe)


def candidates_of(recipe: TrainingRecipe) -> list[Candidate]:
    """List what a leaderboard of a model compares, its own settings first."""
    found = [own_settings(recipe)]
    for name, changed in (recipe.candidates or USUAL).items():
        params = {_word(key): value for key, value in recipe.params.items()}
        params |= {_word(key): value for key, value in changed.items() if key != ROUNDS}
        rounds = int(changed.get(ROUNDS, recipe.rounds))
        merged = dataclasses.replace(recipe, params=params, rounds=rounds)
        found.append(Candidate(name, XGBOOST, merged))
    plain = dataclasses.replace(recipe, candidates={})
    if recipe.classes:
        others = [LOGISTIC_REGRESSION, LINEAR_DISCRIMINANT, QUADRATIC_DISCRIMINANT]
    else:
        others = [RIDGE if recipe.threshold is None else LOGISTIC_REGRESSION]
    found += [Candidate(name, name, plain) for name in (*others, DECISION_TREE)]
    return found


def _word(parameter: str) -> str:
    return OTHER_WORD.get(parameter, parameter)
