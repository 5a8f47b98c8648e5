"""Definitions as JSON documents and back, for the registry.

Objects that others refer to are stored once and referred to by name, so a document reads like the
file that it came from and two versions can be compared line by line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinlake.definitions.clocks import Clock
from twinlake.definitions.entities import Entity
from twinlake.definitions.expectations import Expectation
from twinlake.definitions.functions import Function
from twinlake.definitions.on_demand import OnDemandView, Request
from twinlake.definitions.quality_documents import quality_document, read_quality
from twinlake.definitions.services import FeatureService, Model
from twinlake.definitions.sources import DeltaTable, Derived, Files, Kafka, Source
from twinlake.definitions.views import Aggregate, AliasedView, Column, FeatureView, Selection


@dataclass(frozen=True)
class Definitions:
    """All definitions of a project, by name."""

    entities: Mapping[str, Entity] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    views: Mapping[str, FeatureView] = field(default_factory=dict)
    services: Mapping[str, FeatureService] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    on_demand: Mapping[str, OnDemandView] = field(default_factory=dict)


def to_document(definitions: Definitions) -> dict[str, Any]:
    """Write definitions as a JSON document."""
    return {
        "entities": [_entity_document(entity) for entity in definitions.entities.values()],
        "sources": [_source_document(source) for source in definitions.sources.values()],
        "views": [_view_document(view) for view in definitions.views.values()],
        "on_demand": [_on_demand_document(view) for view in definitions.on_demand.values()],
        "services": [_service_document(service) for service in definitions.services.values()],
        "models": [_model_document(model) for model in definitions.models.values()],
        "clock": definitions.clock.reading,
    }


def from_document(document: Mapping[str, Any]) -> Definitions:
    """Read definitions from a document that ``to_document`` wrote."""
    entities = {item["name"]: Entity(**item) for item in document["entities"]}
    sources = {item["name"]: _read_source(item) for item in document["sources"]}
    views = {item["name"]: _read_view(item, entities, sources) for item in document["views"]}
    on_demand = {
        item["name"]: _read_on_demand(item, views) for item in document.get("on_demand", ())
    }
    services = {
        item["name"]: _read_service(item, views, on_demand) for item in document["services"]
    }
    models = {
        item["name"]: Model(
            **{
                **item,
                "service": services[item["service"]],
                "decisions": tuple(item.get("decisions", ())),
                "classes": tuple(item.get("classes", ())),
                "source": item.get("source") and sources[item["source"]],
                "quality": item.get("quality") and read_quality(item["quality"], sources),
            }
        )
        for item in document["models"]
    }
    clock = Clock(document["clock"])
    return Definitions(entities, sources, views, services, models, clock, on_demand)


def _entity_document(entity: Entity) -> dict[str, Any]:
    return {
        "name": entity.name,
        "join_keys": dict(entity.join_keys),
        "description": entity.description,
    }


def _source_document(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "schema": source.schema,
        "event_timestamp": source.event_timestamp,
        "event_id": list(source.event_id_columns) or None,
        "known": source.known,
        "batch": source.batch and _files_document(source.batch),
        "stream": source.stream and _stream_document(source.stream),
        "with_columns": {
            name: {"type": column.type, "sql": column.sql}
            for name, column in source.with_columns.items()
        },
        "where": source.where,
        "expectations": [
            {"type": expectation.type, "arguments": expectation.arguments}
            for expectation in source.expectations
        ],
        "max_ahead": source.max_ahead,
        "description": source.description,
    }


def _stream_document(stream: Kafka | DeltaTable) -> dict[str, Any]:
    if isinstance(stream, DeltaTable):
        return {"path": stream.path}
    document: dict[str, Any] = {"topic": stream.topic, "times_in": stream.times_in}
    document |= {"max_record_bytes": stream.max_record_bytes}
    if stream.avro is not None:  # documents of older registries compare as equal
        document |= {"avro": stream.avro, "skip_bytes": stream.skip_bytes}
    return document


def _read_stream(item: Mapping[str, Any]) -> Kafka | DeltaTable:
    return Kafka(**item) if "topic" in item else DeltaTable(**item)


def _files_document(files: Files) -> dict[str, Any]:
    document: dict[str, Any] = {"path": files.path, "format": files.format}
    # Left out where there is none, so that documents of older registries compare as equal.
    if files.also_named:
        document["also_named"] = dict(files.also_named)
    if files.may_lack:
        document["may_lack"] = list(files.may_lack)
    return document


def _read_source(item: Mapping[str, Any]) -> Source:
    return Source(
        **{
            **item,
            "batch": item["batch"] and Files(**item["batch"]),
            "stream": item["stream"] and _read_stream(item["stream"]),
            "with_columns": {
                name: Derived(**column) for name, column in item["with_columns"].items()
            },
            "expectations": tuple(
                Expectation(entry["type"], **entry["arguments"]) for entry in item["expectations"]
            ),
        }
    )


def _view_document(view: FeatureView) -> dict[str, Any]:
    return {
        "name": view.name,
        "entity": view.entity.name,
        "source": view.source.name,
        "features": [_feature_document(item) for item in view.features],
        "ttl": view.ttl,
        "hop": view.hop,
        "max_events_per_key": view.max_events_per_key,
        "publish": view.publish,
        "topic": view.topic,
        "description": view.description,
        "owner": view.owner,
    }


def _feature_document(item: Column | Aggregate) -> dict[str, Any]:
    if isinstance(item, Column):
        return {"column": item.column, "name": item.name}
    return {
        "function": item.function,
        "column": item.column,
        "windows": dict(item.windows or {}),
    }


def _read_view(
    item: Mapping[str, Any], entities: Mapping[str, Entity], sources: Mapping[str, Source]
) -> FeatureView:
    features: list[Column | Aggregate] = [
        Aggregate(**entry) if "function" in entry else Column(**entry) for entry in item["features"]
    ]
    return FeatureView(
        **{
            **item,
            "entity": entities[item["entity"]],
            "source": sources[item["source"]],
            "features": tuple(features),
        }
    )


def _on_demand_document(view: OnDemandView) -> dict[str, Any]:
    inputs = [_selection_document(read, names) for read, names in view.reads()]
    return {
        "name": view.name,
        "inputs": inputs,
        "request": view.request,
        "outputs": dict(view.outputs),
        "function": {"name": view.function.name, "code": dict(view.function.code)},
        "nulls": view.nulls,
        "description": view.description,
        "owner": view.owner,
    }


def _read_on_demand(item: Mapping[str, Any], views: Mapping[str, FeatureView]) -> OnDemandView:
    inputs: list[Selection | Request] = [_read_selection(entry, views) for entry in item["inputs"]]
    if item["request"]:
        inputs.append(Request(**item["request"]))
    told = {name: value for name, value in item.items() if name != "request"}
    return OnDemandView(
        **told | {"inputs": tuple(inputs), "function": Function(**item["function"])}
    )


def _selection_document(view: FeatureView | OnDemandView, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(view, OnDemandView):
        return {"on_demand": view.name, "names": list(names)}
    document: dict[str, Any] = {"view": view.stored.name, "names": list(names)}
    if isinstance(view, AliasedView):
        document |= {"joined_as": view.name, "keys": dict(view.keys)}
    return document


def _read_selection(entry: Mapping[str, Any], views: Mapping[str, FeatureView]) -> Selection:
    view = views[entry["view"]]
    if "joined_as" in entry:
        view = view.joined_as(entry["joined_as"], **entry["keys"])
    return view.select(*entry["names"])


def _service_document(service: FeatureService) -> dict[str, Any]:
    return {
        "name": service.name,
        "features": [_selection_document(view, names) for view, names in service.parts()],
        "description": service.description,
    }


def _read_service(
    item: Mapping[str, Any],
    views: Mapping[str, FeatureView],
    on_demand: Mapping[str, OnDemandView],
) -> FeatureService:
    selections = [
        on_demand[entry["on_demand"]].select(*entry["names"])
        if "on_demand" in entry
        else _read_selection(entry, views)
        for entry in item["features"]
    ]
    return FeatureService(item["name"], tuple(selections), item["description"])


def _model_document(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "service": model.service.name,
        "label": model.label,
        "spine_features": list(model.spine_features),
        "baselines": dict(model.baselines),
        "parameters": dict(model.parameters),
        "candidates": {name: dict(changed) for name, changed in model.candidates.items()},
        "rounds": model.rounds,
        "test_fraction": model.test_fraction,
        "trained_from": model.trained_from,
        "tested_from": model.tested_from,
        "threshold": model.threshold,
        "decisions": list(model.decisions),
        "classes": list(model.classes),
        "predicts": model.predicts,
        "folds": model.folds,
        "source": model.source and model.source.name,
        "quality": model.quality and quality_document(model.quality),
        "description": model.description,
    }
