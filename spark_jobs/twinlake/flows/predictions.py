"""What a model said of the events of a stream: a Delta table with a row for each, and a topic.

An event has one row: what the model said, or why it said nothing. A batch's rows come by one commit
that bears the number of the batch's ingest version, so what the table holds wins where a batch is
scored again. Rows are sent to the topic after that, and then it is noted up to which version; what
a killed stream had not sent is sent from the table. Nothing is left out; after a crash a batch may
be sent once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from twinlake.crash_points import reached
from twinlake.definitions.services import Model
from twinlake.definitions.types import Field
from twinlake.flows.project import Project
from twinlake.flows.stream_outputs import TopicOutput
from twinlake.lake import predictions, stream_batches
from twinlake.lake.arrow_types import arrow_type
from twinlake.registry import notes


@dataclass(frozen=True)
class Said:
    """What a model said of some events, in their order; each array has one cell an event.

    Attributes:
        prediction: A forecast, the probability that the label is 1, or that of the class predicted;
            null where the model said nothing.
        unscored: Why it said nothing; null where it did not.
        version: The version of the model in its registry, where it is known.
        latency_ms: How long the answer took; events that were asked in one call share it.
        is_positive: Whether the prediction is above the model's threshold; null without one.
        predicted: The class predicted; null but of a model with classes.
        probabilities: Those of all classes, in their order; likewise.
    """

    prediction: pa.Array
    unscored: pa.Array
    version: pa.Array
    latency_ms: pa.Array
    is_positive: pa.Array
    predicted: pa.Array
    probabilities: pa.Array

    @staticmethod
    def nothing(count: int, why: str) -> Said:
        """Say nothing of some events, for one reason."""
        return Said(
            prediction=pa.nulls(count, pa.float64()),
            unscored=pa.array([why] * count, pa.string()),
            version=pa.nulls(count, pa.int32()),
            latency_ms=pa.nulls(count, pa.float64()),
            is_positive=pa.nulls(count, pa.bool_()),
            predicted=pa.nulls(count, pa.string()),
            probabilities=pa.nulls(count, pa.list_(pa.float64())),
        )

    def of(self, model: Model) -> dict[str, pa.Array]:
        """Give the columns that a model's table has of this."""
        made = {
            "prediction": self.prediction,
            "is_positive": self.is_positive,
            "unscored": self.unscored,
            "model": pa.array([model.name] * len(self.prediction), pa.string()),
            "model_version": self.version,
            "latency_ms": self.latency_ms,
        }
        if model.classes:
            made |= {model.predicted_column: self.predicted, "probabilities": self.probabilities}
        return made


def said_columns(model: Model) -> list[Field]:
    """Give the columns that say what a model said."""
    classes = [Field(model.predicted_column, "string"), Field("probabilities", "array<double>")]
    return [
        *(classes if model.classes else ()),
        Field("prediction", "double"),
        Field("is_positive", "boolean"),
        Field("unscored", "string"),
        Field("model", "string"),
        Field("model_version", "int"),
        Field("latency_ms", "double"),
    ]


class PredictionTable:
    """The predictions of a model.

    Args:
        project: The project.
        model: The model.
        columns: What the table says of an event beside what the model said: its keys, what
            identifies it, its ``event_timestamp``, and what the model was given.
        keys: Columns that make the key of a message.
        topic: Also send predictions there.
        since_version: Where there is no table yet, events after this ingest version count.
    """

    def __init__(
        self,
        project: Project,
        model: Model,
        columns: Sequence[Field],
        keys: Sequence[str],
        topic: str | None,
        since_version: int,
    ) -> None:
        self._project = project
        self._model = model
        self._columns = [*columns, *said_columns(model), *predictions.PLACE]
        self._path = project.places.predictions(model.name)
        comment = f"Predictions of model {model.name}, one per event"
        predictions.create(project.spark, self._path, self._columns, comment)
        done = predictions.scored_through(project.spark, self._path)
        if done is None:  # from here on; what was there before is history
            self._append(pa.Table.from_pylist([], schema=self.schema), since_version)
            done = since_version
        self.version = done
        self._topic = None
        if topic is not None:
            self._topic = TopicOutput(project, topic, keys)
            self._note = project.places.prediction_topic_note(model.name, topic)
            self._send_written()

    @property
    def schema(self) -> pa.Schema:
        """The table's columns as Arrow's."""
        return pa.schema([(f.name, arrow_type(f.type)) for f in self._columns])

    def add(self, told: dict[str, pa.Array], asked: pa.Table, version: int) -> pa.Table:
        """Append what was said of events, and send it.

        Args:
            told: The table's columns by name, in the order of the events; what is not among them
                is null.
            asked: The events: where each stands.
            version: Up to which ingest version all events are scored by this.

        Returns:
            The rows.
        """
        place = {"_event_version": asked.column("version"), "_event_row": asked.column("row")}
        cells = told | place
        columns = [
            cells[field.name].cast(field.type) if field.name in cells
            else pa.nulls(len(asked), field.type)
            for field in self.schema
        ]  # fmt: skip
        made = pa.Table.from_arrays(columns, schema=self.schema)
        self._append(made, version)
        reached("streaming.scored")
        if self._topic is not None:
            self._topic.send(made, version)
            notes.write(self._note, str(version))
        return made

    def _append(self, made: pa.Table, version: int) -> None:
        stream_batches.append_arrow(
            self._project.spark,
            made,
            self._columns,
            self._path,
            writer=f"twinlake/scorer/{self._model.name}",
            number=version,
            metadata={predictions.THROUGH: version},
            scratch=self._project.places.new_scratch(),
        )
        self.version = version

    def _send_written(self) -> None:
        """Send what was appended since the last was sent; what was there before is history."""
        if not self._note.exists():
            notes.write(self._note, str(self.version))
        since = int(self._note.read_text())
        if self._topic is None or since >= self.version:
            return
        written = predictions.written_after(self._project.spark, self._path, since)
        for part, rows in enumerate(written):
            self._topic.send(rows, self.version, part)
        notes.write(self._note, str(self.version))


def filled(said: Said, rest: Said, where: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Said:
    """Put together what was said of two parts of some events.

    Args:
        said: Of those where ``where`` is true.
        rest: Of the others.
        where: One cell an event.
    """
    order = np.empty(len(where), np.int64)
    order[where] = np.arange(np.count_nonzero(where))
    order[~where] = np.count_nonzero(where) + np.arange(np.count_nonzero(~where))
    both = {}
    for name in Said.__dataclass_fields__:
        parts = [getattr(said, name), getattr(rest, name)]
        both[name] = pa.concat_arrays(parts).take(pa.array(order))
    return Said(**both)
