"""What is applied and what came of it, for people and programs that look around."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twinlake.definitions.documents import to_document
from twinlake.definitions.fingerprints import (
    on_demand_fingerprint,
    service_fingerprint,
    source_fingerprint,
    view_fingerprint,
)
from twinlake.definitions.resolution import on_demand_inputs, on_demand_outputs, view_features
from twinlake.definitions.services import FeatureService
from twinlake.definitions.times import format_duration, format_instant
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError
from twinlake.flows.project import Project, view_table
from twinlake.models.receipts import Receipt
from twinlake.registry.erasures import erasure
from twinlake.registry.identity import state_id
from twinlake.registry.state import Landing


def listing(project: Project) -> dict[str, Any]:
    """List everything that is applied, one line each."""
    applied = project.applied()
    definitions = applied.definitions
    return {
        "sources": [_source_line(project, name) for name in definitions.sources],
        "entities": [
            {"name": entity.name, "join_keys": list(entity.join_keys)}
            for entity in definitions.entities.values()
        ],
        "views": [_view_line(project, view) for view in definitions.views.values()],
        "on_demand": [
            {
                "name": view.name,
                "function": view.function.name,
                "inputs": list(on_demand_inputs(view)),
                "features": list(view.outputs),
            }
            for view in definitions.on_demand.values()
        ],
        "services": [
            {"name": service.name, "features": service.feature_names()}
            for service in definitions.services.values()
        ],
        "models": [
            {
                "name": model.name,
                "service": model.service.name,
                "label": model.label,
                "candidates": list(model.candidates),
            }
            for model in definitions.models.values()
        ],
        "training_sets": [
            {"name": r.training_set, "service": r.service, "rows": r.rows, "content": r.content}
            for r in receipts(project)
        ],
        "registry_version": applied.number,
        "clock": definitions.clock.reading,
    }


def details(project: Project, name: str) -> dict[str, Any]:
    """Show whatever carries a name, whole.

    Raises:
        InputError: Nothing carries it.
    """
    definitions = project.applied().definitions
    found: dict[str, Any] = {}
    for kind, items in to_document(definitions).items():
        found |= {f"{kind}/{item['name']}": item for item in items if not isinstance(item, str)}
    matches = {kind: item for kind, item in found.items() if kind.split("/")[1] == name}
    for receipt in receipts(project):
        if receipt.training_set == name:
            matches[f"training_sets/{name}"] = json.loads(receipt.to_json())
    if not matches:
        known = {kind.split("/")[1] for kind in found}
        known |= {receipt.training_set for receipt in receipts(project)}
        raise InputError.unknown("definition or training set", name, known)
    if name in definitions.sources:
        matches["landings"] = [_landing_line(landing) for landing in project.landings(name).all()]
        matches["fingerprint"] = source_fingerprint(definitions.sources[name])
        matches["table"] = str(project.places.events(name))
    if name in definitions.views:
        matches |= _view_details(project, definitions.views[name])
    if name in definitions.on_demand:
        view = definitions.on_demand[name]
        matches["fingerprint"] = on_demand_fingerprint(view)
        matches["typed_inputs"] = on_demand_inputs(view)
        matches["typed_features"] = on_demand_outputs(view)
    if name in definitions.services:
        matches["fingerprint"] = service_fingerprint(definitions.services[name])
    return matches


def receipts(project: Project) -> list[Receipt]:
    """Give the receipts of all training sets, oldest first; those of others are left out."""
    folder = project.places.receipts
    found = []
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            found.append(read_receipt(project, file))
        except ForeignReceipt as error:
            project.tell(f"left out: {error.message}")
    return sorted(found, key=lambda receipt: receipt.created_at)


class ForeignReceipt(StateError):
    """A receipt that lies where it was not written."""


def read_receipt(project: Project, file: Path) -> Receipt:
    """Read a receipt of this project.

    Raises:
        ForeignReceipt: It is of another training set than its name says, or of another project.
        StateError: It is no receipt.
    """
    try:
        receipt = Receipt.from_json(file.read_text(encoding="utf-8"))
    except StateError as error:
        raise StateError(
            f"{file}: {error.message}", hint="restore the file from a backup of the state"
        ) from error
    if receipt.training_set != file.stem:
        raise ForeignReceipt(
            f"{file} is the receipt of training set {receipt.training_set}",
            hint=f"give it its own name, {receipt.training_set}.json, or take it away",
        )
    own = state_id(project.settings.state)
    if receipt.state is not None and receipt.state != own:
        raise ForeignReceipt(
            f"the receipt of training set {receipt.training_set} is of another project: it was "
            f"written in state {receipt.state}, and {project.settings.state} is state {own}",
            hint=f"take {file} away, and ask in the project that built the training set",
        )
    return receipt


def require_receipt(project: Project, name: str) -> Receipt:
    """Give the receipt of a training set.

    Raises:
        InputError: There is none.
        StateError: It is of another project.
    """
    file = project.places.receipts / f"{name}.json"
    if not file.is_file():
        known = [receipt.training_set for receipt in receipts(project)]
        raise InputError.unknown("training set", name, known)
    return read_receipt(project, file)


def erasure_text(project: Project, name: str) -> str | None:
    """Say what was erased from a training set since it was built; None for nothing."""
    found = erasure(project.places.receipts, name)
    if found is None:
        return None
    told = f"{found.rows:,} rows of forgotten keys were erased from it"
    if found.of_inputs:
        told += ", and events that features of others were aggregated from"
    return f"{told}, the last time at {format_instant(found.last_us)}"


def find_definition(project: Project, receipt: Receipt) -> tuple[FeatureService, int] | None:
    """Find the service of a receipt among all that was ever applied, and the number of that."""
    for applied in project.registry.history():
        services = applied.definitions.services
        # A service may have been renamed since; what it was built under comes first.
        for name in sorted(services, key=lambda name: name != receipt.service):
            if service_fingerprint(services[name]) == receipt.definition:
                return services[name], applied.number
    return None


def _landing_line(landing: Landing) -> dict[str, Any]:
    return {
        "version": landing.version,
        "batch": landing.batch,
        "files": len(landing.files),
        "through": format_instant(landing.through_us),
        "read": landing.read,
        "accepted": landing.accepted,
        "duplicate": landing.duplicate,
        "quarantined": landing.quarantined,
        "erased": landing.erased,
        "newest event": format_instant(landing.newest_event_us),
        "landed": format_instant(landing.landed_us),
    }


def _source_line(project: Project, name: str) -> dict[str, Any]:
    source = project.applied().definitions.sources[name]
    landings = project.landings(name).all()
    return {
        "name": name,
        "event_timestamp": source.event_timestamp,
        "known": source.known,
        "read": sum(landing.read for landing in landings),
        "accepted": sum(landing.accepted for landing in landings),
        "duplicate": sum(landing.duplicate for landing in landings),
        "quarantined": sum(landing.quarantined for landing in landings),
        "erased": sum(landing.erased for landing in landings),
        "newest": format_instant(project.landings(name).newest_event_us()),
    }


def _view_line(project: Project, view: FeatureView) -> dict[str, Any]:
    done = project.publications(view.name).all(view_fingerprint(view))
    return {
        "name": view.name,
        "entity": view.entity.name,
        "source": view.source.name,
        "features": len(view_features(view)),
        "table": view_table(view),
        "feature_rows": sum(publication.feature_rows for publication in done),
        "online_rows": done[0].online_rows if len(done) == 1 else None,
        "events_version": done[-1].events_version if done else None,
    }


def _view_details(project: Project, view: FeatureView) -> dict[str, Any]:
    done = project.publications(view.name).all(view_fingerprint(view))
    return {
        "fingerprint": view_fingerprint(view),
        "tables": {
            "offline": str(project.places.view(view_table(view))),
            "online": view_table(view),
        },
        "typed_features": [
            {
                "name": feature.name,
                "type": feature.type,
                "function": feature.function or "column",
                "column": feature.column,
                "window": format_duration(feature.window_us) if feature.window_us else None,
            }
            for feature in view_features(view)
        ],
        "publications": [
            {
                "number": publication.number,
                "events_version": publication.events_version,
                "feature_rows": publication.feature_rows,
                "table_version": publication.table_version,
                "online_rows": publication.online_rows,
                "written": format_instant(publication.write_us),
            }
            for publication in done
        ],
    }
