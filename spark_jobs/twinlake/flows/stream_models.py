"""What answers a stream's questions: the champion of a model, held in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from twinlake.definitions.services import Model
from twinlake.errors import TwinlakeError
from twinlake.flows.modelling import tracking_store
from twinlake.flows.predictions import Said
from twinlake.flows.project import Project
from twinlake.models.columns import Doubles
from twinlake.models.registered import load_champion, newer_champion

# How often MLflow is asked whether there is a new champion, at most.
_LOOK_S = 2.0


class Champion:
    """A model's champion; a new one takes over between two batches.

    Args:
        project: The project.
        model: The model.
        seconds: Tells seconds since some moment.

    Raises:
        InputError: The model has no champion.
        StateError: Its file is not the one that was registered.
        EnvironmentFailure: MLflow does not answer.
    """

    def __init__(
        self, project: Project, model: Model, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._project = project
        self._model = model
        self._store = tracking_store(project, model.name)
        self._champion = load_champion(self._store, model.name)
        self._seconds = seconds
        self._looked_s = seconds()
        self._trouble = ""

    @property
    def version(self) -> int:
        """The version in use."""
        return self._champion.version

    def look(self) -> None:
        """Take a new champion over, if there is one and it is time to look.

        One that cannot be loaded, or an MLflow that does not answer, is told, once; the one that is
        held goes on.
        """
        if self._seconds() - self._looked_s < _LOOK_S:
            return
        self._looked_s = self._seconds()
        name, tell = self._model.name, self._project.tell
        try:
            found = newer_champion(self._store, name, self.version)
        except TwinlakeError as error:
            if error.message != self._trouble:
                tell(f"{name}: version {self.version} goes on: {error.message}")
            self._trouble = error.message
            return
        self._trouble = ""
        if found is not None:
            tell(f"{name}: version {found.version} takes over from {self.version}")
            self._champion = found

    def say(self, inputs: dict[str, pa.Array]) -> Said:
        """Judge events.

        Args:
            inputs: Features and columns of events, by name, in the order of the events.
        """
        names = self._champion.features
        began = self._seconds()
        forecast = self._champion.predict(pa.table({name: inputs[name] for name in names}))
        took_ms = (self._seconds() - began) * 1000
        count, model = len(forecast), self._model
        said = Said.nothing(count, "")
        predicted, probabilities = said.predicted, said.probabilities
        if model.classes:
            order = [self._champion.scorer.classes.index(name) for name in model.classes]
            predicted, probabilities, forecast = _classes(model.classes, forecast[:, order])
        positive = said.is_positive
        if model.threshold is not None:
            positive = pa.array(forecast > model.threshold)
        return Said(
            prediction=pa.array(forecast, pa.float64()),
            unscored=pa.nulls(count, pa.string()),
            version=pa.array(np.full(count, self.version, np.int32)),
            latency_ms=pa.array(np.full(count, took_ms)),
            is_positive=positive,
            predicted=predicted,
            probabilities=probabilities,
        )


def _classes(classes: Sequence[str], forecast: Doubles) -> tuple[pa.Array, pa.Array, Doubles]:
    """Give each row's most probable class, all its probabilities, and that of the class.

    Args:
        classes: The model's, in the order of the forecast's columns.
        forecast: Shape (rows, classes).
    """
    best = np.argmax(forecast, axis=1)
    predicted = pa.array(classes, pa.string()).take(pa.array(best))
    ends = np.arange(len(forecast) + 1, dtype=np.int32) * len(classes)
    listed = pa.ListArray.from_arrays(pa.array(ends), pa.array(forecast.ravel(), pa.float64()))
    return predicted, listed, forecast[np.arange(len(forecast)), best]
