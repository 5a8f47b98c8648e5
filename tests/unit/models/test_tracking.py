"""MLflow: what is kept of a training, and what is refused when it comes back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.unit.models.conftest import DAY, START, TRAINING_SET
from twinlake.errors import InputError, StateError
from twinlake.models.mlflow_session import TrackingStore, mlflow_at
from twinlake.models.receipts import Receipt
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.registered import load_model
from twinlake.models.tracking import Origin, TrackedModel, log_training
from twinlake.models.train import TrainingResult, train


@pytest.fixture(scope="module")
def result(training_set: pa.Table, recipe: TrainingRecipe) -> TrainingResult:
    return train(training_set, recipe, seed=1, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a lake")


@pytest.fixture(scope="module")
def store(folder: Path) -> TrackingStore:
    return TrackingStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts", "twinlake")


@pytest.fixture(scope="module")
def tracked(
    folder: Path,
    store: TrackingStore,
    recipe: TrainingRecipe,
    result: TrainingResult,
    receipt: Receipt,
) -> TrackedModel:
    finish = START + dt.timedelta(seconds=90)
    return log_training(
        store,
        recipe,
        result,
        Origin(receipt, TRAINING_SET),
        started_at=START,
        finished_at=finish,
        alias="champion",
    )


@pytest.fixture
def run(store: TrackingStore, tracked: TrackedModel) -> Any:
    with mlflow_at(store.uri) as client:
        return client.get_run(tracked.run_id)


@pytest.fixture
def model_file(folder: Path, tracked: TrackedModel) -> Iterator[Path]:
    """The stored model, put right again after a test that spoils it."""
    (path,) = folder.rglob(f"{tracked.model_uri.removeprefix('models:/')}/**/model.ubj")
    good = path.read_bytes()
    yield path
    path.write_bytes(good)


def test_the_run_says_what_was_learned_from_what(
    run: Any, recipe: TrainingRecipe, result: TrainingResult, receipt: Receipt
) -> None:
    assert run.info.status == "FINISHED"
    assert run.info.start_time == int(START.timestamp() * 1000)
    assert run.info.end_time - run.info.start_time == 90_000
    for name, value in result.metrics().items():
        assert run.data.metrics[name] == value
    assert run.data.params["features"] == "weekday,yesterday,level,constant"
    assert run.data.params["xgboost.max_depth"] == "4"
    assert run.data.tags["twinlake.receipt_digest"] == receipt.digest()
    inputs = {entry.dataset.name: entry for entry in run.inputs.dataset_inputs}
    training = inputs["energy_forecast_1"]
    assert training.tags[0].value == "training"
    assert training.dataset.digest == receipt.digest()[:32]
    # Version 0 is a version.
    assert json.loads(training.dataset.source) == {
        "path": "lake/training_sets/1",
        "delta_table_version": 0,
        "delta_table_id": "5e7",
    }
    assert json.loads(inputs["daily_energy"].dataset.source)["delta_table_version"] == 3


def test_the_receipt_and_pictures_are_artifacts(
    folder: Path, tracked: TrackedModel, receipt: Receipt
) -> None:
    kept = folder / "artifacts" / tracked.run_id / "artifacts"
    assert Receipt.from_json((kept / "receipt.json").read_text()) == receipt
    for picture in ("forecast.png", "importance.png"):
        assert (kept / picture).read_bytes().startswith(b"\x89PNG")


def test_a_classification_is_logged_with_its_own_metrics_and_curve(
    folder: Path,
    store: TrackingStore,
    recipe: TrainingRecipe,
    training_set: pa.Table,
    receipt: Receipt,
    tracked: TrackedModel,
) -> None:
    above = pa.array(training_set["label"].to_numpy() > 10)
    labelled = training_set.set_column(5, "label", above)
    logistic = dataclasses.replace(
        recipe,
        name="is_high",
        params={**recipe.params, "objective": "binary:logistic"},
        baselines={},
        trained_from_us=0,
        tested_from_us=40 * DAY,
        threshold=0.25,
    )
    result = train(labelled, logistic, seed=1, threads=1)
    logged = log_training(
        store, logistic, result, Origin(receipt, TRAINING_SET), started_at=START, finished_at=START
    )
    with mlflow_at(store.uri) as client:
        found = client.get_run(logged.run_id)
        client.delete_registered_model("is_high")
    for name, value in result.metrics().items():
        assert found.data.metrics[name] == value
    assert not [name for name in found.data.metrics if name.endswith("mae")]
    assert found.data.params["threshold"] == "0.25"
    assert found.data.params["trained_from"] == "1970-01-01T00:00:00Z"
    assert found.data.params["cut"] == "1970-02-10T00:00:00+00:00"
    assert "test_fraction" not in found.data.params
    kept = folder / "artifacts" / logged.run_id / "artifacts"
    for picture in ("precision_recall.png", "calibration.png"):
        assert (kept / picture).read_bytes().startswith(b"\x89PNG")
    assert not (kept / "forecast.png").exists()
    shutil.rmtree(kept)


def test_nothing_is_pickled(folder: Path, model_file: Path) -> None:
    kept = {path.name for path in folder.rglob("*") if path.is_file()}
    assert kept == {
        "mlflow.db", "mlflow.db.lock", "receipt.json", "forecast.png", "importance.png",
        "model.ubj", "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt",
    }  # fmt: skip
    description = (model_file.parent / "MLmodel").read_text()
    assert "model_format: ubj" in description
    assert '"name": "level", "required": false' in " ".join(description.split())
    assert "pickle" not in description
    assert not model_file.read_bytes().startswith(b"\x80")


def test_it_comes_back_as_it_was(
    store: TrackingStore, tracked: TrackedModel, result: TrainingResult, training_set: pa.Table
) -> None:
    expected = result.scorer.predict(training_set)
    for asked in ({"version": 1}, {"alias": "champion"}):
        loaded = load_model(store, "next_value", **asked)
        assert loaded.predict(training_set).tolist() == expected.tolist()
    assert (tracked.name, tracked.version) == ("next_value", 1)


def test_another_file_is_refused(store: TrackingStore, model_file: Path) -> None:
    model_file.write_bytes(model_file.read_bytes().replace(b"weekday", b"weekdaz"))
    with pytest.raises(StateError, match=r"SHA-256 .* was registered; it was not loaded"):
        load_model(store, "next_value", version=1)


def test_a_missing_file_is_named(store: TrackingStore, model_file: Path) -> None:
    model_file.unlink()
    with pytest.raises(StateError, match=r"next_value version 1 has no model\.ubj"):
        load_model(store, "next_value", version=1)


def test_a_model_without_its_hash_is_refused(store: TrackingStore, tracked: TrackedModel) -> None:
    with mlflow_at(store.uri) as client:
        client.delete_model_version_tag("next_value", "1", "twinlake.model_sha256")
        try:
            with pytest.raises(StateError, match="none was registered"):
                load_model(store, "next_value", version=1)
        finally:
            client.set_model_version_tag("next_value", "1", "twinlake.model_sha256", tracked.sha256)


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("nobody", {"version": 1}, "no version 1 of a model named 'nobody'"),
        ("next_value", {"version": 99}, "no version 99"),
        ("next_value", {"alias": "winner"}, "no alias winner"),
        ("next_value", {}, "either the version"),
        ("next_value", {"version": 1, "alias": "champion"}, "either the version"),
    ],
)
def test_unknown_models_are_named(
    store: TrackingStore, tracked: TrackedModel, name: str, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_model(store, name, **asked)


def test_it_says_nothing_and_leaves_the_process_alone(
    store: TrackingStore,
    recipe: TrainingRecipe,
    result: TrainingResult,
    receipt: Receipt,
    tracked: TrackedModel,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = (os.environ.copy(), mlflow.get_tracking_uri(), logging.getLogger("alembic").level)
    again = log_training(
        store, recipe, result, Origin(receipt, TRAINING_SET), started_at=START, finished_at=START
    )
    load_model(store, "next_value", version=again.version)
    after = (os.environ.copy(), mlflow.get_tracking_uri(), logging.getLogger("alembic").level)
    assert after == before
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert mlflow.active_run() is None
    assert (again.version, again.sha256) == (tracked.version + 1, tracked.sha256)
    with mlflow_at(store.uri) as client:
        assert client.get_model_version_by_alias("next_value", "champion").version == 1
        client.delete_model_version("next_value", str(again.version))


def test_a_training_that_cannot_be_kept_is_a_failed_run(
    store: TrackingStore,
    recipe: TrainingRecipe,
    result: TrainingResult,
    receipt: Receipt,
    tracked: TrackedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("twinlake.models.tracking.draw_result", full)
    with pytest.raises(OSError, match="no space"):
        log_training(
            store,
            recipe,
            result,
            Origin(receipt, TRAINING_SET),
            started_at=START,
            finished_at=START,
        )
    with mlflow_at(store.uri) as client:
        experiment = client.get_experiment_by_name("twinlake")
        runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FAILED'")
        assert len(runs) == 1
        client.delete_run(runs[0].info.run_id)
