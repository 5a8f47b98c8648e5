"""Land what is new in a source's files: one batch, one Delta commit, every row with a verdict."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from twinlake.crash_points import reached
from twinlake.definitions.documents import Definitions
from twinlake.definitions.sources import Source
from twinlake.errors import StateError
from twinlake.flows.project import Project
from twinlake.lake import events, landing, tables
from twinlake.lake.failures import LIST_DAMAGE
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
        rows = sum(file.rows or 0 for file in due)
        project.tell(f"landing {source.name}: {len(due)} file(s), {rows:,} rows")
        return _land(project, source, due, after, through_us)


def require_whole(project: Project, source: str) -> tables.Commit:
    """Give the newest version of an events table that holds every row that was landed: law 6.

    Raises:
        StateError: Rows or commits of it are lost, or nothing was landed.
    """
    landings, path = project.landings(source).all(), project.places.events(source)
    newest = tables.require_version(project.spark, path, landings[-1].version)
    told = sum(landing.read for landing in landings)
    found = events.count(project.spark, path, landings[-1].version)
    if found != told:
        raise StateError(
            f"the events table {path} holds {found:,} rows, but {told:,} were landed",
            hint=LIST_DAMAGE,
        )
    return newest


def recover(project: Project, source: Source) -> None:
    """Finish or forget what a killed lander left; see ``Landings``."""
    path = project.places.events(source.name)
    for intent in project.landings(source.name).unfinished():
        found = landing.verdicts(project.spark, path, intent.version)
        if found is None:
            # The Java of a killed lander may outlive it by a moment, and still commit.
            landing.fence(project.spark, path, source, intent.version)
            found = landing.verdicts(project.spark, path, intent.version)
        if found is None:
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
    landed = max((one.version for one in project.landings(source.name).all()), default=0)
    version = tables.require_version(project.spark, path, landed).version + 1
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
    reached("landing.begun")
    project.landings(source.name).begin(intent)
    reached("landing.intent_written")
    landing.land(project.spark, path, source, batch)
    reached("landing.committed")
    return _finish(project, source, intent)


def _finish(project: Project, source: Source, intent: Landing) -> Landing:
    """Count the verdicts of a committed batch and write them down."""
    path = project.places.events(source.name)
    counted = landing.verdicts(project.spark, path, intent.version)
    commits = tables.commits_back(project.spark, path)
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
        landed_us=time_us or tables.last_commit(project.spark, path).time_us,
    )
    reached("landing.counted")
    project.landings(source.name).finish(done)
    reached("landing.written_down")
    return done


def _key_columns(definitions: Definitions, source: Source) -> list[str]:
    keys = [
        name
        for view in definitions.views.values()
        if view.source.name == source.name
        for name in view.entity.join_keys
    ]
    return list(dict.fromkeys(keys))
