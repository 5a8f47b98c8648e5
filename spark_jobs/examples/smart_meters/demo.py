"""The main job from end to end: raw rows to a served, trained, reproducible feature."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from examples.smart_meters.spine import write_spine
from twinlake.cli.checks import verdict_document
from twinlake.cli.jobs import trained_document
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.flows import applying, checking, materializing, modelling, reading, training_sets
from twinlake.flows.project import Project, online_table, view_table
from twinlake.lake import tables

SERVICE = "energy_forecast"
MODEL = "next_day_energy"
Result = TypeVar("Result")


def run(project: Project) -> dict[str, Any]:
    """Run every stage and give the figures of the run."""
    seconds: dict[str, float] = {}

    def stage(name: str, work: Callable[[], Result]) -> Result:
        project.tell(f"== {name}")
        began = time.monotonic()
        result = work()
        seconds[name] = round(time.monotonic() - began, 2)
        return result

    stage("start", lambda: project.spark)
    before = _state(project) if project.registry.current().number else {}
    stage("apply", lambda: applying.apply(project))
    materialized = stage("materialize", lambda: materializing.materialize(project))
    spine = project.settings.state / "spine.parquet"
    source = project.definitions.sources["daily_energy"]
    daily = project.input_files(source)[0].path
    stage("spine", lambda: write_spine(Path(daily), spine))
    training_set = stage("training_set", lambda: training_sets.build(project, SERVICE, spine))
    trained = stage("train", lambda: modelling.train_model(project, MODEL, training_set))
    answer = stage("get", lambda: _read_one(project))
    views = list(project.applied().definitions.views.values())
    verdict = stage("parity", lambda: checking.check_parity(project, views, None))
    after = _state(project)
    unchanged = before == after
    if unchanged:
        project.tell("run again: the same Delta versions and the same online write timestamps")
    elif before and not materialized.changed:
        project.tell("run again: something changed that should not have")
    landings = project.landings(source.name).all()
    parity = verdict_document(verdict)
    return {
        "example": "smart_meters",
        "rows": {
            name: sum(getattr(landing, name) for landing in landings)
            for name in ("read", "accepted", "duplicate", "quarantined")
        },
        "feature_rows": {
            view.name: sum(
                p.feature_rows for p in project.publications(view.name).all(view_fingerprint(view))
            )
            for view in views
        },
        "delta_versions": after["delta_versions"],
        "online_rows": after["online_rows"],
        "online_write_us": after["online_write_us"],
        "training_rows": training_set.receipt.rows,
        "training_set": training_set.name,
        "content": training_set.receipt.content,
        "model": trained_document(trained),
        "get": answer,
        "parity": {
            name: parity[name]
            for name in (
                "keys",
                "served",
                "compared",
                "nulls",
                "mismatching",
                "checks",
                "differences",
            )
        },
        "run_again_unchanged": unchanged if before else None,
        "seconds": seconds,
    }


def _state(project: Project) -> dict[str, Any]:
    """Give what a second run must leave as it is."""
    versions, rows, written = {}, {}, {}
    definitions = project.applied().definitions
    for name in definitions.sources:
        path = project.places.events(name)
        versions[f"events/{name}"] = tables.last_commit(project.spark, path).version
    for view in definitions.views.values():
        path = project.places.view(view_table(view))
        versions[f"views/{view.name}"] = tables.last_commit(project.spark, path).version
        stamps = [row.write_us for row in project.store.scan(online_table(view))]
        rows[view.name] = len(stamps)
        written[view.name] = [min(stamps, default=None), max(stamps, default=None)]
    return {"delta_versions": versions, "online_rows": rows, "online_write_us": written}


def _read_one(project: Project) -> dict[str, Any]:
    """Read one home online, as a service would."""
    view, _ = next(project.service(SERVICE).selections())
    row = next(project.store.scan(online_table(view)))
    answer = reading.read_service(project, SERVICE, [{"household_id": row.key[0]}])[0]
    return {
        "key": answer.key,
        "as_of": str(next(iter(answer.as_of.values()))),
        "features": {name: served.value for name, served in answer.features.items()},
        "statuses": sorted({served.status for served in answer.features.values()}),
    }
