"""Trees of XGBoost: learned, asked, read from a file.

Text becomes XGBoost's own categories, which its UBJSON holds, so that a model that was loaded needs
nothing else.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.definitions.services import CLASS_PROBABILITIES
from twinlake.errors import InputError, StateError
from twinlake.models.boosting import xgb
from twinlake.models.columns import Categories, Doubles, categories_of, model_inputs
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.split import TimeSplit, split_by_time

UBJSON_FILE = "model.ubj"
CLASSES_ATTRIBUTE = "twinlake.classes"
# An object whose first name has a length of 64 bits.
UBJSON_BEGINS = b"{L"
DEFAULT_PARAMS: Mapping[str, Any] = {
    "tree_method": "hist",
    "objective": "reg:squarederror",
    # Of a column with fewer values a split takes one out, instead of parting them all. Measured as
    # ``columns.ENOUGH_ROWS`` was: it gains another 0.003 of ROC AUC.
    "max_cat_to_onehot": 100,
}


@dataclass(frozen=True)
class BoostedTrees:
    """A model of XGBoost; see ``Scorer``."""

    booster: xgb.Booster
    algorithm: str = "xgboost"
    file_name: str = UBJSON_FILE

    @property
    def features(self) -> tuple[str, ...]:
        """Name the columns that the model takes, in order."""
        return tuple(self.booster.feature_names or ())

    @cached_property
    def categories(self) -> Categories:
        """Give the columns of text, each with the values that the model knows."""
        if "c" not in (self.booster.feature_types or ()):
            return {}
        listed = self.booster.get_categories(export_to_arrow=True).to_arrow()
        return {name: values.cast(pa.string()) for name, values in listed if values is not None}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Name the classes that it tells apart; none where it tells none."""
        return tuple(json.loads(self.booster.attr(CLASSES_ATTRIBUTE) or "[]"))

    @property
    def rounds(self) -> int:
        """Count the trees."""
        return int(self.booster.num_boosted_rounds())

    def predict(self, table: pa.Table, *, threads: int = 1) -> Doubles:
        """Forecast each row; see ``Scorer``."""
        return np.asarray(self.booster.predict(self._matrix(table, threads)), dtype=np.float64)

    def contributions(self, table: pa.Table) -> Doubles | None:
        """Give SHAP values, exact for trees; see ``Scorer``."""
        if self.classes:
            return None
        told = self.booster.predict(self._matrix(table, 1), pred_contribs=True)
        return np.asarray(told, dtype=np.float64)

    def _matrix(self, table: pa.Table, threads: int) -> xgb.DMatrix:
        inputs = coded(model_inputs(table, self.features, self.categories), self.categories)
        return xgb.DMatrix(inputs, nthread=threads, enable_categorical=True)

    def gains(self) -> dict[str, float]:
        """Give each feature's share of the total gain; all 0 where no tree splits."""
        gains = self.booster.get_score(importance_type="total_gain")
        total = sum(gains.values())
        return {name: gains.get(name, 0.0) / total if total else 0.0 for name in self.features}

    def flavour(self) -> tuple[Any, dict[str, Any]]:
        """Give MLflow's part for XGBoost, and what it is told."""
        import mlflow.xgboost

        return mlflow.xgboost, {
            "xgb_model": self.booster,
            "model_format": "ubj",
            "pip_requirements": [f"xgboost-cpu=={xgb.__version__}"],
        }


def read_trees(content: bytes) -> BoostedTrees:
    """Read UBJSON.

    Raises:
        StateError: It is none.
    """
    # XGBoost ends the whole process where it is given what cannot even begin a model.
    if not content.startswith(UBJSON_BEGINS):
        raise StateError("this is no model of XGBoost in UBJSON", hint="train it again")
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(content))
    except xgb.core.XGBoostError as error:
        raise StateError(f"this is no model of XGBoost: {first_line(error)}") from error
    return BoostedTrees(booster)


def fit_trees(
    learned: pa.Table, recipe: TrainingRecipe, *, seed: int, threads: int
) -> tuple[BoostedTrees, dt.datetime | None]:
    """Fit the trees; with early stopping, on all but the last part of the time.

    Args:
        learned: Features and label as ``as_feature`` gives them.
        recipe: What to learn.
        seed: For what the parameters leave to chance, such as ``subsample``.
        threads: How many threads XGBoost may use.

    Returns:
        The model, and the first timestamp of the validation tail where there is one.

    Raises:
        InputError: XGBoost refuses the parameters.
    """
    params = {**DEFAULT_PARAMS, **recipe.params, "seed": seed, "nthread": threads, "verbosity": 0}
    if recipe.classes:
        params |= {"objective": CLASS_PROBABILITIES, "num_class": len(recipe.classes)}
    told: dict[str, Any] = {"verbose_eval": False}
    tail: TimeSplit | None = None
    if recipe.early_stopping_rounds is not None:
        tail = split_by_time(
            learned[recipe.time_column], recipe.validation_fraction, recipe.time_column
        )
        told["early_stopping_rounds"] = recipe.early_stopping_rounds
    rows = learned if tail is None else learned.filter(pa.array(tail.before))
    categories = categories_of(rows, recipe.features)
    try:
        matrix = _matrix(rows, recipe, categories, threads)
        if tail is not None:
            late = _matrix(
                learned.filter(pa.array(tail.after)), recipe, categories, threads, matrix
            )
            told["evals"] = [(late, "validation")]
        booster = xgb.train(params, matrix, recipe.rounds, **told)
    except (ValueError, xgb.core.XGBoostError) as error:
        raise InputError(
            f"XGBoost refuses the parameters of {recipe.name}: {first_line(error)}",
            hint="look at parameters= and candidates= of the model",
        ) from error
    if recipe.classes:  # the file alone has to say what its numbers are of
        booster.set_attr(**{CLASSES_ATTRIBUTE: json.dumps(recipe.classes)})
    if tail is None:
        return BoostedTrees(booster), None
    return BoostedTrees(booster[: booster.best_iteration + 1]), tail.cut


def coded(inputs: pa.Table, categories: Categories) -> pa.Table:
    """Write text as dictionaries of the known values, which XGBoost takes as categories."""
    for place, name in enumerate(inputs.column_names):
        if name in categories:
            known = categories[name]
            codes = pc.index_in(inputs[name].combine_chunks(), value_set=known)
            column = pa.DictionaryArray.from_arrays(codes.cast(pa.int32()), known)
            inputs = inputs.set_column(place, name, column)
    return inputs


def first_line(error: Exception) -> str:
    """Give what an engine says first, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _matrix(
    rows: pa.Table,
    recipe: TrainingRecipe,
    categories: Categories,
    threads: int,
    reference: xgb.QuantileDMatrix | None = None,
) -> xgb.QuantileDMatrix:
    """Bin the features straight from Arrow, without a copy in pandas.

    For validation, ``reference`` is the matrix whose bins are to be used.
    """
    inputs = coded(model_inputs(rows, recipe.features, categories), categories)
    return xgb.QuantileDMatrix(
        inputs,
        label=rows[recipe.label].to_numpy(),
        nthread=threads,
        max_bin=int(recipe.params.get("max_bin", 256)),
        ref=reference,
        enable_categorical=True,
    )
