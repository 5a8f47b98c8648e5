"""A small training set whose answer is known."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from twinlake.models.boosted_trees import BoostedTrees
from twinlake.models.receipts import Receipt, SpinePin, TablePin
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.train import TrainingResult

DAYS, HOMES = 50, 40
DAY = 86_400_000_000
START = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
TRAINING_SET = TablePin("energy_forecast_1", "lake/training_sets/1", "5e7", version=0)
EVENTS = TablePin("daily_energy", "lake/events", "7c1e", version=3, sequence=2)

RECEIPT = Receipt(
    training_set="energy_forecast_1",
    service="energy_forecast",
    definition="d" * 64,
    tables=(EVENTS,),
    spine=SpinePin("spine.parquet", "f" * 32, 2000),
    columns=("label",),
    content="c" * 32,
    rows=2000,
    statuses={"level": {"present": 2000}},
    code_version="0.1.0",
    created_at=START,
)


def model_bytes(found: TrainingResult) -> bytes:
    """A model of XGBoost as its file."""
    assert isinstance(found.scorer, BoostedTrees)
    return bytes(found.scorer.booster.save_raw("ubj"))


@pytest.fixture(scope="session")
def receipt() -> Receipt:
    return RECEIPT


@pytest.fixture(scope="session")
def training_set() -> pa.Table:
    """A value that follows yesterday's, the weekday and a feature that is missing for some."""
    chance = np.random.default_rng(7)
    days = np.repeat(np.arange(DAYS), HOMES)
    yesterday = chance.gamma(3, 3, len(days))
    level = chance.normal(10, 3, len(days))
    label = 0.5 * yesterday + 0.5 * level + (days % 7 == 6) + chance.normal(0, 0.5, len(days))
    return pa.table(
        {
            "event_timestamp": pa.array(days * DAY, pa.timestamp("us", tz="UTC")),
            "weekday": pa.array(days % 7, pa.int32()),
            "yesterday": yesterday,
            "level": pa.array(level, mask=chance.random(len(days)) < 0.1),
            "constant": pa.array([True] * len(days)),
            "label": label,
        }
    )


@pytest.fixture(scope="session")
def recipe() -> TrainingRecipe:
    """Learn the label of ``training_set``; its baselines are two of the features."""
    return TrainingRecipe(
        name="next_value",
        label="label",
        features=("weekday", "yesterday", "level", "constant"),
        params={"max_depth": 4, "eta": 0.2},
        rounds=40,
        baselines={"same": "yesterday", "usual": "level"},
    )
