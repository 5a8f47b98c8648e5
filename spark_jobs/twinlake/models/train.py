"""Train XGBoost on a training set held as Arrow, and measure it on what it did not see.

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
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.errors import InputError
from twinlake.models.boosting import xgb
from twinlake.models.classification import Classification, classify
from twinlake.models.content import row_hashes
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.split import TimeSplit, microseconds, split_at, split_by_time

Doubles = npt.NDArray[np.float64]

DEFAULT_PARAMS: Mapping[str, Any] = {"tree_method": "hist", "objective": "reg:squarederror"}


@dataclass(frozen=True)
class Errors:
    """Errors of one forecast over the compared rows, in the unit of the label."""

    mae: float
    rmse: float


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and what it is worth.

    Attributes:
        booster: The model; with early stopping, cut to its best number of trees.
        cut: Where the test part begins.
        validation_cut: The first timestamp of the validation tail; None without early stopping.
        train_rows: Rows that were learned, the validation tail included.
        test_rows: Rows at or after the cut.
        compared_rows: The test rows where every baseline has a value. The model and all baselines
            are measured on these same rows.
        errors: By name, ``"model"`` and every baseline; none of a classification.
        importance: Share of the total gain of each feature; all features, summing to 1, or all 0
            when the model never splits.
        rounds: How many trees the model has.
        test_tail: By timestamp of the test part: ``time`` (us, UTC), ``actual`` and ``forecast``,
            the means over that timestamp's rows; None of a classification.
        classification: How well positives are told from negatives, where that is what is learned.
    """

    booster: xgb.Booster
    cut: dt.datetime
    validation_cut: dt.datetime | None
    train_rows: int
    test_rows: int
    compared_rows: int
    errors: Mapping[str, Errors]
    importance: Mapping[str, float]
    rounds: int
    test_tail: pa.Table | None
    classification: Classification | None = None

    def metrics(self) -> dict[str, float]:
        """Flatten the errors: ``model_mae``, ``yesterday_rmse``, ..., and the model's gain.

        ``mae_gain_over_best_baseline`` is the part by which the model's MAE lies below that of the
        best baseline: 0.08 is eight percent better, a negative number is worse. A classification
        has the metrics of its own.
        """
        if self.classification is not None:
            return self.classification.metrics()
        flat = {f"{name}_mae": found.mae for name, found in self.errors.items()}
        flat |= {f"{name}_rmse": found.rmse for name, found in self.errors.items()}
        naive = [found.mae for name, found in self.errors.items() if name != "model"]
        if naive and min(naive) > 0:
            flat["mae_gain_over_best_baseline"] = 1 - self.errors["model"].mae / min(naive)
        return flat


def train(table: pa.Table, recipe: TrainingRecipe, *, seed: int, threads: int) -> TrainingResult:
    """Train and measure one model.

    Args:
        table: The training set; needs ``recipe.columns()``. Null features become missing values.
        recipe: What to learn.
        seed: For what the parameters leave to chance, such as ``subsample``.
        threads: How many threads XGBoost may use.

    Returns:
        The model, its errors and those of the baselines on the same rows of the test part; or how
        well its probabilities tell positives from negatives there.

    Raises:
        InputError: A column is missing or not numeric, a label or time is null, a feature is
            infinite, one side of the split would be empty, or a label is neither 0 nor 1 where
            probabilities are learned.
    """
    checked = check_columns(table, recipe)
    ordered = canonical_order(checked, recipe)
    split = split_of(ordered, recipe)
    learned, test = ordered.filter(pa.array(split.before)), ordered.filter(pa.array(split.after))
    booster, validation_cut = fit(learned, recipe, seed=seed, threads=threads)
    forecast = predict(booster, test.select(recipe.features), threads=threads)
    found: dict[str, Any]
    if recipe.threshold is None:
        errors, compared_rows = compare(test, forecast, recipe)
        found = {"errors": errors, "compared_rows": compared_rows}
        found["test_tail"] = by_time(test, forecast, recipe)
    else:
        told = classify(test[recipe.label].to_numpy(), forecast, recipe.threshold)
        found = {"errors": {}, "compared_rows": len(test), "test_tail": None}
        found["classification"] = told
    return TrainingResult(
        booster=booster,
        cut=split.cut,
        validation_cut=validation_cut,
        train_rows=len(learned),
        test_rows=len(test),
        importance=importance(booster, recipe.features),
        rounds=booster.num_boosted_rounds(),
        **found,
    )


