"""What quality windows are folded from: predictions, labels, and what the model learned from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from twinlake.assurance.drift import Reference
from twinlake.assurance.quality_figures import CLASSES, NUMBER, PROBABILITY
from twinlake.assurance.quality_rows import QualitySpec
from twinlake.definitions.resolution import all_columns
from twinlake.definitions.services import Model
from twinlake.errors import InputError, StateError
from twinlake.flows.project import Project
from twinlake.flows.stream_scoring import scored_source
from twinlake.lake import events, predictions, tables, training_tables
from twinlake.lake import quality as quality_tables
from twinlake.registry import notes
from twinlake.registry.trained import TrainedModels

# Rows of a training set that say what its features looked like.
_LOOKED_AT = 200_000


class QualityInputs:
    """Reads what a model said, and what turned out.

    Args:
        project: The project.
        model: The model; it says what is watched.

    Attributes:
        spec: How it is watched.
    """

    def __init__(self, project: Project, model: Model) -> None:
        if model.quality is None:
            raise InputError(f"model {model.name} does not say what to watch")
        self._project, self._model, self._quality = project, model, model.quality
        self._path = project.places.predictions(model.name)
        self.spec = spec_of(model)
        self._features = [*model.service.feature_names(), *model.spine_features]
        source = scored_source(model)
        own = all_columns(source)
        of_event = [model.label] if model.label in own and model.quality.labels is None else []
        self._columns = list(dict.fromkeys([*self.spec.id_columns, *of_event]))

    def newest(self) -> dict[str, int]:
        """Tell up to which ingest versions there are predictions and labels; -1: there are none."""
        spark, found = self._project.spark, {"predictions": -1, "labels": -1}
        if tables.exists(self._path):
            through = predictions.scored_through(spark, self._path)
            found["predictions"] = -1 if through is None else through
        if self._quality.labels is not None:
            name = self._quality.labels.source.name
            if tables.exists(self._project.places.events(name)):
                found["labels"] = self._project.landings(name).newest_version()
        return found

    def cut(self, after: int, through: int) -> int:
        """Tell up to which ingest version predictions are read at once, at most ``through``."""
        frame = predictions.after(self._project.spark, self._path, after, through)
        for last, _ in predictions.version_ranges(frame, "_event_version"):
            return last
        return through

    def predictions(
        self, after: int, through: int, since_us: int | None = None
    ) -> Iterator[pa.Table]:
        """Read predictions of some ingest versions, in the order in which they were landed.

        Args:
            after: Of versions after this.
            through: And up to this one.
            since_us: Only those of events that happened then or later.
        """
        if through <= after or not tables.exists(self._path):
            return
        spark = self._project.spark
        frame = predictions.after(spark, self._path, after, through)
        if since_us is not None:
            frame = tables.since(frame, "event_timestamp", since_us)
        model, there = self._model, set(frame.columns)
        # What was predicted before a feature was there has nothing to compare.
        compared = [name for name in self._features if name in there]
        columns = list(dict.fromkeys([*self._columns, *compared]))
        said = model.predicted_column if model.classes else None
        for _, piece in predictions.version_ranges(frame, "_event_version"):
            yield quality_tables.collected(
                quality_tables.watched_rows(piece, said, columns)
            ).drop_columns(list(quality_tables.PLACE))

    def labels(self, after: int, through: int, since_us: int | None = None) -> pa.Table | None:
        """Read labels of some ingest versions, by the names that predictions have for them."""
        labels = self._quality.labels
        if labels is None or through <= after:
            return None
        path = self._project.places.events(labels.source.name)
        frame = events.accepted(self._project.spark, path, labels.source, through)
        names = {own: named for named, own in labels.id_columns.items()}
        names[labels.label] = labels.label
        frame = quality_tables.label_rows(frame, after, names, since_us)
        return quality_tables.collected(frame).drop_columns(list(quality_tables.PLACE))

    def reference(self) -> Reference | None:
        """Tell what the features looked like that the newest version learned from.

        None where that is not known any more.
        """
        trained = TrainedModels(self._project.settings.state).all(self._model.name)
        if not trained:
            return None
        newest = max(trained, key=lambda one: one.version)
        places = self._project.places
        file = places.quality_note(f"{self._model.name}-learned-{newest.training_set}")
        if (kept := notes.read(file)) is not None:
            return Reference.read(kept)
        path = places.training_set(newest.training_set)
        if not tables.exists(path):
            return None
        try:
            rows = training_tables.read_some(self._project.spark, path, self._features, _LOOKED_AT)
        except StateError as error:
            self._project.tell(f"drift is not measured: {error.message}")
            return None
        found = Reference.of(rows, self._features)
        notes.write(file, json.dumps(found.document()))
        return found


def spec_of(model: Model) -> QualitySpec:
    """Say how a model is watched.

    Raises:
        InputError: It does not say what to watch.
    """
    quality = model.quality
    if quality is None:
        raise InputError(f"model {model.name} does not say what to watch")
    labels = quality.labels
    told: dict[str, Any] = {}
    if labels is not None:
        told = {"id_columns": tuple(labels.id_columns), "within_us": labels.within_us}
    task = CLASSES if model.classes else NUMBER if model.threshold is None else PROBABILITY
    return QualitySpec(
        task,
        quality.window_us,
        quality.lateness_us,
        label=model.label if labels is None else labels.label,
        classes=tuple(model.classes),
        threshold=0.5 if model.threshold is None else model.threshold,
        **told,
    )
