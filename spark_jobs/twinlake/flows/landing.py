"""Land what is new in a source's files: one batch, one Delta commit, every row with a verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from twinlake.crash_points import reached
from twinlake.definitions.sources import Source
from twinlake.definitions.times import MAX_US
from twinlake.errors import InputError, StateError
from twinlake.flows.project import Project
from twinlake.flows.requests import FILES, ask_stream, by_stream_or
from twinlake.flows.validating import validate_batch
from twinlake.lake import events, landing, rows, stream_batches, tables
from twinlake.lake.arrow_types import arrow_type
from twinlake.lake.failures import LIST_DAMAGE
from twinlake.registry.inbox import Inbox
from twinlake.registry.inputs import InputFile
from twinlake.registry.state import MARKER, Landing


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
        StateError: Another process lands this source; a stream that does is asked to.
        InputError: A file does not fit the source.
    """

    def own() -> Landing | None:
        with project.places.exclusively("lander", source.name):
            return land_as_lander(project, source, through_us, validate=validate)

    def ask() -> Landing | None:
        if not _due_files(project, source, through_us)[0]:
            return None
        inbox = Inbox(project.settings.state, source.name)
        path = project.source_path(source.name)
        told = {"through_us": through_us, "validate": validate, "path": path and str(path)}
        answer = ask_stream(project, source.name, inbox.new(FILES, told, project.now_us()))
        landed = answer["landing"]
        return None if landed is None else Landing(**landed)

    return by_stream_or(project, source.name, own, ask)


def land_as_lander(
    project: Project, source: Source, through_us: int, *, validate: bool
) -> Landing | None:
    """Do what ``land_files`` does, as the lander that one is already."""
    recover(project, source)
    due, after = _due_files(project, source, through_us)
    if not due:
        return None
    total = sum(file.rows or 0 for file in due)
    project.tell(f"landing {source.name}: {len(due)} file(s), {total:,} rows")
    batch = _batch(project, source, due, after, through_us)
    docs = None
    if source.batch_expectations or (validate and source.expectations):
        page = validate_batch(project, source, batch).data_docs
        docs = str(page.relative_to(project.settings.state))
    return _land(project, source, batch, due, docs)


def _due_files(
    project: Project, source: Source, through_us: int
) -> tuple[list[InputFile], dict[str, int | None]]:
    """Find the files that hold rows to land, and through when each was landed before."""
    files = project.input_files(source)
    after = {file.key: project.landings(source.name).landed_through_us(file) for file in files}
    due = [f for f in files if (seen := after[f.key]) is None or seen < through_us]
    return due, after


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


def landed_us(project: Project, source: str, version: int) -> int:
    """Give the in-commit time of a landed batch.

    Raises:
        StateError: Delta does not know it any more.
    """
    path = project.places.events(source)
    for commit in tables.commits_back(project.spark, path):
        if commit.metadata.get("ingest_version") == version:
            return commit.time_us
    raise StateError(f"the log of {path} holds no batch {version} any more", hint=LIST_DAMAGE)


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
    if source.stream is not None:
        _recover_stream(project, source)


def _recover_stream(project: Project, source: Source) -> None:
    """Write down the batches of a killed stream that were committed; there is at most one."""
    told = project.landings(source.name).newest_version()
    missed = []
    for commit in tables.commits_back(project.spark, project.places.events(source.name)):
        version = commit.metadata.get("ingest_version")
        if version is not None and version <= told:
            break
        if "query" in commit.metadata:
            missed.append(commit)
    for commit in reversed(missed):
        project.landings(source.name).go_on(stream_landing(commit.metadata, commit.time_us))


def stream_landing(metadata: Mapping[str, Any], time_us: int) -> Landing:
    """Write down what the commit of a batch of a stream says of itself."""
    return Landing(
        version=metadata["ingest_version"],
        batch=metadata["batch"],
        files=(),
        through_us=MAX_US,
        landed_us=time_us,
        query=metadata["query"],
        query_batch=metadata["query_batch"],
        **metadata["counts"],
    )


def land_marker(project: Project, source: Source, version: int) -> Landing:
    """Land an empty batch: a version, and a time, that online rows can be written anew as of.

    It is committed and written down like a batch of a stream, so a killed one is one that was
    committed, or nothing.

    Args:
        project: The project; this process is the lander of the source.
        source: The source.
        version: The ingest version that it takes.
    """
    columns = events.columns(source)
    nothing = pa.table({each.name: pa.array([], arrow_type(each.type)) for each in columns})
    counts = dict.fromkeys(("read", "accepted", "duplicate", "quarantined"), 0)
    metadata = {
        "batch": f"{MARKER}-{version}",
        "ingest_version": version,
        "counts": {**counts, "newest_event_us": None},
        "query": MARKER,
        "query_batch": version,
    }
    commit = stream_batches.append(
        project.spark,
        project.places.events(source.name),
        source,
        nothing,
        version=version,
        metadata=metadata,
        scratch=project.places.new_scratch(),
    )
    return project.landings(source.name).go_on(stream_landing(metadata, commit.time_us))


def _batch(
    project: Project,
    source: Source,
    due: list[InputFile],
    after: dict[str, int | None],
    through_us: int,
) -> landing.Batch:
    path = project.places.events(source.name)
    landed = project.landings(source.name).newest_version()
    version = tables.require_version(project.spark, path, landed).version + 1
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
        forgotten=project.forgotten(source),
    )


def _land(
    project: Project, source: Source, batch: landing.Batch, due: list[InputFile], docs: str | None
) -> Landing:
    path = project.places.events(source.name)
    files = tuple(file.key for file in due)
    intent = Landing(batch.version, batch.name, files, batch.through_us, data_docs=docs)
    reached("landing.begun")
    project.landings(source.name).begin(intent)
    reached("landing.intent_written")
    try:
        landing.land(project.spark, path, source, batch)
    except Exception as error:
        # What was committed nevertheless, or cannot be told now, the next lander settles.
        with suppress(Exception):
            if landing.verdicts(project.spark, path, batch.version) is None:
                project.landings(source.name).drop_intent(intent)
        damaged = rows.unreadable_file(error, [file.path for file in due])
        if damaged is None:
            raise
        raise InputError(
            f"source {source.name}: {damaged} cannot be read to its end; nothing was landed",
            hint="write it again, or take it out of the folder",
        ) from error
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
        erased=counted.erased if counted else 0,
        newest_event_us=counted.newest_event_us if counted else None,
        landed_us=time_us or tables.last_commit(project.spark, path).time_us,
    )
    reached("landing.counted")
    project.landings(source.name).finish(done)
    reached("landing.written_down")
    return done
