"""Land what is new in a source's files: one batch, one Delta commit, every row with a verdict."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace

from twinlake.definitions.documents import Definitions
from twinlake.definitions.sources import Source
from twinlake.errors import InputError
from twinlake.flows.project import Project
from twinlake.lake import landing, rows, tables
from twinlake.registry.inputs import InputFile
from twinlake.registry.state import Landing


def land_files(project: Project, source: Source, through_us: int) -> Landing | None:
    """Land the rows of a source's files up to an event timestamp that were not landed before.

    Returns:
        What was landed; None when there was nothing new.

    Raises:
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
        total = sum(file.rows or 0 for file in due)
        project.tell(f"landing {source.name}: {len(due)} file(s), {total:,} rows")
        return _land(project, source, due, after, through_us)


def recover(project: Project, source: Source) -> None:
    """Finish or forget what a killed lander left; see ``Landings``."""
    path = project.places.events(source.name)
    for intent in project.landings(source.name).unfinished():
        if landing.verdicts(project.spark, path, intent.version) is None:
            project.landings(source.name).drop_intent(intent)
        else:
            _finish(project, source, intent)


def _land(
    project: Project,
    source: Source,
    due: list[InputFile],
    after: dict[str, int | None],
    through_us: int,
) -> Landing | None:
    path = project.places.events(source.name)
    version = tables.last_commit(project.spark, path).version + 1
    by_start: dict[int | None, list[str]] = {}
    for file in due:
        by_start.setdefault(after[file.key], []).append(file.path)
    named = "\n".join([source.name, str(through_us), *sorted(file.key for file in due)])
    batch = landing.Batch(
        name=hashlib.sha256(named.encode()).hexdigest()[:16],
        version=version,
        portions=[landing.Portion(paths, start) for start, paths in by_start.items()],
        file_format=project.input_format(source),
        through_us=through_us,
        landed_us=project.now_us(),
        key_columns=_key_columns(project.applied().definitions, source),
    )
    intent = Landing(version, batch.name, tuple(file.key for file in due), through_us)
    project.landings(source.name).begin(intent)
    try:
        landing.land(project.spark, path, source, batch)
    except Exception as error:
        # What was committed nevertheless, or cannot be told now, the next lander settles.
        with suppress(Exception):
            if landing.verdicts(project.spark, path, version) is None:
                project.landings(source.name).drop_intent(intent)
        damaged = rows.unreadable_file(error, [file.path for file in due])
        if damaged is None:
            raise
        raise InputError(
            f"source {source.name}: {damaged} cannot be read to its end; nothing was landed",
            hint="write it again, or take it out of the folder",
        ) from error
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


def _key_columns(definitions: Definitions, source: Source) -> list[str]:
    keys = [
        name
        for view in definitions.views.values()
        if view.source.name == source.name
        for name in view.entity.join_keys
    ]
    return list(dict.fromkeys(keys))
