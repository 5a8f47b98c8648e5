"""Lineage both ways: what a model was made from, and what would break if a feature changed."""

from __future__ import annotations

from typing import Any

from twinlake.definitions.documents import Definitions
from twinlake.definitions.fingerprints import service_fingerprint
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.resolution import service_types, view_features
from twinlake.definitions.services import FeatureService
from twinlake.definitions.times import format_duration
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError
from twinlake.flows.catalogue import receipts
from twinlake.flows.project import Project
from twinlake.planning.lineage import (
    Built,
    BuiltSet,
    Dependents,
    TrainedVersion,
    dependents,
    dependents_of_service,
)
from twinlake.registry.trained import TrainedModels


def built(project: Project) -> Built:
    """Give everything that was built and trained here."""
    return Built(
        [BuiltSet(r.training_set, r.service, r.definition) for r in receipts(project)],
        [
            TrainedVersion(one.model, one.version, one.training_set)
            for one in TrainedModels(project.settings.state).all()
        ],
    )


def lineage(project: Project, name: str) -> dict[str, Any]:
    """Say what something was made from and what depends on it.

    Args:
        project: The project.
        name: A model, service, view or source, or a feature: ``FEATURE`` or ``VIEW.FEATURE``.

    Raises:
        InputError: Nothing carries the name.
    """
    definitions, made = project.applied().definitions, built(project)
    found: dict[str, Any] = {}
    if name in definitions.models:
        found["model"] = _model(project, definitions, name)
    if name in definitions.services:
        service = definitions.services[name]
        told = dependents_of_service(definitions, made, name)
        found["service"] = {"features": _origins(service), "breaks": _document(told)}
    if name in definitions.sources:
        views = [view for view in definitions.views.values() if view.source.name == name]
        found["source"] = {
            "views": [v.name for v in views],
            "breaks": {v.name: _document(dependents(definitions, made, v.name)) for v in views},
        }
    for view in _views(definitions):
        names = _names(view)
        if view.name == name:
            told = dependents(definitions, made, name)
            found["view"] = {"features": names, "breaks": _document(told)}
        for feature in names:
            if name in {feature, f"{view.name}.{feature}"}:
                told = dependents(definitions, made, view.name, {feature})
                found[f"feature {view.name}.{feature}"] = {
                    **_origin(view, feature),
                    "breaks": _document(told),
                }
    if not found:
        raise InputError.unknown(
            "model, service, view, source or feature", name, _known(definitions)
        )
    return found


def _views(definitions: Definitions) -> list[FeatureView | OnDemandView]:
    return [*definitions.views.values(), *definitions.on_demand.values()]


def _known(definitions: Definitions) -> list[str]:
    views = _views(definitions)
    known = [*definitions.models, *definitions.services, *definitions.sources]
    return [*known, *(v.name for v in views), *(f"{v.name}.{f}" for v in views for f in _names(v))]


def _names(view: FeatureView | OnDemandView) -> list[str]:
    if isinstance(view, OnDemandView):
        return list(view.outputs)
    return [name for name, *_ in view.declared()]


def _model(project: Project, definitions: Definitions, name: str) -> dict[str, Any]:
    model = definitions.models[name]
    known = {receipt.training_set: receipt for receipt in receipts(project)}
    current = service_fingerprint(model.service)
    versions = []
    for one in TrainedModels(project.settings.state).all(name):
        receipt = known.get(one.training_set)
        versions.append(
            {
                "version": one.version,
                "algorithm": one.algorithm,
                "training_set": one.training_set,
                "definition": "gone"
                if receipt is None
                else ("as applied" if receipt.definition == current else "changed since"),
                "tables": []
                if receipt is None
                else [f"{t.name} version {t.version} up to {t.sequence}" for t in receipt.tables],
                "run_id": one.run_id,
                "sha256": one.sha256,
            }
        )
    return {
        "service": model.service.name,
        "label": model.label,
        "spine_features": list(model.spine_features),
        "features": _origins(model.service),
        "versions": versions,
    }


def _origins(service: FeatureService) -> list[dict[str, Any]]:
    """Tell of each feature of a service where it comes from."""
    kinds = service_types(service)
    return [
        {"feature": name, "type": kinds[name], **_origin(view, name)}
        for view, names in service.parts()
        for name in names
    ]


def _origin(view: FeatureView | OnDemandView, feature: str) -> dict[str, Any]:
    """Tell where one feature comes from."""
    if isinstance(view, OnDemandView):
        read = [f"{each.name}.{name}" for each, names in view.reads() for name in names]
        asked = [f"request.{name}" for name in view.request]
        return {"view": view.name, "from": [*read, *asked], "by": view.function.name}
    [found] = [one for one in view_features(view) if one.name == feature]
    by = found.function or "newest"
    if found.window_us is not None:
        by += f" of {format_duration(found.window_us)}"
    column = found.column or "rows"
    return {"view": view.stored.name, "from": [f"{view.source.name}.{column}"], "by": by}


def _document(told: Dependents) -> dict[str, list[str]]:
    return {
        "on_demand": list(told.on_demand),
        "services": list(told.services),
        "models": list(told.models),
        "training_sets": list(told.training_sets),
        "versions": [f"{one.model} version {one.version}" for one in told.versions],
    }
