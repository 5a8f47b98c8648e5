"""Train on a training set held as Arrow, and measure a model on what it did not see.

The result depends on the rows and the recipe alone: rows are brought into an order that their
content gives, so it does not matter in which order a table's files were read. Only the seed and
the number of threads are outside of the recipe; both are arguments.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.errors import InputError
from twinlake.models.boosted_trees import BoostedTrees
from twinlake.models.candidates import Candidate, own_settings
from twinlake.models.class_figures import ClassFigures, class_figures
from twinlake.models.classification import Classification, classify
from twinlake.models.columns import Doubles, as_doubles, as_feature, as_text
from twinlake.models.content import row_hashes
from twinlake.models.folds import out_of_fold
from twinlake.models.importance import Importance, gained, shuffled
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.scorer import Scorer
from twinlake.models.split import TimeSplit, microseconds, split_at, split_by_time


@dataclass(frozen=True)
class Errors:
    """Errors of one forecast over the compared rows, in the unit of the label."""

    mae: float
    rmse: float


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and what it is worth.

    Attributes:
        scorer: The model; with early stopping, cut to its best number of trees.
        cut: Where the test part begins; None of a cross-validation.
        validation_cut: The first timestamp of the validation tail; None without early stopping.
        train_rows: Rows that were learned, the validation tail included.
        test_rows: Rows at or after the cut; of a cross-validation all of them.
        compared_rows: The test rows where every baseline has a value. The model and all baselines
            are measured on these same rows.
        errors: By name, ``"model"`` and every baseline; none of a classification.
        importance: What each feature is worth to the model.
        test_tail: By timestamp of the test part: ``time`` (us, UTC), ``actual`` and ``forecast``,
            the means over that timestamp's rows; None of a classification.
        classification: How well positives are told from negatives, where that is what is learned.
        classes: How well classes are told apart, where that is.
    """

    scorer: Scorer
    cut: dt.datetime | None
    validation_cut: dt.datetime | None
    train_rows: int
    test_rows: int
    compared_rows: int
    errors: Mapping[str, Errors]
    importance: Importance
    test_tail: pa.Table | None
    classification: Classification | None = None
    classes: ClassFigures | None = None

    @property
    def rounds(self) -> int | None:
        """Count the trees of boosting; None of another algorithm."""
        return self.scorer.rounds if isinstance(self.scorer, BoostedTrees) else None

    def metrics(self) -> dict[str, float]:
        """Flatten the errors: ``model_mae``, ``yesterday_rmse``, ..., and the model's gain.

        ``mae_gain_over_best_baseline`` is the part by which the model's MAE lies below that of the
        best baseline: 0.08 is eight percent better, a negative number is worse. A classification
        has the metrics of its own.
        """
        if self.classification is not None:
            return self.classification.metrics()
        if self.classes is not None:
            return self.classes.metrics()
        flat = {f"{name}_mae": found.mae for name, found in self.errors.items()}
        flat |= {f"{name}_rmse": found.rmse for name, found in self.errors.items()}
        naive = [found.mae for name, found in self.errors.items() if name != "model"]
        if naive and min(naive) > 0:
            flat["mae_gain_over_best_baseline"] = 1 - self.errors["model"].mae / min(naive)
        return flat


@dataclass(frozen=True)
class Parts:
    """A training set that was checked, ordered and split.

    Attributes:
        recipe: What is learned from it.
        learned: The rows to learn from.
        test: The rows to measure on.
        cut: Where they begin; None of a cross-validation, where both are all rows.
    """

    recipe: TrainingRecipe
    learned: pa.Table
    test: pa.Table
    cut: dt.datetime | None


def train(table: pa.Table, recipe: TrainingRecipe, *, seed: int, threads: int) -> TrainingResult:
    """Train and measure one model.

    Args:
        table: The training set; needs ``recipe.columns()``. Null features become missing values,
            text becomes categories.
        recipe: What to learn.
        seed: For what the parameters leave to chance, such as ``subsample``.
        threads: How many threads XGBoost may use.

    Returns:
        The model, its errors and those of the baselines on the same rows of the test part; or how
        well its probabilities tell positives from negatives there.

    Raises:
        InputError: As ``split_parts``; XGBoost refuses the parameters.
    """
    parts = split_parts(table, recipe)
    return train_candidate(parts, own_settings(recipe), seed=seed, threads=threads)


