"""What a point-in-time join gives to Python: the rows, and the receipt that reproduces them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from twinlake.flows.project import Project
from twinlake.flows.training_sets import TrainingSet
from twinlake.lake import point_in_time, tables, training_tables
from twinlake.models.receipts import Receipt

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class HistoricalFeatures:
    """A spine with a service's features as of each of its rows.

    The join is done; the rows are read when they are asked for, in whichever form. They are the
    spine's, in no promised order.

    Attributes:
        training_set: The training set that holds them.
        columns: The columns that are given: the spine's, the features, and per view what was asked
            for beside them.
    """

    training_set: TrainingSet
    columns: Sequence[str]
    _project: Project

    @property
    def name(self) -> str:
        """The training set's name, by which it is shown, rebuilt, compared and trained on."""
        return self.training_set.name

    @property
    def receipt(self) -> Receipt:
        """What reproduces the rows, with how many of each feature have which status."""
        return self.training_set.receipt

    def to_df(self) -> pd.DataFrame:
        """Give the rows as a pandas DataFrame."""
        return self.to_arrow().to_pandas()

    def to_arrow(self) -> pa.Table:
        """Give the rows as an Arrow table."""
        made = self.training_set
        return training_tables.read_arrow(
            self._project.spark, made.path, made.version, list(self.columns)
        )

    def to_spark(self) -> DataFrame:
        """Give the rows as a Spark DataFrame, which reads nothing before it is asked to."""
        made = self.training_set
        frame = tables.read(self._project.spark, made.path, made.version)
        return frame.select(*map(tables.quoted, self.columns))


def of_training_set(
    project: Project, made: TrainingSet, *, statuses: bool, event_timestamps: bool
) -> HistoricalFeatures:
    """Give a training set's rows to Python.

    Args:
        project: The project.
        made: The training set.
        statuses: Also give per view why its values are what they are.
        event_timestamps: Also give per view the event timestamp that was matched.
    """
    receipt = made.receipt
    left_out = {
        name
        for name in receipt.marks()
        if not (event_timestamps if point_in_time.is_matched_column(name) else statuses)
    }
    columns = [name for name in receipt.columns if name not in left_out]
    return HistoricalFeatures(made, columns, project)