def split_of(rows: pa.Table, recipe: TrainingRecipe) -> TimeSplit:
    """Cut the rows where the recipe says."""
    times = rows[recipe.time_column]
    if recipe.tested_from_us is None:
        return split_by_time(times, recipe.test_fraction, recipe.time_column)
    return split_at(times, recipe.trained_from_us, recipe.tested_from_us, recipe.time_column)


def check_columns(table: pa.Table, recipe: TrainingRecipe) -> pa.Table:
    """Take the columns of the recipe, with every number as a float64.

    Raises:
        InputError: As ``train``; names the column.
    """
    for name in recipe.columns():
        if name not in table.column_names:
            raise InputError.unknown("column", name, table.column_names)
    columns = {recipe.time_column: table[recipe.time_column]}
    for name in recipe.columns():
        if name != recipe.time_column:
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


def as_doubles(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Cast a numeric, decimal or boolean column to float64, nulls kept.

    Raises:
        InputError: The column is of another type, or holds an infinity.
    """
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InputError(f"column {name} is of type {kind}; a model takes numbers and booleans")
    doubles = column.cast(pa.float64(), safe=False)
    if pc.any(pc.is_inf(doubles)).as_py():
        raise InputError(f"column {name} holds an infinity, which XGBoost refuses")
    return doubles


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


def fit(
    learned: pa.Table, recipe: TrainingRecipe, *, seed: int, threads: int
) -> tuple[xgb.Booster, dt.datetime | None]:
    """Fit the trees; with early stopping, on all but the last part of the time.

    Returns:
        The model, and the first timestamp of the validation tail where there is one.

    Raises:
        InputError: Probabilities are to be learned from rows of one label.
    """
    if recipe.threshold is not None and pc.count_distinct(learned[recipe.label]).as_py() < 2:
        raise InputError(
            f"all {len(learned):,} rows to learn from have {recipe.label} "
            f"{learned[recipe.label][0].as_py():g}",
            hint="give rows of both labels",
        )
    params = {**DEFAULT_PARAMS, **recipe.params, "seed": seed, "nthread": threads, "verbosity": 0}
    if recipe.early_stopping_rounds is None:
        matrix = training_matrix(learned, recipe, threads)
        return xgb.train(params, matrix, recipe.rounds, verbose_eval=False), None
    tail: TimeSplit = split_by_time(
        learned[recipe.time_column], recipe.validation_fraction, recipe.time_column
    )
    matrix = training_matrix(learned.filter(pa.array(tail.before)), recipe, threads)
    validation = training_matrix(learned.filter(pa.array(tail.after)), recipe, threads, matrix)
    booster = xgb.train(
        params,
        matrix,
        recipe.rounds,
        evals=[(validation, "validation")],
        early_stopping_rounds=recipe.early_stopping_rounds,
        verbose_eval=False,
    )
    return booster[: booster.best_iteration + 1], tail.cut


def training_matrix(
    rows: pa.Table,
    recipe: TrainingRecipe,
    threads: int,
    reference: xgb.QuantileDMatrix | None = None,
) -> xgb.QuantileDMatrix:
    """Bin the features straight from Arrow, without a copy in pandas.

    Args:
        rows: Features and label as float64.
        recipe: Names the columns, and ``max_bin`` where it differs from XGBoost's 256.
        threads: How many threads may be used.
        reference: For validation, the matrix whose bins are to be used.
    """
    return xgb.QuantileDMatrix(
        rows.select(recipe.features),
        label=rows[recipe.label].to_numpy(),
        nthread=threads,
        max_bin=int(recipe.params.get("max_bin", 256)),
        ref=reference,
    )


def predict(booster: xgb.Booster, features: pa.Table, *, threads: int) -> Doubles:
    """Forecast each row.

    Args:
        booster: The model.
        features: Numeric columns, named and ordered as in training; nulls are missing values.
        threads: How many threads may be used.

    Returns:
        Forecasts in the unit of the label, shape (rows,).
    """
    matrix = xgb.DMatrix(features, nthread=threads)
    return np.asarray(booster.predict(matrix), dtype=np.float64)


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


def importance(booster: xgb.Booster, features: tuple[str, ...]) -> dict[str, float]:
    """Give each feature's share of the total gain, in the order of the features."""
    gains = booster.get_score(importance_type="total_gain")
    total = sum(gains.values())
    return {name: gains.get(name, 0.0) / total if total else 0.0 for name in features}


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
