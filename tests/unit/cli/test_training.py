"""What ``train`` says of a model: errors beside naive ones, or how labels are told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from twinlake.cli.training import quality_text, trained_document, where_to_look
from twinlake.definitions.times import to_datetime
from twinlake.flows.modelling import tracking_store
from twinlake.flows.project import Project
from twinlake.models.boosted_trees import BoostedTrees
from twinlake.models.boosting import xgb
from twinlake.models.classification import Classification
from twinlake.models.importance import Importance
from twinlake.models.train import Errors, TrainingResult
from twinlake.settings import load_settings

FOUND = Classification(
    threshold=0.25,
    roc_auc=0.92,
    average_precision=0.68,
    true_positives=977,
    false_positives=214,
    false_negatives=607,
    true_negatives=1_998_202,
    log_loss=0.0012,
    calibration=pa.table({"forecast": [0.1], "actual": [0.1], "rows": [2_000_000]}),
    curve=pa.table({"recall": [1.0, 0.0], "precision": [0.5, 1.0]}),
)

_ROWS = xgb.DMatrix(pa.table({"x": [0.0, 1.0]}), label=[0.0, 1.0])
BOOSTER = xgb.train({"nthread": 1}, _ROWS, 3)


def document(**changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "scorer": BoostedTrees(BOOSTER),
        "cut": to_datetime(0),
        "validation_cut": None,
        "train_rows": 7,
        "test_rows": 2_000_000,
        "compared_rows": 2_000_000,
        "errors": {},
        "importance": Importance("gain", {}),
        "test_tail": None,
    }
    trained = SimpleNamespace(
        model=SimpleNamespace(name="m"),
        training_set=SimpleNamespace(name="s__1"),
        tracked=SimpleNamespace(version=1, run_id="r", sha256="f"),
        result=TrainingResult(**told | changes),
    )
    return trained_document(trained)


def test_a_classification_is_told_by_its_own_figures() -> None:
    told = document(classification=FOUND)
    guess = {"base_log_loss": FOUND.base_log_loss}
    assert told["classification"] == {"threshold": 0.25, **FOUND.metrics(), **guess}
    assert (told["errors"], told["mae_gain_over_best_baseline"]) == ({}, None)
    assert [line.split() for line in quality_text(told).splitlines() if line] == [
        ["metric", "model", "a", "guess"],
        ["ROC", "AUC", "0.9200", "0.5000"],
        ["average", "precision", "0.6800", "0.0008"],
        ["log", "loss", "0.0012", "0.0064"],
        ["accuracy", "0.9996", "0.9992"],
        ["label", "called", "positive", "called", "negative"],
        ["positive", "977", "607"],
        ["negative", "214", "1,998,202"],
        ["above", "a", "probability", "of", "0.25:", "precision", "0.8203,", "recall", "0.6168"],
    ]


def test_a_forecast_is_told_beside_naive_ones() -> None:
    told = document(errors={"model": Errors(1.5, 2.0), "yesterday": Errors(2.0, 2.5)})
    assert told["classification"] is None
    assert told["mae_gain_over_best_baseline"] == 0.25
    assert [line.split() for line in quality_text(told).splitlines()] == [
        ["forecast", "MAE", "RMSE"],
        ["model", "1.5000", "2.0000"],
        ["yesterday", "2.0000", "2.5000"],
    ]


def test_where_runs_are_looked_at() -> None:
    server = "http" + "://127.0.0.1:5000"
    assert where_to_look(server) == server
    file = "sqlite:///state/mlflow.sqlite"
    assert where_to_look(file) == f".venv/bin/mlflow ui --backend-store-uri {file}"


@pytest.mark.parametrize(
    ("artifacts", "uri"),
    [
        ("/a folder/models", "file:///a%20folder/models"),
        ("mlflow-artifacts:/", "mlflow-artifacts:/"),
        ("s3://bucket/models", "s3://bucket/models"),
    ],
)
def test_models_are_kept_in_a_folder_or_where_a_uri_says(
    tmp_path: Path, artifacts: str, uri: str
) -> None:
    settings = replace(load_settings(tmp_path, environ={}), mlflow_artifacts=artifacts)
    project = Project(settings, environ={}, now_us=lambda: 0, tell=lambda _: None)
    assert tracking_store(project, "shop").artifacts == uri
