"""Rows with text among their features, and a label that text and numbers decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tests.unit.models.conftest import DAY, DAYS, HOMES
from twinlake.models.recipe import TrainingRecipe

KINDS = ["rent", "own", "mortgage", None]
# One a day, so that the held-out days have towns that were never learned.
TOWNS = [f"town {day:02}" for day in range(DAYS)]


def applicants() -> pa.Table:
    """Loans: who rents and asks for much is likely to fail; the town says nothing."""
    chance = np.random.default_rng(5)
    days = np.repeat(np.arange(DAYS), HOMES)
    kind = chance.integers(0, len(KINDS), len(days))
    amount = chance.normal(10, 3, len(days))
    risk = 2.0 * (kind == 0) - (kind == 1) + (amount - 10) / 3 - 0.5
    fails = chance.random(len(days)) < 1 / (1 + np.exp(-2 * risk))
    loss = np.where(fails, amount, 0.0) + chance.normal(0, 0.1, len(days))
    return pa.table(
        {
            "event_timestamp": pa.array(days * DAY, pa.timestamp("us", tz="UTC")),
            "kind": pa.array([KINDS[place] for place in kind], pa.string()),
            "town": pa.array([TOWNS[day] for day in days], pa.string()).dictionary_encode(),
            "amount": pa.array(amount, mask=chance.random(len(days)) < 0.2),
            "nothing": pa.nulls(len(days), pa.string()),
            "fails": fails,
            "loss": loss,
        }
    )


def applicant_recipe(**changes: Any) -> TrainingRecipe:
    """Learn ``fails`` as a probability."""
    told: dict[str, Any] = {
        "name": "loans",
        "label": "fails",
        "features": ("kind", "town", "amount", "nothing"),
        "params": {"objective": "binary:logistic", "max_depth": 3, "eta": 0.3},
        "rounds": 15,
        "threshold": 0.5,
    }
    return TrainingRecipe(**told | changes)


def loss_recipe(**changes: Any) -> TrainingRecipe:
    """Learn ``loss``, a number."""
    return applicant_recipe(
        **{"name": "losses", "label": "loss", "params": {"max_depth": 3}, "threshold": None}
        | changes
    )
