"""Train on the flowers that are not replayed, and ask what the original's test asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from examples.iris_stream.features import MEASURES, flower_areas
from examples.iris_stream.spine import ASKED, write_spine
from twinlake.flows import applying, modelling, training_sets
from twinlake.flows.modelling import Leaderboard
from twinlake.flows.project import Project
from twinlake.flows.training_sets import TrainingSet
from twinlake.models.scorer import Scorer

MODEL: Final = "iris_species"
# The article's leaderboard: mean error per class and log loss of its best, its best linear model
# and its best XGBoost.
ORIGINAL: Final[Mapping[str, tuple[float, float]]] = {
    "DeepLearning": (0.0367021, 0.165721),
    "GLM": (0.0391844, 0.0801216),
    "XGBoost": (0.0404255, 0.207108),
}


def prepare(project: Project) -> TrainingSet:
    """Apply the example, and build the training set."""
    applying.apply(project)
    spine = project.settings.state / "spine.parquet"
    rows = write_spine(spine)
    project.tell(f"spine of {rows} flowers: {spine}")
    return training_sets.build(project, project.model(MODEL).service.name, spine)


def train(project: Project, training_set: TrainingSet) -> Leaderboard:
    """Cross-validate the candidates; the best becomes the champion."""
    return modelling.train_candidates(project, MODEL, training_set)


def ask(scorer: Scorer) -> list[dict[str, Any]]:
    """Ask about the three flowers; what is said, and what is right."""
    rows = [dict(zip(MEASURES, measures, strict=True)) for measures, _ in ASKED]
    measures = {name: np.array([row[name] for row in rows]) for name in MEASURES}
    said = scorer.predict(pa.table(measures | flower_areas.function.callable()(measures)))
    best = np.argmax(said, axis=1)
    return [
        {**row, "species": species, "predictedSpecies": scorer.classes[place]}
        for row, (_, species), place in zip(rows, ASKED, best.tolist(), strict=True)
    ]
