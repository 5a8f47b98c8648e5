"""Training: what is learned, on which rows it is measured, and that it is the same every time."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.models.conftest import model_bytes
from twinlake.errors import InputError
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.train import TrainingResult, train

FIRST_TEST_DAY = dt.datetime(1970, 2, 10, tzinfo=dt.UTC)  # day 40 of 0..49; 49 - 0.2 * 49 = 39.2


@pytest.fixture(scope="module")
def result(training_set: pa.Table, recipe: TrainingRecipe) -> TrainingResult:
    return train(training_set, recipe, seed=1, threads=1)


def test_it_learns_and_beats_the_naive_forecasts(result: TrainingResult) -> None:
    assert result.errors["model"].mae < 0.6 * result.errors["same"].mae
    assert result.metrics()["mae_gain_over_best_baseline"] > 0.4
    assert result.rounds == 40
    assert result.importance.measured_by == "share of the total gain"
    worth = result.importance.values
    assert sum(worth.values()) == pytest.approx(1)
    assert worth["constant"] == 0
    assert list(worth) == ["weekday", "yesterday", "level", "constant"]


def test_errors_are_those_of_a_naive_loop(
    training_set: pa.Table, recipe: TrainingRecipe, result: TrainingResult
) -> None:
    assert result.cut == FIRST_TEST_DAY
    forecast = result.scorer.predict(training_set)
    off: dict[str, list[float]] = {"model": [], "same": [], "usual": []}
    tail: dict[dt.datetime, list[tuple[float, float]]] = {}
    test_rows = 0
    for row, value in zip(training_set.to_pylist(), forecast.tolist(), strict=True):
        if row["event_timestamp"] < FIRST_TEST_DAY:
            continue
        test_rows += 1
        tail.setdefault(row["event_timestamp"], []).append((row["label"], value))
        if row["level"] is not None:
            off["model"].append(value - row["label"])
            off["same"].append(row["yesterday"] - row["label"])
            off["usual"].append(row["level"] - row["label"])
    assert (result.test_rows, result.compared_rows) == (test_rows, len(off["model"]))
    assert result.compared_rows < result.test_rows == 400
    assert result.train_rows == 1600
    for name, values in off.items():
        assert result.errors[name].mae == pytest.approx(sum(map(abs, values)) / len(values))
        assert result.errors[name].rmse == pytest.approx(
            math.sqrt(sum(v * v for v in values) / len(values))
        )
    assert result.test_tail is not None
    for row in result.test_tail.to_pylist():
        actual, forecasts = zip(*tail[row["time"]], strict=True)
        assert row["actual"] == pytest.approx(sum(actual) / len(actual))
        assert row["forecast"] == pytest.approx(sum(forecasts) / len(forecasts))
    assert result.test_tail["time"].to_pylist() == sorted(tail)


def test_the_same_rows_in_any_order_give_the_same_model(
    training_set: pa.Table, recipe: TrainingRecipe
) -> None:
    # Which rows a tree is grown on is drawn by their place.
    recipe = dataclasses.replace(recipe, params={**recipe.params, "subsample": 0.5})
    result = train(training_set, recipe, seed=1, threads=1)
    again = train(training_set, recipe, seed=1, threads=1)
    assert model_bytes(again) == model_bytes(result)
    assert model_bytes(train(training_set, recipe, seed=2, threads=1)) != model_bytes(result)
    order = np.random.default_rng(3).permutation(len(training_set))
    shuffled = training_set.take(pa.array(order))
    chunked = pa.concat_tables([shuffled.slice(0, 700), shuffled.slice(700)])
    moved = train(chunked, recipe, seed=1, threads=1)
    assert model_bytes(moved) == model_bytes(result)
    assert moved.errors == result.errors


def test_the_test_part_teaches_nothing(
    training_set: pa.Table, recipe: TrainingRecipe, result: TrainingResult
) -> None:
    late = np.array(training_set["event_timestamp"].to_pylist()) >= FIRST_TEST_DAY
    lies = np.where(late, 1e6, training_set["label"].to_numpy())
    place = training_set.schema.get_field_index("label")
    told = train(training_set.set_column(place, "label", pa.array(lies)), recipe, seed=1, threads=1)
    assert model_bytes(told) == model_bytes(result)
    assert told.errors["model"].mae > 1e5


def test_null_is_missing_and_not_zero(
    training_set: pa.Table, recipe: TrainingRecipe, result: TrainingResult
) -> None:
    def forecast(level: float | None) -> float:
        row = {"weekday": [1.0], "yesterday": [9.0], "level": pa.array([level], pa.float64())}
        return float(result.scorer.predict(pa.table({**row, "constant": [True]}))[0])

    assert forecast(None) == forecast(math.nan)
    assert abs(forecast(None) - forecast(10.0)) < abs(forecast(None) - forecast(0.0))


def test_early_stopping_looks_at_the_last_training_days(
    training_set: pa.Table, recipe: TrainingRecipe
) -> None:
    eager = dataclasses.replace(recipe, rounds=600, early_stopping_rounds=40)
    result = train(training_set, eager, seed=1, threads=1)
    assert result.validation_cut is not None
    # Days 0..39 are learned from; 39 - 0.1 * 39 = 35.1.
    assert result.validation_cut == dt.datetime(1970, 2, 6, tzinfo=dt.UTC)
    assert result.cut == FIRST_TEST_DAY
    assert result.rounds is not None
    assert 5 < result.rounds < 600 - 60
    # Who waits longer ends at the same best number of trees.
    patient = dataclasses.replace(eager, early_stopping_rounds=60)
    assert train(training_set, patient, seed=1, threads=1).rounds == result.rounds


def test_bad_training_sets_are_answered(training_set: pa.Table, recipe: TrainingRecipe) -> None:
    def attempt(table: pa.Table) -> None:
        train(table, recipe, seed=1, threads=1)

    def with_column(name: str, values: Any) -> pa.Table:
        return training_set.set_column(training_set.schema.get_field_index(name), name, values)

    rows = len(training_set)
    with pytest.raises(InputError, match="no column named 'level'"):
        attempt(training_set.drop_columns(["level"]))
    with pytest.raises(InputError, match="column level is of type string"):  # a baseline
        attempt(with_column("level", pa.array(["x"] * rows)))
    with pytest.raises(InputError, match="column weekday is of type timestamp"):
        attempt(with_column("weekday", training_set["event_timestamp"]))
    with pytest.raises(InputError, match="label label is null or NaN in 2 of 2000 rows"):
        attempt(with_column("label", pa.array([None, math.nan] + [1.0] * (rows - 2))))
    with pytest.raises(InputError, match="column yesterday holds an infinity"):
        attempt(with_column("yesterday", pa.array([math.inf] * rows)))
    with pytest.raises(InputError, match="no row of the test part"):
        attempt(with_column("level", pa.nulls(rows, pa.float64())))
    with pytest.raises(InputError, match="cannot be split by time"):
        attempt(training_set.slice(0, 40))
    with pytest.raises(InputError, match="cannot be split by time"):
        attempt(training_set.slice(0, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ()}, "at least one"),
        ({"features": ("a", "a")}, "each named once"),
        ({"features": ("label",)}, "neither the label"),
        ({"baselines": {"x": "label"}}, "its own baseline"),
        ({"baselines": {"model": "yesterday"}}, "cannot be called model"),
        ({"test_fraction": 1.0}, "between 0 and 1"),
        ({"rounds": 0}, "at least 1"),
        ({"params": {"seed": 3, "nthread": 2}}, "must not set nthread, seed"),
    ],
)
def test_bad_recipes_are_answered(
    recipe: TrainingRecipe, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(recipe, **changes)
