"""Candidates side by side: what is compared, in which order, and what MLflow keeps of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.models.applicants import applicant_recipe, applicants, loss_recipe
from tests.unit.models.conftest import START, TRAINING_SET
from twinlake.models.candidates import candidates_of
from twinlake.models.importance import shuffled
from twinlake.models.leaderboard import Entry, ranked, rows
from twinlake.models.mlflow_session import TrackingStore, mlflow_at
from twinlake.models.receipts import Receipt
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.registered import load_champion
from twinlake.models.tracking import Origin, TrackedLeaderboard, log_leaderboard
from twinlake.models.train import split_parts, train_candidate

LATER = START + dt.timedelta(seconds=5)


def board_of(table: pa.Table, recipe: TrainingRecipe) -> list[Entry]:
    parts = split_parts(table, recipe)
    return [
        Entry(c, train_candidate(parts, c, seed=1, threads=1, shuffle=True), START, LATER)
        for c in candidates_of(recipe)
    ]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return applicants()


@pytest.fixture(scope="module")
def recipe() -> TrainingRecipe:
    return applicant_recipe(candidates={"stumps": {"max_depth": 1, "rounds": 3}})


@pytest.fixture(scope="module")
def entries(table: pa.Table, recipe: TrainingRecipe) -> list[Entry]:
    return ranked(board_of(table, recipe))


@pytest.fixture(scope="module")
def losses(table: pa.Table) -> list[Entry]:
    return ranked(board_of(table, loss_recipe(candidates={"few": {"rounds": 2}})))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TrackingStore:
    folder = tmp_path_factory.mktemp("lake")
    return TrackingStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts", "loans")


@pytest.fixture(scope="module")
def tracked(
    store: TrackingStore, recipe: TrainingRecipe, entries: list[Entry], receipt: Receipt
) -> TrackedLeaderboard:
    origin = Origin(receipt, TRAINING_SET)
    return log_leaderboard(store, recipe, entries, origin, alias="champion")


def test_candidates_differ_from_the_model_by_what_they_say(recipe: TrainingRecipe) -> None:
    found = {c.name: c for c in candidates_of(recipe)}
    assert list(found) == ["xgboost", "stumps", "logistic_regression", "decision_tree"]
    assert found["xgboost"].recipe == recipe
    changed = found["stumps"].recipe
    assert (changed.params["max_depth"], changed.rounds) == (1, 3)
    assert changed.params["eta"] == recipe.params["eta"]
    assert {c.recipe.label for c in found.values()} == {"fails"}


def test_a_model_without_candidates_has_some_all_the_same() -> None:
    names = [c.name for c in candidates_of(loss_recipe())]
    assert names[0] == "xgboost"
    assert names[-2:] == ["ridge", "decision_tree"]
    assert len(names) > 4


@pytest.mark.parametrize(
    ("own", "other"), [("eta", "learning_rate"), ("reg_lambda", "lambda"), ("gamma", "gamma")]
)
def test_one_parameter_is_said_once(own: str, other: str) -> None:
    objective = {"objective": "binary:logistic"}
    told = applicant_recipe(params={**objective, own: 0.5}, candidates={"a": {other: 0.1}})
    (found,) = [c.recipe.params for c in candidates_of(told) if c.name == "a"]
    assert sorted(found) == sorted({"objective", own, other} - {"learning_rate", "reg_lambda"})
    assert set(found.values()) == {"binary:logistic", 0.1}


def test_all_are_measured_on_the_same_rows_and_the_best_comes_first(
    table: pa.Table, entries: list[Entry], losses: list[Entry]
) -> None:
    for board in (entries, losses):
        assert len({(e.result.train_rows, e.result.test_rows) for e in board}) == 1
    aucs = [e.figures()["roc_auc"] for e in entries]
    assert aucs == sorted(aucs, reverse=True)
    assert len(set(aucs)) == len(entries) == 4
    maes = [e.figures()["mae"] for e in losses]
    assert maes == sorted(maes)
    assert {e.candidate.name for e in losses} == {"xgboost", "few", "ridge", "decision_tree"}
    held_out = table.slice(40 * 40)
    for entry in losses:
        off = entry.result.scorer.predict(held_out) - held_out["loss"].to_numpy()
        assert entry.figures() == pytest.approx(
            {"mae": np.abs(off).mean(), "rmse": np.sqrt((off * off).mean())}
        )


def test_equal_ones_are_told_apart_by_the_second_figure(entries: list[Entry]) -> None:
    def with_figures(entry: Entry, roc_auc: float, log_loss: float) -> Entry:
        told = entry.result.classification
        assert told is not None
        changed = dataclasses.replace(told, roc_auc=roc_auc, log_loss=log_loss)
        return dataclasses.replace(
            entry, result=dataclasses.replace(entry.result, classification=changed)
        )

    figures = [(0.7, 0.5), (0.9, 0.6), (0.9, 0.4), (0.7, 0.5)]
    told = [with_figures(e, *figure) for e, figure in zip(entries, figures, strict=True)]
    assert [told.index(e) for e in ranked(told)] == [2, 1, 0, 3]


def test_what_a_feature_is_worth_is_lost_where_it_is_shuffled(
    table: pa.Table, entries: list[Entry], losses: list[Entry]
) -> None:
    for entry in entries:
        worth = entry.result.importance
        assert worth.measured_by == "ROC AUC lost where the feature is shuffled"
        assert list(worth.values) == ["kind", "town", "amount", "nothing"]
        assert worth.values["nothing"] == 0
    for name in ("xgboost", "logistic_regression"):
        (values,) = [e.result.importance.values for e in entries if e.candidate.name == name]
        assert values["kind"] > 0.05 < values["amount"], name
        assert abs(values["town"]) < 0.03, name
    assert losses[0].result.importance.measured_by.startswith("mean absolute error added")
    best, told = entries[0].result.scorer, entries[0].candidate.recipe
    held_out = split_parts(table, told).test
    again = [shuffled(best, held_out, told, seed=s, threads=1).values["kind"] for s in (1, 1, 2)]
    assert again[0] == again[1] == entries[0].result.importance.values["kind"]
    assert again[2] != again[0]


def test_runs_stand_below_one_run(
    store: TrackingStore, tracked: TrackedLeaderboard, entries: list[Entry]
) -> None:
    with mlflow_at(store.uri) as client:
        parent = client.get_run(tracked.run_id)
        children = {name: client.get_run(run_id) for name, run_id in tracked.runs.items()}
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["twinlake.candidate"] == entries[0].candidate.name
    assert parent.data.metrics["roc_auc"] == entries[0].figures()["roc_auc"]
    assert list(children) == [entry.candidate.name for entry in entries]
    hashes = set()
    for entry in entries:
        run = children[entry.candidate.name]
        assert run.info.status == "FINISHED"
        assert run.info.run_name == entry.candidate.name
        assert run.data.tags["mlflow.parentRunId"] == tracked.run_id
        assert run.data.params["algorithm"] == entry.candidate.algorithm
        assert entry.figures().items() <= run.data.metrics.items()
        hashes.add(run.data.tags["twinlake.model_sha256"])
    assert len(hashes) == 4
    assert children["stumps"].data.params["xgboost.max_depth"] == "1"
    assert children["stumps"].data.params["rounds"] == "3"
    assert "xgboost.max_depth" not in children["decision_tree"].data.params


def test_the_table_and_the_pictures_are_artifacts(
    store: TrackingStore, tracked: TrackedLeaderboard, entries: list[Entry]
) -> None:
    folder = Path(store.artifacts)
    kept = folder / tracked.run_id / "artifacts"
    board = json.loads((kept / "leaderboard.json").read_text())
    told = [dict(zip(board["columns"], row, strict=True)) for row in board["data"]]
    for row, wanted in zip(told, rows(entries), strict=True):
        assert row == pytest.approx(wanted, abs=1e-9)
    assert [row["rank"] for row in told] == [1, 2, 3, 4]
    drawn = {path.name for path in kept.glob("*.png")}
    assert drawn == {"precision_recall.png", "calibration.png"}
    for run_id in tracked.runs.values():
        kept = folder / run_id / "artifacts"
        assert {path.name for path in kept.iterdir()} == {
            "receipt.json", "precision_recall.png", "calibration.png", "importance.png"
        }  # fmt: skip


def test_nothing_is_pickled_and_the_signature_says_string(
    store: TrackingStore, tracked: TrackedLeaderboard
) -> None:
    kept = list(Path(store.artifacts).rglob("models/**/*"))
    files = {path.name for path in kept if path.is_file()}
    assert files == {
        "model.ubj", "model.skops", "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"
    }  # fmt: skip
    described = [" ".join(p.read_text().split()) for p in kept if p.name == "MLmodel"]
    assert len(described) == 4
    for text in described:
        assert '"type": "string", "name": "kind", "required": false' in text
        assert '"type": "double", "name": "amount"' in text
        assert "cloudpickle" not in text


def test_the_best_is_the_champion(
    store: TrackingStore, tracked: TrackedLeaderboard, entries: list[Entry], table: pa.Table
) -> None:
    best = entries[0]
    champion = load_champion(store, "loans")
    assert champion.version == tracked.best.version == 1
    assert tracked.best.run_id == tracked.runs[best.candidate.name]
    assert champion.features == best.candidate.recipe.features
    assert champion.predict(table).tolist() == best.result.scorer.predict(table).tolist()


def test_a_champion_may_be_of_any_algorithm(
    store: TrackingStore,
    losses: list[Entry],
    receipt: Receipt,
    table: pa.Table,
    tmp_path: Path,
) -> None:
    store = TrackingStore(store.uri, str(tmp_path), "losses")
    origin = Origin(receipt, TRAINING_SET)
    for entry in losses:
        algorithm = entry.candidate.algorithm
        log_leaderboard(store, loss_recipe(), [entry], origin, alias="champion")
        champion = load_champion(store, "losses")
        assert champion.scorer.algorithm == algorithm
        assert champion.predict(table).tolist() == entry.result.scorer.predict(table).tolist()
