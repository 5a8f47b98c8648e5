"""What every trained model is to those who use it, whichever algorithm made it."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa

from twinlake.models.columns import Categories, Doubles


class Scorer(Protocol):
    """A trained model.

    Attributes:
        algorithm: What it was learned by, such as ``xgboost``.
        file_name: What its one file is called; its end tells the format.
    """

    @property
    def algorithm(self) -> str:
        """Name what the model was learned by."""
        ...

    @property
    def file_name(self) -> str:
        """Name the model's one file."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Name the columns that the model takes, in order."""
        ...

    @property
    def categories(self) -> Categories:
        """Give the columns of text among them, each with the values that it knows."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Name the classes that it tells apart, in its order; none of another kind of model."""
        ...

    def predict(self, table: pa.Table, *, threads: int = 1) -> Doubles:
        """Forecast each row.

        Args:
            table: Has the features by name, in any order; what is null, and text that was not there
                when the model was learned, is missing.
            threads: How many threads may be used.

        Returns:
            Probabilities, or forecasts in the unit of the label, shape (rows,); of a model with
            classes the probability of each, shape (rows, classes).

        Raises:
            InputError: A column is missing, or of another type than the model learned.
        """
        ...

    def gains(self) -> dict[str, float] | None:
        """Give each feature's share of what the model gained by it, where the model knows."""
        ...

    def contributions(self, table: pa.Table) -> Doubles | None:
        """Give what each feature adds to each row's forecast, where the algorithm tells.

        Args:
            table: As for ``predict``.

        Returns:
            Shape (rows, features and one for all rows alike); a row's sum is the forecast before it
            becomes a probability. None of a model with classes too.

        Raises:
            InputError: As ``predict``.
        """
        ...

    def flavour(self) -> tuple[Any, dict[str, Any]]:
        """Give the part of MLflow that saves this kind of model, and what it is told."""
        ...
