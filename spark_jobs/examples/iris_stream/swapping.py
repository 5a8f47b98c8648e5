"""A model that takes two species for each other: what the alert is there for."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from examples.iris_stream import training
from twinlake.flows import modelling, training_sets
from twinlake.flows.modelling import Trained
from twinlake.flows.project import Project

SWAPPED: Final = {"versicolor": "virginica", "virginica": "versicolor"}


def train_swapped(project: Project) -> Trained:
    """Learn from flowers two of whose species carry each other's name; it becomes the champion."""
    import pyarrow.parquet as pq

    spine = project.settings.state / "spine-swapped.parquet"
    rows = pq.read_table(project.settings.state / "spine.parquet")
    species = pa.array([SWAPPED.get(name, name) for name in rows["species"].to_pylist()])
    pq.write_table(
        rows.set_column(rows.schema.get_field_index("species"), "species", species), spine
    )
    service = project.model(training.MODEL).service.name
    return modelling.train_model(
        project, training.MODEL, training_sets.build(project, service, spine)
    )
