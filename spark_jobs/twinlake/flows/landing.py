"""Land what is new in a source's files: one batch, one Delta commit, every row with a verdict."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from twinlake.definitions.sources import Source
from twinlake.flows.project import Project
from twinlake.flows.validating import validate_batch
from twinlake.lake import landing, tables
from twinlake.registry.inputs import InputFile
from twinlake.registry.state import Landing


def land_files(
    project: Project, source: Source, through_us: int, *, validate: bool = False
) -> Landing | None:
    """Land the rows of a source's files up to an event timestamp that were not landed before.

    A source with expectations on batches is validated by Great Expectations first.

    Args:
        project: The project.
        source: What to land.
        through_us: Up to which event timestamp, it included.
        validate: Validate it also where it only has expectations on rows.

    Returns:
        What was landed; None when there was nothing new.

    Raises:
        CheckFailed: The batch breaks an expectation on batches; nothing was landed.
        StateError: Another process lands this source.
        InputError: A file does not fit the source.
    """
    with project.places.exclusively("lander", source.name):
        recover(project, source)
        files = project.input_files(source)
        after = {file.key: project.landings(source.name).landed_through_us(file) for file in files}
        due = [f for f in files if (seen := after[f.key]) is None or seen < through_us]
        if not due:
            return None
        rows = sum(file.rows or 0 for file in due)
        project.tell(f"landing {source.name}: {len(due)} file(s), {rows:,} rows")
        batch = _batch(project, source, due, after, through_us)
        docs = None
        if source.batch_expectations or (validate and source.expectations):
            page = validate_batch(project, source, batch).data_docs
            docs = str(page.relative_to(project.settings.state))
        return _land(project, source, batch, tuple(file.key for file in due), docs)


def recover(project: Project, source: Source) -> None:
    """Finish or forget what a killed lander left; see ``Landings``."""
    path = project.places.events(source.name)
    for intent in project.landings(source.name).unfinished():
        if landing.verdicts(project.spark, path, intent.version) is None:
            project.landings(source.name).drop_intent(intent)
        else:
            _finish(project, source, intent)


def _batch(
    project: Project,
    source: Source,
    due: list[InputFile],
    after: dict[str, int | None],
    through_us: int,
) -> landing.Batch:
    path = project.places.events(source.name)
    version = tables.last_commit(project.spark, path).version + 1
    by_start: dict[int | None, list[str]] = {}
    for file in due:
        by_start.setdefault(after[file.key], []).append(file.path)
    named = "\n".join([source.name, str(through_us), *sorted(file.key for file in due)])
    return landing.Batch(
        name=hashlib.sha256(named.encode()).hexdigest()[:16],
        version=version,
        portions=[landing.Portion(paths, start) for start, paths in by_start.items()],
        file_format=project.input_format(source),
        through_us=through_us,
        landed_us=project.now_us(),
        key_columns=project.key_columns(source),
    )


def _land(
    project: Project, source: Source, batch: landing.Batch, files: tuple[str, ...], docs: str | None
) -> Landing:
    path = project.places.events(source.name)
    intent = Landing(batch.version, batch.name, files, batch.through_us, data_docs=docs)
    project.landings(source.name).begin(intent)
    landing.land(project.spark, path, source, batch)
    return _finish(project, source, intent)


def _finish(project: Project, source: Source, intent: Landing) -> Landing:
    """Count the verdicts of a committed batch and write them down."""
    path = project.places.events(source.name)
    counted = landing.verdicts(project.spark, path, intent.version)
    commits = tables.commits(project.spark, path, 100)
    time_us = next(
        (c.time_us for c in commits if c.metadata.get("ingest_version") == intent.version), None
    )
    done = replace(
        intent,
        read=counted.read if counted else 0,
        accepted=counted.accepted if counted else 0,
        duplicate=counted.duplicate if counted else 0,
        quarantined=counted.quarantined if counted else 0,
        newest_event_us=counted.newest_event_us if counted else None,
        landed_us=time_us if time_us is not None else commits[0].time_us,
    )
    project.landings(source.name).finish(done)
    return done
