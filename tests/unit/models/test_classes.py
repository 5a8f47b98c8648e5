"""Models of several classes: what they learn, what their figures mean, what is kept of them."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.iris_stream.features import MEASURES
from examples.iris_stream.spine import ASKED, flowers, learned, replayed
from tests.unit.models.conftest import START, TRAINING_SET
from twinlake.cli.training import classes_document, classes_text
from twinlake.errors import InputError
from twinlake.models.boosted_trees import BoostedTrees, read_trees
from twinlake.models.candidates import candidates_of
from twinlake.models.class_figures import class_figures
from twinlake.models.folds import folds_of, out_of_fold
from twinlake.models.leaderboard import Entry, columns, ranked
from twinlake.models.mlflow_session import TrackingStore
from twinlake.models.receipts import Receipt
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.registered import load_champion
from twinlake.models.tracking import Origin, log_leaderboard
from twinlake.models.train import check_columns, split_parts, train_candidate

CLASSES = ("virginica", "setosa", "versicolor")  # not in the order of the alphabet


def recipe(**changes: Any) -> TrainingRecipe:
    told: dict[str, Any] = {
        "label": "species", "features": MEASURES, "classes": CLASSES, "folds": 5, "rounds": 8,
        "candidates": {"stumps": {"max_depth": 1, "rounds": 3}},
    }  # fmt: skip
    return TrainingRecipe("iris", **told | changes)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rows = learned()
    times = [START + dt.timedelta(hours=7 * number % 111) for number in range(len(rows))]
    return rows.append_column("event_timestamp", pa.array(times, pa.timestamp("us", "UTC")))


@pytest.fixture(scope="module")
def entries(table: pa.Table) -> list[Entry]:
    parts = split_parts(table, recipe())
    return ranked(
        Entry(c, train_candidate(parts, c, seed=1, threads=1, shuffle=True), START, START)
        for c in candidates_of(recipe())
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.integers(1, 20), min_size=3, max_size=3)),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_figures_are_what_their_names_say(rows: list[tuple[int, list[int]]]) -> None:
    given_ = [[weight / sum(weights) for weight in weights] for _, weights in rows]
    actual = [code for code, _ in rows]
    found = class_figures(np.array(actual), np.array(given_), CLASSES)
    taken = [weights.index(max(weights)) for weights in given_]
    pairs = list(zip(actual, taken, strict=True))
    missed = Counter(code for code, one in pairs if code != one)
    errors = {CLASSES[code]: missed[code] / actual.count(code) for code in set(actual)}
    own = [p[code] for p, code in zip(given_, actual, strict=True)]
    assert found.errors == pytest.approx(errors)
    assert found.mean_per_class_error == pytest.approx(sum(errors.values()) / len(errors))
    assert found.log_loss == pytest.approx(-sum(map(math.log, own)) / len(own))
    assert found.mse == pytest.approx(sum((1 - p) ** 2 for p in own) / len(own))
    assert found.rmse == pytest.approx(math.sqrt(found.mse))
    assert found.accuracy == sum(a == t for a, t in zip(actual, taken, strict=True)) / len(actual)
    assert found.confusion.sum() == len(rows)


def test_a_certain_mistake_costs_much_but_not_everything() -> None:
    found = class_figures(np.array([0]), np.array([[0.0, 1.0, 0.0]]), CLASSES)
    assert 30 < found.log_loss < 40
    with pytest.raises(InputError, match="no row"):
        class_figures(np.array([], np.int64), np.empty((0, 3)), CLASSES)


@given(st.integers(2, 6), st.integers(0, 1000))
def test_equal_rows_are_in_one_fold_and_classes_in_all(folds: int, seed: int) -> None:
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = [
        {name: float(chance.randrange(4)) for name in MEASURES}
        | {"species": chance.choice(CLASSES)}
        for _ in range(60)
    ]
    moment = pa.array([START] * len(rows), pa.timestamp("us", "UTC"))
    made = pa.Table.from_pylist(rows).append_column("event_timestamp", moment)
    wanted = recipe(folds=folds)
    found = folds_of(check_columns(made, wanted), wanted).tolist()
    by_row: dict[tuple[float, ...], set[int]] = {}
    for row, fold in zip(rows, found, strict=True):
        by_row.setdefault(tuple(row[name] for name in MEASURES), set()).add(fold)
    assert all(len(one) == 1 for one in by_row.values())
    sizes = Counter(next(iter(one)) for one in by_row.values())
    assert set(sizes) == set(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    order = list(range(len(rows)))
    chance.shuffle(order)
    again = folds_of(check_columns(made.take(order), wanted), wanted).tolist()
    assert again == [found[place] for place in order], "the order of rows decides nothing"


def test_no_model_of_a_fold_saw_what_it_is_asked(table: pa.Table) -> None:
    parts, seen = split_parts(table, recipe()), []

    def keys(rows: pa.Table) -> set[Any]:
        return {tuple(row[name] for name in MEASURES) for row in rows.to_pylist()}

    def fit_and_ask(learned_rows: pa.Table, asked: pa.Table) -> Any:
        seen.append((keys(learned_rows), keys(asked)))
        return asked["sepalLength"].to_numpy()[:, None]

    said = out_of_fold(parts.test, recipe(), fit_and_ask)
    assert said[:, 0].tolist() == parts.test["sepalLength"].to_pylist(), "each row has its own"
    assert len(seen) == 5
    assert not any(learned_keys & asked for learned_keys, asked in seen)
    assert set.union(*(asked for _, asked in seen)) == keys(table)


def test_every_family_tells_flowers_apart(entries: list[Entry]) -> None:
    assert {entry.candidate.name for entry in entries} == {
        "xgboost", "stumps", "logistic_regression", "linear_discriminant",
        "quadratic_discriminant", "decision_tree",
    }  # fmt: skip
    errors = [entry.figures()["mean_per_class_error"] for entry in entries]
    assert errors == sorted(errors)
    assert errors[0] <= 0.0367, "the best of the original's leaderboard"
    assert tuple(entries[0].figures()) == columns(recipe())
    asked = pa.Table.from_pylist([dict(zip(MEASURES, row, strict=True)) for row, _ in ASKED])
    for entry in entries[:3]:
        scorer = entry.result.scorer
        said = scorer.predict(asked)
        assert said.shape == (3, 3)
        assert said.sum(axis=1) == pytest.approx([1, 1, 1])
        named = [scorer.classes[place] for place in said.argmax(axis=1)]
        assert named == [species for _, species in ASKED]


def test_nothing_that_is_replayed_or_asked_was_learned() -> None:
    rows = [tuple(row.values()) for row in learned().to_pylist()]
    away = {tuple(row.values())[:4] for row in replayed().to_pylist()} | {m for m, _ in ASKED}
    assert len(rows) + len(replayed()) <= len(flowers()) == 150
    assert not away & {row[:4] for row in rows}
    assert set(Counter(row[4] for row in rows)) == set(CLASSES)
    assert set(Counter(row["species"] for row in replayed().to_pylist())) == set(CLASSES)


def test_a_time_split_measures_classes_too(table: pa.Table) -> None:
    wanted = recipe(folds=None)
    for candidate in candidates_of(wanted):
        parts = split_parts(table, wanted)
        result = train_candidate(parts, candidate, seed=1, threads=1)
        assert result.classes is not None
        assert result.classes.classes == CLASSES
        assert result.classes.accuracy > 0.6
        assert result.train_rows + result.test_rows == len(table)


def test_the_file_alone_says_what_the_numbers_are_of(entries: list[Entry], table: pa.Table) -> None:
    (own,) = (e.result.scorer for e in entries if e.candidate.name == "xgboost")
    assert isinstance(own, BoostedTrees)
    read = read_trees(bytes(own.booster.save_raw("ubj")))
    assert read.classes == own.classes == CLASSES
    assert read.predict(table).tolist() == own.predict(table).tolist()
    assert read.contributions(table) is None


@pytest.mark.parametrize("best", ["xgboost", "linear_discriminant", "quadratic_discriminant"])
def test_a_registered_model_is_the_one_that_was_learned(
    entries: list[Entry], table: pa.Table, tmp_path: Path, receipt: Receipt, best: str
) -> None:
    tracking = TrackingStore(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"), "iris")
    first = sorted(entries, key=lambda entry: entry.candidate.name != best)[:1]
    log_leaderboard(tracking, recipe(), first, Origin(receipt, TRAINING_SET), alias="champion")
    champion = load_champion(tracking, "iris")
    own = first[0].result.scorer
    assert champion.scorer.classes == own.classes
    assert champion.predict(table).tolist() == own.predict(table).tolist()


def test_figures_are_laid_out(entries: list[Entry]) -> None:
    told = entries[0].result.classes
    assert told is not None
    document = classes_document(told)
    assert document["confusion"]["setosa"]["setosa"] > 20
    head, *lines = classes_text(document).splitlines()
    assert head.split()[:5] == ["class", "taken", "for", "virginica", "taken"]
    assert any(line.startswith("mean per class error") for line in lines)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": CLASSES[:2]}, "is none of virginica, setosa in .* 'versicolor'"),
        ({"classes": (*CLASSES, "rose")}, "none of the 111 rows to learn from has species rose"),
        ({"threshold": 0.5}, "classes go with the objective multi:softprob alone"),
        ({"params": {"objective": "reg:squarederror"}}, "classes go with the objective"),
        ({"baselines": {"mean": "sepalLength"}}, "baselines forecast numbers"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"folds": 200}, "different rows cannot be parted into 200 folds"),
    ],
)
def test_what_cannot_be_learned_is_told(table: pa.Table, change: dict[str, Any], told: str) -> None:
    def learn() -> None:
        wanted = recipe(**change)
        train_candidate(split_parts(table, wanted), candidates_of(wanted)[0], seed=1, threads=1)

    with pytest.raises(InputError, match=told):
        learn()