def split_parts(table: pa.Table, recipe: TrainingRecipe) -> Parts:
    """Check a training set, and split it into what is learned and what is measured on.

    Raises:
        InputError: A column is missing or of a type that no model takes, a label or time is null, a
            feature is infinite, one side of the split would be empty, or where probabilities are
            learned, a label is none that the model knows or all rows to learn from have the same.
    """
    ordered = canonical_order(check_columns(table, recipe), recipe)
    if recipe.folds is not None:
        _require_labels(ordered, recipe)
        return Parts(recipe, ordered, ordered, None)
    split = split_of(ordered, recipe)
    learned, test = ordered.filter(pa.array(split.before)), ordered.filter(pa.array(split.after))
    _require_labels(learned, recipe)
    return Parts(recipe, learned, test, split.cut)


def _require_labels(learned: pa.Table, recipe: TrainingRecipe) -> None:
    """Refuse rows from which labels cannot be told apart."""
    found = pc.unique(learned[recipe.label]).to_pylist()
    if recipe.threshold is not None and len(found) < 2:
        raise InputError(
            f"all {len(learned):,} rows to learn from have {recipe.label} {found[0]:g}",
            hint="give rows of both labels",
        )
    if lacking := [name for code, name in enumerate(recipe.classes) if code not in found]:
        raise InputError(
            f"none of the {len(learned):,} rows to learn from has {recipe.label} "
            f"{', '.join(lacking)}",
            hint="give rows of all classes, or take those away that there are none of",
        )


def train_candidate(
    parts: Parts, candidate: Candidate, *, seed: int, threads: int, shuffle: bool = False
) -> TrainingResult:
    """Train one candidate and measure it on the test part.

    Args:
        parts: The training set.
        candidate: How to learn.
        seed: For what the algorithm leaves to chance, and for shuffling.
        threads: How many threads XGBoost may use.
        shuffle: Tell what features are worth by shuffling them, which is the same for every
            algorithm, even where the model itself knows.

    Raises:
        InputError: XGBoost refuses the parameters; or the test part cannot be measured on.
    """
    recipe, test = parts.recipe, parts.test
    scorer, validation_cut = candidate.fit(parts.learned, seed=seed, threads=threads)
    if recipe.folds is None:
        forecast = scorer.predict(test, threads=threads)
    else:

        def fit_and_ask(learned: pa.Table, asked: pa.Table) -> Doubles:
            fitted, _ = candidate.fit(learned, seed=seed, threads=threads)
            return _in_order(fitted, fitted.predict(asked, threads=threads), recipe)

        forecast = out_of_fold(test, recipe, fit_and_ask)
    found: dict[str, Any]
    if recipe.classes:
        actual = test[recipe.label].to_numpy().astype(np.int64)
        if recipe.folds is None:
            forecast = _in_order(scorer, forecast, recipe)
        found = {"errors": {}, "compared_rows": len(test), "test_tail": None}
        found["classes"] = class_figures(actual, forecast, recipe.classes)
    elif recipe.threshold is None:
        errors, compared_rows = compare(test, forecast, recipe)
        found = {"errors": errors, "compared_rows": compared_rows}
        found["test_tail"] = by_time(test, forecast, recipe)
    else:
        told = classify(test[recipe.label].to_numpy(), forecast, recipe.threshold)
        found = {"errors": {}, "compared_rows": len(test), "test_tail": None}
        found["classification"] = told
    worth = None if shuffle else gained(scorer)
    return TrainingResult(
        scorer=scorer,
        cut=parts.cut,
        validation_cut=validation_cut,
        train_rows=len(parts.learned),
        test_rows=len(test),
        importance=worth or shuffled(scorer, test, recipe, seed=seed, threads=threads),
        **found,
    )


def _in_order(scorer: Scorer, forecast: Doubles, recipe: TrainingRecipe) -> Doubles:
    """Give probabilities of classes in the order of the recipe; a class never seen has 0."""
    if not recipe.classes:
        return forecast
    found = np.zeros((len(forecast), len(recipe.classes)))
    for place, name in enumerate(scorer.classes):
        found[:, recipe.classes.index(name)] = forecast[:, place]
    return found


def split_of(rows: pa.Table, recipe: TrainingRecipe) -> TimeSplit:
    """Cut the rows where the recipe says."""
    times = rows[recipe.time_column]
    if recipe.tested_from_us is None:
        return split_by_time(times, recipe.test_fraction, recipe.time_column)
    return split_at(times, recipe.trained_from_us, recipe.tested_from_us, recipe.time_column)


