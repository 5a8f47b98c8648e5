"""Score events inside the stream: each with windows that contain it, in the batch that lands it.

The vector of an event is the view as of the event itself, with all events up to the batch that
brought it: what a training set would hold for a spine row at that moment. Predictions go to a Delta
table, one commit a batch; what it holds wins when a batch is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.crash_points import reached
from twinlake.definitions.resolution import all_columns, needed_columns, view_features
from twinlake.definitions.services import Model
from twinlake.definitions.sources import Source
from twinlake.definitions.types import Field
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError
from twinlake.flows import on_demand
from twinlake.flows.modelling import tracking_store
from twinlake.flows.project import Project
from twinlake.flows.stream_outputs import TopicOutput
from twinlake.flows.stream_publishing import NewEvents
from twinlake.kernel.events import Queries
from twinlake.kernel.on_demand import compute
from twinlake.kernel.views import ViewShape
from twinlake.lake import arrays, stream_batches, tables
from twinlake.lake.arrow_types import arrow_type
from twinlake.lake.feature_rows import PREFIX
from twinlake.lake.recent import RecentEvents, distinct_keys
from twinlake.lake.vectors import vectors
from twinlake.models.registered import load_champion

# Why an event was not scored.
TOO_LATE = "windows reach further back than the stream holds"


@dataclass(frozen=True, slots=True)
class Scored:
    """What a batch came to.

    Attributes:
        predictions: Rows with a prediction.
        positive: Those above the model's threshold.
        unscored: Rows without one.
    """

    predictions: int = 0
    positive: int = 0
    unscored: int = 0


def scored_source(model: Model) -> Source:
    """Give the source whose events a model can score: the one that all its features come from.

    Raises:
        InputError: They come from several, or the source lacks a column that the model takes.
    """
    sources = {view.source.name: view.source for view, _ in model.service.needed()}
    if len(sources) != 1:
        raise InputError(
            f"model {model.name} takes features of {len(sources)} sources: {', '.join(sources)}",
            hint="a stream scores events of the one source that all features come from",
        )
    for view, _ in model.service.needed():
        if view is not view.stored:
            raise InputError(
                f"model {model.name} takes view {view.stored.name} joined as {view.name}",
                hint="a stream scores events by the keys that their source has",
            )
    (source,) = sources.values()
    there = all_columns(source)
    for name in event_columns(model):
        if name not in there:
            raise InputError(
                f"model {model.name} takes {name}, which source {source.name} does not have",
                hint="what is no feature must be a column of the event",
            )
    return source


def event_columns(model: Model) -> list[str]:
    """Name the columns of an event that a model takes beside features."""
    return list(dict.fromkeys([*model.service.request_fields(), *model.spine_features]))


class StreamScorer:
    """Scores the events of a source with a model's newest champion.

    Args:
        project: The project.
        model: The model.
        since_version: Where no prediction was made yet, events after this ingest version count.
        topic: Also send predictions there.
    """

    def __init__(
        self, project: Project, model: Model, since_version: int, topic: str | None
    ) -> None:
        self.project = project
        self.model = model
        self._source = scored_source(model)
        self._views = [(view, ViewShape.of(view, names)) for view, names in model.service.needed()]
        self._functions = on_demand.computations(project, model.service)
        self._champion = load_champion(tracking_store(project, model.name), model.name)
        self._keys = list(
            dict.fromkeys(k for view, _ in self._views for k in view.entity.join_keys)
        )
        self._columns = self._fields()
        self._path = project.places.predictions(model.name)
        self._topic = None if topic is None else TopicOutput(project, topic, self._keys)
        self._create(since_version)

    def _fields(self) -> list[Field]:
        types = all_columns(self._source)
        own = dict.fromkeys(
            [*self._keys, *self._source.event_id_columns, *event_columns(self.model)]
        )
        fields = [Field(name, types[name]) for name in own]
        fields.append(Field("event_timestamp", "timestamp"))
        for view, shape in self._views:
            names = {feature.name for feature in shape.features}
            fields += [Field(f.name, f.type) for f in view_features(view) if f.name in names]
        for function in self._functions:
            fields += [Field(name, kind) for name, kind in function.outputs.items()]
        return [
            *fields,
            Field("prediction", "double"),
            Field("is_positive", "boolean"),
            Field("unscored", "string"),
            Field("model_version", "int"),
            Field("_event_version", "bigint"),
            Field("_event_row", "bigint"),
        ]

    def _create(self, since_version: int) -> None:
        spark = self.project.spark
        if not tables.exists(self._path):
            tables.create(
                spark,
                self._path,
                self._columns,
                f"Predictions of model {self.model.name}, one per event",
                skipped_by=["event_timestamp", "_event_version"],
            )
        done = [
            commit.metadata["ingest_version"]
            for commit in tables.commits(spark, self._path, 20)
            if "ingest_version" in commit.metadata
        ]
        self._version = max(done, default=-1)
        if not done:  # from here on; what was there before is history
            self._append(pa.Table.from_pylist([], schema=self._schema()), since_version)

    def _schema(self) -> pa.Schema:
        return pa.schema([(f.name, arrow_type(f.type)) for f in self._columns])

    def catch_up(self, recent: RecentEvents) -> Scored:
        """Score what was landed but not scored when the last stream ended."""
        left = recent.after_version(self._version)
        if left is None or not left.num_rows:
            return Scored()
        newest = pc.max(left.column("version")).as_py()
        return self.take(NewEvents(newest, 0, left), recent)

    def take(self, new: NewEvents, recent: RecentEvents) -> Scored:
        """Score a batch that ``recent`` holds already."""
        if new.version <= self._version or not new.events.num_rows:
            return Scored()
        asked = new.events
        inputs = self._inputs(asked, recent)
        if inputs is None:
            table = self._without_prediction(asked)
        else:
            table = self._predicted(asked, inputs)
        self._append(table, new.version)
        reached("streaming.scored")
        if self._topic is not None:
            self._topic.send(table, new.version)
        made = len(table) - table.column("prediction").null_count
        positive = pc.sum(table.column("is_positive")).as_py() or 0
        return Scored(made, positive, len(table) - made)

    def _inputs(self, asked: pa.Table, recent: RecentEvents) -> dict[str, pa.Array] | None:
        """Give features of the events by name, in their order; None where they reach too far."""
        found: dict[str, pa.Array] = {}
        for view, shape in self._views:
            earliest_us = pc.min(asked.column("event_us")).as_py()
            if recent.is_cut and earliest_us - shape.reach_us < recent.since_us:
                return None
            found |= _features(view, shape, asked, recent)
        for name in event_columns(self.model):
            found[name] = arrays.chunk(asked, PREFIX + name)
        for function in self._functions:
            columns = {name: arrays.kernel_column(found[name]) for name in function.inputs}
            held = {name: column for name, column in columns.items() if column is not None}
            cells = compute(function, held, asked.num_rows)
            for (name, kind), cell in zip(function.outputs.items(), cells, strict=True):
                found[name] = arrays.arrow_column(cell.values, cell.valid, kind)
        return found

    def _predicted(self, asked: pa.Table, inputs: dict[str, pa.Array]) -> pa.Table:
        names = self._champion.features
        prediction = self._champion.predict(pa.table({name: inputs[name] for name in names}))
        threshold = self.model.threshold
        positive = pa.nulls(len(asked), pa.bool_())
        if threshold is not None:
            positive = pa.array(prediction > threshold)
        return self._table(asked, inputs, pa.array(prediction), positive, None)

    def _without_prediction(self, asked: pa.Table) -> pa.Table:
        inputs = {n: arrays.chunk(asked, PREFIX + n) for n in event_columns(self.model)}
        nothing = pa.nulls(len(asked), pa.float64()), pa.nulls(len(asked), pa.bool_())
        return self._table(asked, inputs, *nothing, TOO_LATE)

    def _table(
        self,
        asked: pa.Table,
        inputs: dict[str, pa.Array],
        prediction: pa.Array,
        positive: pa.Array,
        unscored: str | None,
    ) -> pa.Table:
        count = len(asked)
        made = {
            "event_timestamp": arrays.instants(arrays.integers(asked, "event_us")),
            "prediction": prediction,
            "is_positive": positive,
            "unscored": pa.array([unscored] * count, pa.string()),
            "model_version": pa.array(np.full(count, self._champion.version, np.int32)),
            "_event_version": asked.column("version"),
            "_event_row": asked.column("row"),
        }
        columns = []
        for name in self._schema().names:
            if name in made:
                columns.append(made[name])
            elif name in inputs:
                columns.append(inputs[name])
            elif name in asked.column_names:
                columns.append(asked.column(name))
            elif PREFIX + name in asked.column_names:
                columns.append(asked.column(PREFIX + name))
            else:
                columns.append(pa.nulls(count))
        typed = [c.cast(f.type) for c, f in zip(columns, self._schema(), strict=True)]
        return pa.Table.from_arrays(typed, schema=self._schema())

    def _append(self, table: pa.Table, version: int) -> None:
        stream_batches.append_arrow(
            self.project.spark,
            table,
            self._columns,
            self._path,
            writer=f"twinlake/scorer/{self.model.name}",
            number=version,
            metadata={"ingest_version": version, "model_version": self._champion.version},
            scratch=self.project.places.new_scratch(),
        )
        self._version = version


def _features(
    view: FeatureView, shape: ViewShape, asked: pa.Table, recent: RecentEvents
) -> dict[str, pa.Array]:
    """Give a view's features as of each event asked for, in their order."""
    keys = list(shape.keys)
    relevant = recent.of_keys(distinct_keys(asked, keys))
    if relevant is None:
        return {f.name: pa.nulls(asked.num_rows) for f in shape.features}
    codes, count = arrays.key_codes(relevant, keys)
    held = {name: PREFIX + name for name in needed_columns(view)}
    happened, rows = arrays.sorted_events(relevant, codes, count, held)
    place = _places(rows, asked)
    queries = Queries(happened.key[place], happened.event_us[place], happened.known_us[place])
    # An event without one of the view's keys is nobody's: no key, so no features.
    there = place >= 0
    queries = Queries(np.where(there, queries.key, -1), queries.as_of_us, queries.known_by_us)
    found = vectors(happened, rows, queries, shape, PREFIX)
    named = zip(shape.features, found.columns, strict=True)
    return {feature.name: column for feature, column in named}


def _places(rows: pa.Table, asked: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Find events by their sequence; -1 for one that is not there."""
    have = _sequence(rows)
    want = _sequence(asked)
    order = np.argsort(have)
    place = np.minimum(np.searchsorted(have[order], want), len(have) - 1)
    hit = have[order][place] == want
    return np.where(hit, order[place], -1).astype(np.int64)


def _sequence(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    pair = np.empty(table.num_rows, [("version", ">i8"), ("row", ">i8")])
    pair["version"] = arrays.integers(table, "version")
    pair["row"] = arrays.integers(table, "row")
    # Both are positive, so their bytes sort as they do.
    return pair.view("V16")


def extra_columns(models: Sequence[Model]) -> list[str]:
    """Name what events must be held with beside what views read."""
    names: dict[str, None] = {}
    for model in models:
        names |= dict.fromkeys(event_columns(model))
        names |= dict.fromkeys(scored_source(model).event_id_columns)
    return list(names)
