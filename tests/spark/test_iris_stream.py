"""The iris example as a whole: what it ends with, and that no answer was learned beforehand."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from examples.iris_stream import demo, training
from examples.iris_stream.spine import ASKED, learned, replayed
from twinlake.clock import now_us
from twinlake.flows import rebuilding
from twinlake.flows.catalogue import receipts
from twinlake.flows.project import Project
from twinlake.settings import load_settings

ORIGINAL_BEST = 0.0367


@pytest.fixture(scope="module")
def project(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Any:
    state = tmp_path_factory.mktemp("iris")
    folder = Path(demo.__file__).parent
    made = Project(
        load_settings(folder, state=state, environ=os.environ),
        environ=os.environ,
        now_us=now_us,
        tell=lambda _: None,
        spark=spark,
    )
    yield made
    made._spark = None  # it belongs to the lane
    made.close()


@pytest.fixture(scope="module")
def ended(project: Project) -> dict[str, Any]:
    return demo.run(project)


def test_every_flower_is_judged_and_counted_once(ended: dict[str, Any], project: Project) -> None:
    sent = ended["sent"]
    assert ended["rows"] == {"read": sent, "accepted": sent, "duplicate": 0, "quarantined": 0}
    assert ended["scored"] == {training.MODEL: {"predictions": sent, "unscored": 0}}
    quality = ended["quality"]
    assert quality["final"] + quality["open"] + quality["late"] == sent == quality["predictions"]
    assert quality["windows"] == sum(demo.MINUTES)
    assert sum(one["records"] for one in quality["totals"]) == quality["counted"] == sent
    assert ended["parity"]["compared"] > 2 * sum(demo.MINUTES)
    assert ended["parity"]["mismatching"] == 0
    folder = project.places.topic(demo.CLASSIFIED)
    lines = [line for file in folder.glob("*.json") for line in file.read_text().splitlines()]
    said = [json.loads(line) for line in lines]
    assert set(Counter(one["id"] for one in said).values()) == {1}
    assert len(said) == sent
    names = {"sepalLength", "sepalWidth", "petalLength", "petalWidth", "species",
             "predictedSpecies", "model_version"}  # fmt: skip
    assert names <= said[0].keys()
    counts = [
        json.loads(line)
        for file in project.places.topic("iris-classified-window-counts").glob("*.json")
        for line in file.read_text().splitlines()
    ]
    assert sum(one["count"] for one in counts) == quality["final"]
    assert all(one["endMs"] - one["startMs"] == 60_000 for one in counts)


def test_the_wrong_model_raises_the_alert_and_its_replacement_clears_it(
    ended: dict[str, Any],
) -> None:
    raised, cleared = ended["alerts"]
    assert (raised["kind"], cleared["kind"]) == ("raised", "cleared")
    assert (raised["model_version"], cleared["model_version"]) == (2, 1)
    minutes = [int(one["window_start"][14:16]) for one in (raised, cleared)]
    first, wrong, _ = demo.MINUTES
    began = 31  # 07:31 is the first window
    assert began + first <= minutes[0] < began + first + 2, "within two windows"
    assert began + first + wrong <= minutes[1] < began + first + wrong + 2
    assert ended["quality"]["raised"] == []


def test_the_leaderboard_beats_the_original_without_having_seen_the_answers(
    ended: dict[str, Any], project: Project
) -> None:
    best = ended["leaderboard"][0]
    assert best["mean_per_class_error"] <= ORIGINAL_BEST
    assert best["log_loss"] < training.ORIGINAL["DeepLearning"][1]
    assert [one["predictedSpecies"] for one in ended["asked"]] == [name for _, name in ASKED]
    first = min(receipts(project), key=lambda one: one.created_at)
    assert first.rows == len(learned()) < 150 - len(replayed())
    assert rebuilding.rebuild(project, first.training_set).verdict == "same"
