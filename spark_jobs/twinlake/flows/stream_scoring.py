"""Score events inside the stream: each with windows that contain it, in the batch that lands it.

The vector of an event is the view as of the event itself, with all events up to the batch that
brought it: what a training set would hold for a spine row at that moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.definitions.resolution import all_columns, needed_columns, view_features
from twinlake.definitions.services import Model
from twinlake.definitions.sources import Source
from twinlake.definitions.types import Field
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError
from twinlake.flows import on_demand
from twinlake.flows.predictions import PredictionTable, Said, filled
from twinlake.flows.project import Project
from twinlake.flows.remote_models import RemoteModel
from twinlake.flows.stream_models import Champion
from twinlake.flows.stream_publishing import NewEvents
from twinlake.inference.endpoint import Endpoint
from twinlake.kernel.events import Queries
from twinlake.kernel.on_demand import Computation, compute
from twinlake.kernel.views import ViewShape
from twinlake.lake import arrays, stream_memory
from twinlake.lake.feature_rows import PREFIX
from twinlake.lake.recent import RecentEvents, distinct_keys
from twinlake.lake.vectors import vectors

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

    def __add__(self, other: Scored) -> Scored:
        return Scored(
            self.predictions + other.predictions,
            self.positive + other.positive,
            self.unscored + other.unscored,
        )


@dataclass(frozen=True, slots=True)
class Scoring:
    """How a stream has events scored.

    Attributes:
        topic: Also send predictions there.
        endpoint: Where the model answers; None: its champion answers in this process.
        tasks: How many tasks of Spark ask an endpoint.
    """

    topic: str | None = None
    endpoint: Endpoint | None = None
    tasks: int = 1


def is_asked_by_event(model: Model) -> bool:
    """Tell whether who answers looks features up himself, being told the event alone.

    So it is where the model names a source of events, and takes features of another one.
    """
    if model.source is None:
        return False
    return any(view.source.name != model.source.name for view, _ in model.service.needed())


def scored_source(model: Model) -> Source:
    """Give the source whose events a model can score.

    That is the one that it names, or the one that all its features come from.

    Raises:
        InputError: Its features come from several or from another one, or the source lacks a column
            that the model takes.
    """
    sources = {view.source.name: view.source for view, _ in model.service.needed()}
    if model.source is not None:
        sources = {model.source.name: model.source}
    if len(sources) != 1:
        found = f"features of {len(sources)} sources: {', '.join(sources)}" if sources else "none"
        raise InputError(
            f"model {model.name} takes {found}",
            hint="a stream scores events of the one source that all features come from; "
            "a model without features of views names it: Model(source=...)",
        )
    for view, _ in () if is_asked_by_event(model) else model.service.needed():
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
    """Name the columns of an event that a model takes beside features.

    Where features are looked up elsewhere, the keys to find them by are among them.
    """
    keys = []
    if is_asked_by_event(model):
        keys = [key for view, _ in model.service.needed() for key in view.entity.join_keys]
    names = [*keys, *model.service.request_fields(), *model.spine_features]
    return list(dict.fromkeys(names))


class StreamScorer:
    """Scores the events of a source with a model.

    Args:
        project: The project.
        model: The model.
        since_version: Where no prediction was made yet, events after this ingest version count.
        scoring: Who is asked, and where else predictions go.

    Raises:
        InputError: The model takes features that this stream does not have, and nobody else is to
            look them up.
    """

    def __init__(
        self, project: Project, model: Model, since_version: int, scoring: Scoring
    ) -> None:
        self.project = project
        self.model = model
        self._source = scored_source(model)
        self._views: list[tuple[FeatureView, ViewShape]] = []
        self._functions: Sequence[Computation] = ()
        if not is_asked_by_event(model):
            needed = model.service.needed()
            self._views = [(view, ViewShape.of(view, names)) for view, names in needed]
            self._functions = on_demand.computations(project, model.service)
        elif scoring.endpoint is None:
            raise InputError(
                f"model {model.name} takes features of other sources than {self._source.name}, "
                "whose events it scores",
                hint="name an endpoint that looks them up, such as that of `twinlake serve`: "
                "--endpoint http://127.0.0.1:8080/v1/predict/MODEL",
            )
        self._answering = self._answerer(scoring)
        self._own = list(dict.fromkeys([*self._keys(), *held_columns(model)]))
        keys = self._keys() or list(self._source.event_id_columns)
        self._table = PredictionTable(
            project, model, self._columns(), keys, scoring.topic, since_version
        )

    def _answerer(self, scoring: Scoring) -> Champion | RemoteModel:
        if scoring.endpoint is None:
            return Champion(self.project, self.model)
        names = event_columns(self.model)
        if not is_asked_by_event(self.model):
            names = [*self.model.service.feature_names(), *self.model.spine_features]
        return RemoteModel(self.project, self.model, scoring.endpoint, names, scoring.tasks)

    def _keys(self) -> list[str]:
        return list(dict.fromkeys(k for view, _ in self._views for k in view.entity.join_keys))

    def _columns(self) -> list[Field]:
        types = all_columns(self._source)
        fields = [Field(name, types[name]) for name in self._own]
        fields.append(Field("event_timestamp", "timestamp"))
        for view, shape in self._views:
            names = {feature.name for feature in shape.features}
            fields += [Field(f.name, f.type) for f in view_features(view) if f.name in names]
        for function in self._functions:
            fields += [Field(name, kind) for name, kind in function.outputs.items()]
        return fields

    def catch_up(self, recent: RecentEvents, views: Sequence[FeatureView]) -> Scored:
        """Score what was landed but not scored when the last stream ended.

        Args:
            recent: The events that are held.
            views: All views of the source.
        """
        path, extra = self.project.places.events(self._source.name), held_columns(self.model)
        done = Scored()
        landed = stream_memory.landed_after(
            self.project.spark, path, self._source, views, self._table.version, extra
        )
        for events in landed:
            newest = pc.max(events.column("version")).as_py()
            done += self.take(NewEvents(newest, 0, events.combine_chunks()), recent)
        return done

    def take(self, new: NewEvents, recent: RecentEvents) -> Scored:
        """Score a batch that ``recent`` holds already."""
        asked = new.events
        if new.version <= self._table.version or not asked.num_rows:
            return Scored()
        self._answering.look()
        inputs, said = self._judged(asked, recent)
        table = self._table.add(self._told(asked, inputs, said), asked, new.version)
        made = len(table) - table.column("prediction").null_count
        positive = pc.sum(table.column("is_positive")).as_py() or 0
        return Scored(made, positive, len(table) - made)

    def _in_time(
        self, asked: pa.Table, recent: RecentEvents
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Tell of which events all that their windows hold is held."""
        if not recent.is_cut or not self._views:
            return np.ones(asked.num_rows, np.bool_)
        reach_us = max(shape.reach_us for _, shape in self._views)
        return arrays.integers(asked, "event_us") - reach_us >= recent.since_us

    def _judged(self, asked: pa.Table, recent: RecentEvents) -> tuple[dict[str, pa.Array], Said]:
        """Give what the model is given of events, and what it says of them."""
        in_time = self._in_time(asked, recent)
        if in_time.all():
            inputs = self._inputs(asked, recent)
            return inputs, self._answering.say(inputs)
        late = Said.nothing(int(np.count_nonzero(~in_time)), TOO_LATE)
        if not in_time.any():
            return {}, late
        inputs, said = self._judged(asked.filter(pa.array(in_time)).combine_chunks(), recent)
        place = pa.array(np.where(in_time, np.cumsum(in_time) - 1, 0), mask=~in_time)
        spread = {name: column.take(place) for name, column in inputs.items()}
        return spread, filled(said, late, in_time)

    def _inputs(self, asked: pa.Table, recent: RecentEvents) -> dict[str, pa.Array]:
        """Give features of the events, and what the model takes of themselves, by name."""
        found: dict[str, pa.Array] = {}
        for view, shape in self._views:
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

    def _told(
        self, asked: pa.Table, inputs: dict[str, pa.Array], said: Said
    ) -> dict[str, pa.Array]:
        """Give what the table says of events: themselves whatever became of them."""
        own = {}
        for name in self._own:
            held = PREFIX + name
            own[name] = arrays.chunk(asked, held if held in asked.column_names else name)
        happened = {"event_timestamp": arrays.instants(arrays.integers(asked, "event_us"))}
        return inputs | own | happened | said.of(self.model)


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


def held_columns(model: Model) -> list[str]:
    """Name what a model's events are held with beside what views read.

    That is what the model takes of them, what identifies them, and the label, where they bring it.
    """
    source = scored_source(model)
    label = [model.label] if model.label in all_columns(source) else []
    return list(dict.fromkeys([*source.event_id_columns, *event_columns(model), *label]))
