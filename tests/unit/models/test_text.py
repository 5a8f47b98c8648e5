"""Text as a feature: learned from the training part alone, kept in the file, unseen is missing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.unit.models.applicants import KINDS, TOWNS, applicant_recipe, applicants, loss_recipe
from tests.unit.models.conftest import model_bytes
from twinlake.errors import InputError
from twinlake.models.boosted_trees import read_trees
from twinlake.models.candidates import candidates_of
from twinlake.models.columns import as_feature, categories_of
from twinlake.models.pipelines import read_pipeline
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.scorer import Scorer
from twinlake.models.train import TrainingResult, split_parts, train, train_candidate

ALGORITHMS = ["xgboost", "logistic_regression", "decision_tree", "ridge"]


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return applicants()


def trained(rows: pa.Table, recipe: TrainingRecipe, algorithm: str) -> TrainingResult:
    parts = split_parts(rows, recipe)
    (candidate,) = [c for c in candidates_of(recipe) if c.name == algorithm]
    return train_candidate(parts, candidate, seed=1, threads=1)


@pytest.fixture(scope="module")
def scorers(rows: pa.Table) -> dict[str, Scorer]:
    recipes = {name: applicant_recipe() for name in ALGORITHMS} | {"ridge": loss_recipe()}
    return {name: trained(rows, recipes[name], name).scorer for name in ALGORITHMS}


def as_stored(scorer: Scorer) -> Scorer:
    """The model after a way through its file."""
    if scorer.algorithm == "xgboost":
        return read_trees(bytes(scorer.booster.save_raw("ubj")))  # type: ignore[attr-defined]
    import skops.io

    return read_pipeline(skops.io.dumps(scorer.fitted))  # type: ignore[attr-defined]


def asked(*cells: tuple[str | None, str | None, float | None]) -> pa.Table:
    kinds, towns, amounts = zip(*cells, strict=True)
    return pa.table(
        {
            "nothing": pa.nulls(len(cells)),
            "amount": pa.array(amounts, pa.float64()),
            "town": pa.array(towns, pa.string()),
            "kind": pa.array(kinds, pa.string()),
        }
    )


def test_text_decides_where_it_says_something(rows: pa.Table, scorers: dict[str, Scorer]) -> None:
    for name in ("xgboost", "logistic_regression", "decision_tree"):
        rent, own = scorers[name].predict(asked(("rent", None, 10.0), ("own", None, 10.0)))
        assert rent > 0.6, name
        assert own < 0.3, name
        judged = trained(rows, applicant_recipe(), name).classification
        assert judged is not None
        without = applicant_recipe(features=("amount",))
        blind = trained(rows, without, name).classification
        assert blind is not None
        assert judged.roc_auc > blind.roc_auc + 0.1, name


def test_values_are_those_of_the_training_part(rows: pa.Table, scorers: dict[str, Scorer]) -> None:
    for name, scorer in scorers.items():
        assert scorer.features == ("kind", "town", "amount", "nothing"), name
        known = {column: values.to_pylist() for column, values in scorer.categories.items()}
        # Days 0 to 39 are learned.
        assert known["town"] == TOWNS[:40], name
        assert known["kind"] == sorted(kind for kind in KINDS if kind), name
        assert set(known) == {"kind", "town", "nothing"}


def test_what_was_not_learned_is_missing_as_a_null_is(scorers: dict[str, Scorer]) -> None:
    for name, scorer in scorers.items():
        for cells in (("castle", TOWNS[3], 9.0), ("RENT", TOWNS[3], None), ("", "town 49", 8.0)):
            kind, town, amount = cells
            told = None if town == "town 49" else town
            found = scorer.predict(asked((kind, town, amount), (None, told, amount)))
            assert found[0] == found[1], (name, cells)


# To make a counterexample small takes minutes, and it is small enough.
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.lists(
        st.tuples(
            st.none()
            | st.sampled_from(["rent", "own", "mortgage", "castle", ""])
            | st.text(max_size=3),
            st.none() | st.sampled_from([TOWNS[0], TOWNS[39], TOWNS[40], "nowhere"]),
            st.none() | st.floats(-50, 50),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_an_answer_depends_on_the_row_and_what_is_known_of_it(
    scorers: dict[str, Scorer], cells: list[Any]
) -> None:
    for name, scorer in scorers.items():
        known = {column: set(values.to_pylist()) for column, values in scorer.categories.items()}
        blanked = [
            (
                kind if kind in known["kind"] else None,
                town if town in known["town"] else None,
                amount,
            )
            for kind, town, amount in cells
        ]
        found = scorer.predict(asked(*cells)).tolist()
        assert found == scorer.predict(asked(*blanked)).tolist(), name
        alone = [float(scorer.predict(asked(row))[0]) for row in cells]
        assert found == pytest.approx(alone, rel=1e-12), name


def test_what_each_feature_adds_is_the_forecast(rows: pa.Table, scorers: dict[str, Scorer]) -> None:
    told = scorers["xgboost"].contributions(rows)
    assert told is not None
    assert told.shape == (len(rows), len(scorers["xgboost"].features) + 1)
    forecast = 1 / (1 + np.exp(-told.sum(axis=1)))
    np.testing.assert_allclose(forecast, scorers["xgboost"].predict(rows), atol=1e-5)
    for algorithm in ("logistic_regression", "decision_tree", "ridge"):
        assert scorers[algorithm].contributions(rows) is None


def test_how_text_is_held_does_not_matter(rows: pa.Table, scorers: dict[str, Scorer]) -> None:
    for name, scorer in scorers.items():
        expected = scorer.predict(rows).tolist()
        for kind in (pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
            held = rows.set_column(1, "kind", rows["kind"].cast(kind))
            assert scorer.predict(held).tolist() == expected, name
        assert scorer.predict(rows.slice(0, 0)).tolist() == []


def test_the_file_alone_is_enough(rows: pa.Table, scorers: dict[str, Scorer]) -> None:
    for name, scorer in scorers.items():
        back = as_stored(scorer)
        assert back.features == scorer.features
        assert back.algorithm == scorer.algorithm == name
        assert {k: v.to_pylist() for k, v in back.categories.items()} == {
            k: v.to_pylist() for k, v in scorer.categories.items()
        }
        assert back.predict(rows).tolist() == scorer.predict(rows).tolist()


def test_the_same_rows_in_any_order_give_the_same_model(rows: pa.Table) -> None:
    order = pa.array(np.random.default_rng(3).permutation(len(rows)))
    moved = rows.take(order)
    recipe = applicant_recipe()
    models = [model_bytes(train(table, recipe, seed=1, threads=1)) for table in (rows, moved)]
    assert models[0] == models[1]
    for name in ("logistic_regression", "decision_tree"):
        one, other = (trained(table, recipe, name).scorer for table in (rows, moved))
        assert one.predict(rows).tolist() == other.predict(rows).tolist()


def test_the_held_out_part_says_nothing_of_text(rows: pa.Table, scorers: dict[str, Scorer]) -> None:
    late = np.repeat(np.arange(50), 40) >= 40
    lies = pa.array(np.where(late, "castle", rows["kind"].to_numpy(zero_copy_only=False)))
    told = rows.set_column(1, "kind", lies)
    for name in ("xgboost", "logistic_regression", "decision_tree"):
        found = trained(told, applicant_recipe(), name).scorer
        assert found.predict(rows).tolist() == scorers[name].predict(rows).tolist(), name


def test_columns_of_another_kind_are_refused(rows: pa.Table, scorers: dict[str, Scorer]) -> None:
    numbers = pa.array(np.arange(len(rows), dtype=np.float64))
    for scorer in scorers.values():
        with pytest.raises(InputError, match=r"kind is of type double; text is expected"):
            scorer.predict(rows.set_column(1, "kind", numbers))
        with pytest.raises(InputError, match=r"amount is of type string; a number"):
            scorer.predict(rows.set_column(3, "amount", rows["kind"]))
        with pytest.raises(InputError, match="no column named 'town'"):
            scorer.predict(rows.drop_columns(["town"]))


def test_text_is_no_label_and_no_baseline(rows: pa.Table) -> None:
    for changes in ({"label": "kind", "features": ("amount",)}, {"baselines": {"same": "kind"}}):
        with pytest.raises(InputError, match=r"kind is of type string; a number or a boolean"):
            train(rows, dataclasses.replace(loss_recipe(), **changes), seed=1, threads=1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.text(max_size=3), max_size=12), st.randoms())
def test_values_are_listed_once_and_in_order(cells: list[str | None], chance: Any) -> None:
    shuffled = list(cells)
    chance.shuffle(shuffled)
    tables = [pa.table({"a": as_feature(pa.chunked_array([pa.array(c, pa.string())]), "a")})
              for c in (cells, shuffled)]  # fmt: skip
    one, other = (categories_of(table, ["a"])["a"].to_pylist() for table in tables)
    assert one == other == sorted({cell for cell in cells if cell is not None} or {""})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=400), st.integers(1, 8))
def test_values_that_few_rows_have_are_left_out(cells: list[str], times: int) -> None:
    many = cells * times
    found = categories_of(pa.table({"a": many}), ["a"])["a"].to_pylist()
    enough = min(20, max(1, len(many) // 100))
    assert found == sorted({cell for cell in cells if many.count(cell) >= enough} or {""})
