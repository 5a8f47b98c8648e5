"""Validate whole batches by Great Expectations: before they land, and whenever asked for."""

from __future__ import annotations

from twinlake.definitions.sources import Source
from twinlake.definitions.times import MAX_US, format_instant
from twinlake.errors import CheckFailed, InputError, StateError
from twinlake.flows.project import Project
from twinlake.lake import events, landing, validation
from twinlake.lake.validation import Validation

_SHOWN = 10


def validate_batch(project: Project, source: Source, batch: landing.Batch) -> Validation:
    """Validate what is about to land.

    Raises:
        CheckFailed: An expectation on batches does not hold; nothing was written but data docs.
    """
    project.tell(f"validating {source.name}: {len(source.expectations)} expectations")
    judged = landing.judge(project.spark, source, batch)
    folder = project.places.data_docs(source.name, batch.name)
    done = validation.validate(judged, landing.PASSES, source, folder, project.now_us())
    if done.stopping:
        listed = "\n".join(f"  {f.expectation}: {f.observed}" for f in done.stopping[:_SHOWN])
        count = len(source.batch_expectations)
        raise CheckFailed(
            f"source {source.name}: the batch breaks {len(done.stopping)} of {count} expectations "
            f"on batches; nothing of it was landed\n{listed}",
            hint=f"look at {done.data_docs}; mend the files, or change the expectation and run "
            "`twinlake apply`",
        )
    return done


def validate_source(project: Project, name: str, landed: int | None = None) -> Validation:
    """Validate all files of a source as they are now, or one batch as it was landed.

    Args:
        project: The project.
        name: The source.
        landed: The batch's ingest version; 0 for the newest one. The files without it.

    Raises:
        InputError: There is no such source or batch, or the source declares no expectation.
    """
    sources = project.applied().definitions.sources
    if name not in sources:
        raise InputError.unknown("source", name, sources)
    source = sources[name]
    if not source.expectations:
        raise InputError(
            f"source {name} declares no expectations", hint="give it expectations=[...]"
        )
    if landed is not None:
        version = _version(project, name, landed)
        return validate_landed(project, source, version - 1, version)
    now_us = project.now_us()
    batch = landing.Batch(
        name=f"files-{_stamp(now_us)}",
        version=0,
        portions=[landing.Portion([file.path for file in project.input_files(source)], None)],
        file_format=project.input_format(source),
        through_us=MAX_US,
        landed_us=now_us,
        key_columns=project.key_columns(source),
    )
    project.tell(f"validating {name}: {len(source.expectations)} expectations")
    judged = landing.judge(project.spark, source, batch)
    folder = project.places.data_docs(name, batch.name)
    return validation.validate(judged, landing.PASSES, source, folder, now_us)


def _stamp(now_us: int) -> str:
    return format_instant(now_us).replace(":", "")


def validate_landed(
    project: Project, source: Source, after_version: int, version: int
) -> Validation:
    """Validate what was landed after an ingest version, up to another one."""
    path = project.places.events(source.name)
    frame = landing.landed_rows(project.spark, path, source, after_version, version)
    now_us = project.now_us()
    label = f"batch-{version}-{_stamp(now_us)}"
    project.tell(f"validating {source.name}: {len(source.expectations)} expectations")
    folder = project.places.data_docs(source.name, label)
    passes = f"_verdict <> '{events.QUARANTINED}'"
    return validation.validate(frame, passes, source, folder, now_us)


def _version(project: Project, name: str, landed: int) -> int:
    versions = [done.version for done in project.landings(name).batches()]
    if not versions:
        raise StateError.nothing_landed(name)
    if landed and landed not in versions:
        raise InputError.unknown("landed batch", str(landed), map(str, versions))
    return landed or versions[-1]
