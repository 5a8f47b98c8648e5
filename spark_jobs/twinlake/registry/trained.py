"""Which versions of models learned from which training sets, without asking MLflow.

STATE/trained/MODEL/VERSION.json      one per version that was registered here
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from twinlake.errors import StateError
from twinlake.registry import notes


@dataclass(frozen=True)
class TrainedModel:
    """A version of a model, as it was registered.

    Attributes:
        model: The model's name.
        version: Its number in the model registry.
        algorithm: What it was learned by, such as ``xgboost``.
        training_set: What it learned from.
        receipt: Digest of the receipt of that.
        run_id: MLflow's run.
        sha256: Of its file.
    """

    model: str
    version: int
    algorithm: str
    training_set: str
    receipt: str
    run_id: str
    sha256: str


class TrainedModels:
    """The versions that a project registered."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "trained"

    def add(self, trained: TrainedModel) -> None:
        """Write a version down."""
        file = self._folder / trained.model / f"{trained.version:06}.json"
        notes.write(file, json.dumps(asdict(trained), sort_keys=True))

    def all(self, model: str | None = None) -> list[TrainedModel]:
        """Give the versions of a model, or of all, in order.

        Raises:
            StateError: A file is not what ``add`` wrote.
        """
        found = []
        for file in sorted(self._folder.glob(f"{model or '*'}/*.json")):
            try:
                found.append(TrainedModel(**json.loads(file.read_text(encoding="utf-8"))))
            except (TypeError, ValueError) as error:
                raise StateError(
                    f"{file} does not say which model was trained: {error}",
                    hint="delete it; MLflow knows the same",
                ) from error
        return found
