"""The main job from end to end: raw rows to a served, trained, reproducible feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from examples.smart_meters.spine import write_spine
from examples.stages import Stages, rows_by_verdict
from twinlake.cli.checks import verdict_document
from twinlake.cli.training import trained_document
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.views import FeatureView
from twinlake.flows import applying, checking, materializing, modelling, reading, training_sets
from twinlake.flows.project import Project, online_table, view_table
from twinlake.lake import tables

SOURCE = "daily_energy"
SERVICE = "energy_forecast"
MODEL = "next_day_energy"


def run(project: Project) -> dict[str, Any]:
    """Run every stage and give the figures of the run."""
    stage = Stages(project)
    stage("start", lambda: project.spark)
    before = _state(project) if project.registry.current().number else {}
    stage("apply", lambda: applying.apply(project))
    stage("materialize", lambda: materializing.materialize(project))
    spine = project.settings.state / "spine.parquet"
    files = project.input_files(project.definitions.sources[SOURCE])
    stage("spine", lambda: write_spine([Path(file.path) for file in files], spine))
    training_set = stage("training_set", lambda: training_sets.build(project, SERVICE, spine))
    trained = stage("train", lambda: modelling.train_model(project, MODEL, training_set))
    answer = stage("get", lambda: _read_one(project))
    views = list(project.applied().definitions.views.values())
    verdict = stage("parity", lambda: checking.check_parity(project, views, None))
    after = _state(project)
    figures = {
        "example": "smart_meters",
        "rows": rows_by_verdict(project, SOURCE),
        "feature_rows": {view.name: _feature_rows(project, view) for view in views},
        **after,
        "training_rows": training_set.receipt.rows,
        "training_set": training_set.name,
        "content": training_set.receipt.content,
        "model": trained_document(trained),
        "get": answer,
        "parity": verdict_document(verdict),
        "run_again_unchanged": before == after if before else None,
        "seconds": stage.seconds,
    }
    _summarize(project, figures)
    return figures


def _summarize(project: Project, figures: dict[str, Any]) -> None:
    """Tell a person what the line of figures says."""
    rows, parity = figures["rows"], figures["parity"]
    errors = figures["model"]["errors"]
    project.tell("== done")
    project.tell("rows by verdict: " + ", ".join(f"{name} {n:,}" for name, n in rows.items()))
    project.tell(
        "mean absolute error, kWh a day: "
        + ", ".join(f"{name} {found['mae']:.3f}" for name, found in errors.items())
    )
    project.tell(
        f"parity: {parity['compared']:,} of {parity['served']:,} served cells compared, "
        f"{parity['mismatching']:,} differ"
    )
    if figures["run_again_unchanged"]:
        project.tell("run again: the same Delta versions and the same online write timestamps")
    elif figures["run_again_unchanged"] is False:
        project.tell("run again: Delta versions or online write timestamps are others than before")
    env = "" if project.settings.env == "local" else f" --env {project.settings.env}"
    project.tell(
        f"next: twinlake -C {project.settings.project}{env} --state {project.settings.state} ls"
    )


def _feature_rows(project: Project, view: FeatureView) -> int:
    done = project.publications(view.name).all(view_fingerprint(view))
    return sum(publication.feature_rows for publication in done)


def _state(project: Project) -> dict[str, Any]:
    """Give what a second run must leave as it is."""
    versions, rows, written = {}, {}, {}
    definitions = project.applied().definitions
    for name in definitions.sources:
        path = project.places.events(name)
        versions[f"events/{name}"] = tables.newest_version(project.spark, path)
    for view in definitions.views.values():
        path = project.places.view(view_table(view))
        versions[f"views/{view.name}"] = tables.newest_version(project.spark, path)
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