def check_columns(table: pa.Table, recipe: TrainingRecipe) -> pa.Table:
    """Take the columns of the recipe: numbers as float64, features of text as strings.

    Raises:
        InputError: As ``train``; names the column.
    """
    for name in recipe.columns():
        if name not in table.column_names:
            raise InputError.unknown("column", name, table.column_names)
    columns = {recipe.time_column: table[recipe.time_column]}
    for name in recipe.columns():
        if name in recipe.features and name not in recipe.baselines.values():
            columns[name] = as_feature(table[name], name)
        elif name == recipe.label and recipe.classes:
            columns[name] = _as_codes(table[name], recipe)
        elif name != recipe.time_column:
            columns[name] = as_doubles(table[name], name)
    label = columns[recipe.label]
    if unusable := pc.sum(pc.is_null(label, nan_is_null=True)).as_py():
        raise InputError(
            f"label {recipe.label} is null or NaN in {unusable} of {len(table)} rows",
            hint="leave rows without a label out of the spine",
        )
    if recipe.threshold is not None:
        is_neither = pc.invert(pc.is_in(label, pa.array([0.0, 1.0])))
        if neither := label.filter(is_neither):
            raise InputError(
                f"label {recipe.label} is neither 0 nor 1 in {len(neither)} of {len(table)} rows, "
                f"such as {neither[0].as_py()}",
                hint="write 1 where a row is positive and 0 where it is not",
            )
    return pa.table(columns)


def _as_codes(label: pa.ChunkedArray, recipe: TrainingRecipe) -> pa.ChunkedArray:
    """Write classes as their numbers; of a null there is none.

    Raises:
        InputError: A row has none of them.
    """
    texts = as_text(label, recipe.label)
    codes = pc.index_in(texts, value_set=pa.array(recipe.classes, pa.string()))
    strange = texts.filter(pc.and_(pc.is_valid(texts), pc.is_null(codes)))
    if len(strange):
        raise InputError(
            f"label {recipe.label} is none of {', '.join(recipe.classes)} in {len(strange)} of "
            f"{len(label)} rows, such as {strange[0].as_py()!r}",
            hint="add it to the classes of the model, or leave such rows out of the spine",
        )
    return codes.cast(pa.float64())


def canonical_order(table: pa.Table, recipe: TrainingRecipe) -> pa.Table:
    """Order rows by time and, within a timestamp, by the hash of their content.

    Sums of floating-point gradients depend on the order of their terms, so the same rows in
    another order would give another model in its last bits.
    """
    whole = table.combine_chunks().to_batches()
    batch = whole[0] if whole else pa.RecordBatch.from_pylist([], schema=table.schema)
    hi, lo = row_hashes(batch, table.column_names)
    order = np.lexsort((lo, hi, microseconds(table[recipe.time_column], recipe.time_column)))
    return table.take(pa.array(order))


def compare(
    test: pa.Table, forecast: Doubles, recipe: TrainingRecipe
) -> tuple[dict[str, Errors], int]:
    """Measure the model and the baselines on the rows where every baseline has a value.

    Raises:
        InputError: There is no such row.
    """
    forecasts = {"model": forecast}
    for name, column in recipe.baselines.items():
        forecasts[name] = test[column].to_numpy()  # null becomes NaN
    same_rows = ~np.any([np.isnan(values) for values in forecasts.values()], axis=0)
    if not same_rows.any():
        raise InputError(
            f"no row of the test part has a value of all baselines: {', '.join(recipe.baselines)}"
        )
    actual = test[recipe.label].to_numpy()[same_rows]
    errors = {}
    for name, values in forecasts.items():
        off = values[same_rows] - actual
        errors[name] = Errors(float(np.mean(np.abs(off))), float(np.sqrt(np.mean(off * off))))
    return errors, int(np.count_nonzero(same_rows))


def by_time(test: pa.Table, forecast: Doubles, recipe: TrainingRecipe) -> pa.Table:
    """Average what happened and what was forecast over the rows of each timestamp."""
    instants, place = np.unique(
        microseconds(test[recipe.time_column], recipe.time_column), return_inverse=True
    )
    counts = np.bincount(place)
    return pa.table(
        {
            "time": pa.array(instants, pa.timestamp("us", tz="UTC")),
            "actual": np.bincount(place, test[recipe.label].to_numpy()) / counts,
            "forecast": np.bincount(place, forecast) / counts,
        }
    )
