"""Telling positives from negatives: the figures against their definitions in plain Python."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.models.conftest import DAY, DAYS, HOMES, model_bytes
from twinlake.errors import InputError
from twinlake.models.classification import Classification, classify
from twinlake.models.plots import draw_calibration, draw_precision_recall
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.train import TrainingResult, train

# Few values, so that ties and probabilities at the threshold itself are common.
GRADES = [0.0, 0.1, 0.25, 0.250001, 0.5, 0.9, 1.0]
Row = tuple[int, float]
rows_of_both = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(GRADES)), min_size=2, max_size=40
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def classified(rows: Sequence[Row], threshold: float = 0.25) -> Classification:
    labels, grades = zip(*rows, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return classify(np.array(labels, np.float64), np.array(grades), threshold)


def naive_auc(rows: Sequence[Row]) -> Fraction:
    """Of all pairs of a positive and a negative, those in the right order."""
    won = [
        Fraction(1) if high > low else Fraction(int(high == low), 2)
        for label, high in rows
        for other, low in rows
        if label == 1 and other == 0
    ]
    return sum(won, Fraction(0)) / len(won)


def naive_average_precision(rows: Sequence[Row]) -> Fraction:
    """Lower the threshold grade by grade; each step of recall counts with the precision there."""
    positives = sum(label for label, _ in rows)
    total, recall = Fraction(0), Fraction(0)
    for grade in sorted({grade for _, grade in rows}, reverse=True):
        called = [label for label, given in rows if given >= grade]
        reached = Fraction(sum(called), positives)
        total += (reached - recall) * Fraction(sum(called), len(called))
        recall = reached
    return total


def naive_log_loss(rows: Sequence[Row]) -> float:
    """The mean of -ln of what was given to what was true, kept off 0 and 1 by one bit."""
    inside = [min(max(grade, 2.0**-52), 1 - 2.0**-52) for _, grade in rows]
    given = [p if label else 1 - p for p, (label, _) in zip(inside, rows, strict=True)]
    return -math.fsum(map(math.log, given)) / len(rows)


@settings(max_examples=200, deadline=None)
@given(rows_of_both)
@example([(1, 0.25), (0, 0.25)])
def test_figures_are_those_of_their_definitions(rows: list[Row]) -> None:
    found = classified(rows)
    assert found.roc_auc == pytest.approx(float(naive_auc(rows)), abs=1e-12)
    assert found.average_precision == pytest.approx(float(naive_average_precision(rows)), abs=1e-12)
    cells = {(label, grade > 0.25): 0 for label in (0, 1) for grade in (0.0, 1.0)}
    for label, grade in rows:
        cells[label, grade > 0.25] += 1
    assert found.true_positives == cells[1, True]
    assert found.false_positives == cells[0, True]
    assert found.false_negatives == cells[1, False]
    assert found.true_negatives == cells[0, False]
    called = cells[1, True] + cells[0, True]
    assert found.precision == (cells[1, True] / called if called else 0)
    assert found.recall == cells[1, True] / (cells[1, True] + cells[1, False])
    assert (
        found.accuracy
        == (cells[1, True] + cells[0, False]) / len(rows)
        == found.metrics()["accuracy"]
    )
    assert found.log_loss == pytest.approx(naive_log_loss(rows), rel=1e-12)
    share = sum(label for label, _ in rows) / len(rows)
    guess = [(label, share) for label, _ in rows]
    assert found.base_log_loss == pytest.approx(naive_log_loss(guess), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(rows_of_both)
def test_the_curve_goes_through_every_threshold_that_matters(rows: list[Row]) -> None:
    found = classified(rows)
    curve = set(zip(*(found.curve[n].to_pylist() for n in ("recall", "precision")), strict=True))
    recalls = found.curve["recall"].to_pylist()
    assert recalls == sorted(recalls, reverse=True)
    assert (0.0, 1.0) in curve
    positives = sum(label for label, _ in rows)
    reachable = {(0.0, 1.0)}
    for grade in {grade for _, grade in rows}:
        called = [label for label, given in rows if given >= grade]
        reachable.add((sum(called) / positives, sum(called) / len(called)))
    assert curve <= reachable
    assert max(recalls) == 1


@settings(max_examples=200, deadline=None)
@given(rows_of_both)
def test_calibration_says_what_became_of_each_part(rows: list[Row]) -> None:
    parts = classified(rows).calibration.to_pylist()
    left = sorted(rows, key=lambda row: row[1])
    assert 1 <= len(parts) <= 10
    for part in parts:
        taken, left = left[: part["rows"]], left[part["rows"] :]
        labels, grades = zip(*taken, strict=True)
        assert part["actual"] == pytest.approx(sum(labels) / len(taken))
        assert part["forecast"] == pytest.approx(sum(grades) / len(taken))
        assert not left or grades[-1] < left[0][1]  # one probability, one part
    assert not left


def test_parts_of_a_calibration_have_as_many_rows() -> None:
    many = [(number % 3 == 0, number / 1000) for number in range(1000)]
    assert classified(many).calibration["rows"].to_pylist() == [100] * 10


def test_one_label_alone_cannot_be_judged() -> None:
    for label in (0, 1):
        with pytest.raises(InputError, match="of the 2 rows of the test part are positive"):
            classified([(label, 0.1), (label, 0.9)])


# Training


@pytest.fixture(scope="module")
def bursts() -> pa.Table:
    """A label that one feature gives away for the most part, and another does not."""
    chance = np.random.default_rng(11)
    days = np.repeat(np.arange(DAYS), HOMES)
    ratio = chance.random(len(days))
    label = (chance.random(len(days)) < np.where(ratio > 0.8, 0.9, 0.02)).astype(np.int32)
    return pa.table(
        {
            "event_timestamp": pa.array(days * DAY, pa.timestamp("us", tz="UTC")),
            "ratio": ratio,
            "noise": chance.random(len(days)),
            "is_fraud": label,
        }
    )


@pytest.fixture(scope="module")
def classifier() -> TrainingRecipe:
    return TrainingRecipe(
        name="fraud",
        label="is_fraud",
        features=("noise", "ratio"),
        params={"objective": "binary:logistic", "max_depth": 3, "eta": 0.3},
        rounds=20,
        trained_from_us=5 * DAY,
        tested_from_us=40 * DAY,
        threshold=0.5,
    )


@pytest.fixture(scope="module")
def result(bursts: pa.Table, classifier: TrainingRecipe) -> TrainingResult:
    return train(bursts, classifier, seed=1, threads=1)


def judged(result: TrainingResult) -> Classification:
    assert result.classification is not None
    return result.classification


def test_it_learns_probabilities(bursts: pa.Table, result: TrainingResult) -> None:
    found = judged(result)
    assert found.roc_auc > 0.9
    assert found.precision > 0.8
    assert found.recall > 0.8
    assert result.importance.values["ratio"] > 0.8
    given = result.scorer.predict(bursts)
    assert 0 < given.min() < 0.1
    assert 0.7 < given.max() < 1


def test_it_is_judged_on_the_holdout_alone(
    bursts: pa.Table, classifier: TrainingRecipe, result: TrainingResult
) -> None:
    # Days 6 to 39 are learned: neither end is part of it.
    assert (result.train_rows, result.test_rows) == (34 * HOMES, 10 * HOMES)
    assert result.compared_rows == result.test_rows
    assert result.cut == dt.datetime(1970, 2, 10, tzinfo=dt.UTC)
    assert (result.errors, result.test_tail) == ({}, None)
    held_out = [row for row in bursts.to_pylist() if row["event_timestamp"] >= result.cut]
    vectors = pa.table({name: [row[name] for row in held_out] for name in classifier.features})
    given = result.scorer.predict(vectors).tolist()
    rows = [(row["is_fraud"], grade) for row, grade in zip(held_out, given, strict=True)]
    found = judged(result)
    assert found.roc_auc == pytest.approx(float(naive_auc(rows)))
    assert found.average_precision == pytest.approx(float(naive_average_precision(rows)))
    assert found.true_positives == sum(label and grade > 0.5 for label, grade in rows)
    assert result.metrics() == found.metrics()
    assert set(result.metrics()) == {
        "roc_auc", "average_precision", "log_loss", "accuracy", "precision", "recall",
        "true_positives", "false_positives", "false_negatives", "true_negatives",
    }  # fmt: skip


def test_what_lies_outside_is_not_learned(
    bursts: pa.Table, classifier: TrainingRecipe, result: TrainingResult
) -> None:
    days = np.repeat(np.arange(DAYS), HOMES)
    labels = bursts["is_fraud"].to_numpy()
    model = model_bytes(result)

    def with_lies(where: Any) -> bytes:
        lies = bursts.set_column(3, "is_fraud", pa.array(np.where(where, 1 - labels, labels)))
        return model_bytes(train(lies, classifier, seed=1, threads=1))

    assert with_lies(days <= 5) == model
    assert with_lies(days >= 40) == model
    assert with_lies(days == 6) != model
    assert with_lies(days == 39) != model


def test_the_same_rows_in_any_order_give_the_same_classifier(
    bursts: pa.Table, classifier: TrainingRecipe
) -> None:
    drawn = dataclasses.replace(classifier, params={**classifier.params, "subsample": 0.5})
    order = pa.array(np.random.default_rng(3).permutation(len(bursts)))
    found = [train(rows, drawn, seed=1, threads=1) for rows in (bursts, bursts.take(order))]
    assert len({model_bytes(one) for one in found}) == 1
    assert judged(found[0]).metrics() == judged(found[1]).metrics()


def test_a_fraction_splits_a_classification_too(
    bursts: pa.Table, classifier: TrainingRecipe
) -> None:
    shared = dataclasses.replace(classifier, trained_from_us=None, tested_from_us=None)
    found = train(bursts, shared, seed=1, threads=1)
    assert (found.train_rows, found.test_rows) == (40 * HOMES, 10 * HOMES)
    assert judged(found).roc_auc > 0.9


def test_it_can_stop_early(bursts: pa.Table, classifier: TrainingRecipe) -> None:
    eager = dataclasses.replace(classifier, rounds=300, early_stopping_rounds=10)
    found = train(bursts, eager, seed=1, threads=1)
    assert found.rounds is not None
    assert 1 <= found.rounds < 250
    assert judged(found).roc_auc > 0.9


def test_the_threshold_decides_calls_and_nothing_else(
    bursts: pa.Table, classifier: TrainingRecipe, result: TrainingResult
) -> None:
    low = judged(train(bursts, dataclasses.replace(classifier, threshold=0.01), seed=1, threads=1))
    found = judged(result)
    assert low.true_positives + low.false_positives > found.true_positives + found.false_positives
    assert (low.roc_auc, low.average_precision) == (found.roc_auc, found.average_precision)


def test_bad_labels_and_times_are_answered(bursts: pa.Table, classifier: TrainingRecipe) -> None:
    rows = len(bursts)

    def attempt(labels: Any, **changes: Any) -> None:
        table = bursts.set_column(3, "is_fraud", labels)
        train(table, dataclasses.replace(classifier, **changes), seed=1, threads=1)

    told = r"label is_fraud is neither 0 nor 1 in 2 of 2000 rows, such as 2.0"
    with pytest.raises(InputError, match=told):
        attempt(pa.array([2.0, 0.5] + [0.0] * (rows - 2)))
    with pytest.raises(InputError, match="is_fraud is null or NaN in 1 of 2000 rows"):
        attempt(pa.array([None] + [0] * (rows - 1), pa.int32()))
    with pytest.raises(InputError, match="0 of the 400 rows of the test part are positive"):
        attempt(pa.array([1, 0] * (20 * HOMES) + [0] * (10 * HOMES)))
    with pytest.raises(InputError, match="all 1,360 rows to learn from have is_fraud 0"):
        attempt(pa.array([0] * (40 * HOMES) + [0, 1] * (5 * HOMES)))
    with pytest.raises(InputError, match="no event_timestamp lies after 1970-03-02T00:00:00Z"):
        attempt(bursts["is_fraud"], trained_from_us=60 * DAY, tested_from_us=61 * DAY)
    with pytest.raises(InputError, match=r"at or after 1970-04-11.* span 1970-01-01.* to 1970-02"):
        attempt(bursts["is_fraud"], tested_from_us=100 * DAY)
    # Booleans are labels.
    attempt(pa.array(bursts["is_fraud"].to_numpy() == 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 0.0}, "threshold must lie between 0 and 1"),
        ({"threshold": 1.0}, "threshold must lie between 0 and 1"),
        ({"threshold": None}, "goes with the objective binary:logistic"),
        ({"params": {}}, "goes with the objective binary:logistic"),
        ({"params": {"objective": "reg:logistic"}}, "goes with the objective binary:logistic"),
        ({"baselines": {"same": "ratio"}}, "gives probabilities"),
        ({"tested_from_us": None}, "needs tested_from_us"),
        ({"tested_from_us": 5 * DAY}, "must lie after trained_from_us"),
    ],
)
def test_bad_recipes_are_answered(
    classifier: TrainingRecipe, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(classifier, **changes)


def test_the_curves_can_be_drawn(result: TrainingResult, tmp_path: Path) -> None:
    for draw in (draw_precision_recall, draw_calibration):
        draw({"model": judged(result)}, "is_fraud", tmp_path / "curve.png")
        assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
        (tmp_path / "curve.png").unlink()
