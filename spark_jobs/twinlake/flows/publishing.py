"""Publish a view: feature rows into Delta, newest rows online, both folded from the events table.

Order: feature rows are appended first, then online rows are written, then the publication is
written down. Each step may be repeated: the append carries a transaction number, and an online row
is only replaced by one that reflects more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinlake.crash_points import reached
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.times import MAX_US
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError
from twinlake.flows.landing import landed_us, require_whole
from twinlake.flows.project import Project, online_table, view_table
from twinlake.flows.requests import by_stream_or, wait_for_stream
from twinlake.lake import feature_rows, publication, tables
from twinlake.online.store import OnlineRow, WriteReport
from twinlake.planning.intervals import Pair, merged, subtracted
from twinlake.registry.state import Publication

# A landing further ahead of the clock than this would order writes by a time that nobody lives in;
# Keyspaces refuses five minutes.
_MAX_AHEAD_US = 4 * 60 * 1_000_000


@dataclass(frozen=True)
class Due:
    """What a publication has to do.

    Attributes:
        version: The ingest version to fold events up to.
        version_us: When it was committed: the write timestamp of rows that reflect it.
        before: The ingest version up to which events were folded.
        covered, missing: Event times that were computed, and that are to be.
        new_rows: Accepted events since; more, where the batches of a stream are told of together.
    """

    version: int
    version_us: int
    before: int
    covered: tuple[Pair, ...]
    missing: tuple[Pair, ...]
    new_rows: int


def publish(project: Project, view: FeatureView, wanted: Pair) -> Publication | None:
    """Bring a view up to date with its source's events, for an interval of event times.

    Args:
        project: The project.
        view: The view.
        wanted: ``(start_us, end_us]``: event times to compute where they were not yet.

    Returns:
        What was done; None when the view was up to date.

    Raises:
        StateError: Another process publishes this view, or time went backwards. A stream that is
            its publisher does it, and is waited for.
    """

    def own() -> Publication | None:
        with project.places.exclusively("publisher", view.name):
            return catch_up(project, view, wanted)

    def wait() -> None:
        wait_for_stream(
            project, view.source.name, lambda: find_due(project, view, wanted) is None, view.name
        )

    return by_stream_or(project, view.source.name, own, wait)


def catch_up(project: Project, view: FeatureView, wanted: Pair) -> Publication | None:
    """Do what ``publish`` does, as the publisher that one is already."""
    if find_due(project, view, wanted) is None:
        return None
    finished = None
    while (one := finish_interrupted(project, view)) is not None:
        finished = one
    due = find_due(project, view, wanted)
    if due is None:
        return finished
    project.tell(f"publishing {view.name}: {due.new_rows:,} new events")
    return _publish(project, view, due, wanted)


def find_due(
    project: Project, view: FeatureView, wanted: Pair, version: int | None = None
) -> Due | None:
    """Find what a publication has to do; None for nothing.

    Args:
        project: The project.
        view: The view.
        wanted: ``(start_us, end_us]``: event times to compute where they were not yet.
        version: Up to which ingest version; the newest by default.
    """
    landings = project.landings(view.source.name).batches()
    if not landings:
        return None
    done = project.publications(view.name).all(view_fingerprint(view))
    before = max((publication.events_version for publication in done), default=0)
    covered = merged((publication.start_us, publication.end_us) for publication in done)
    missing = subtracted(wanted, covered)
    new_rows = sum(landing.accepted for landing in landings if landing.version > before)
    newest = landings[-1]
    if version is None or version == newest.version:
        version, version_us = newest.version, newest.landed_us or 0
    else:
        version_us = landed_us(project, view.source.name, version)
    if not missing and version <= before:
        return None
    return Due(version, version_us, before, covered, missing, new_rows)


def _publish(project: Project, view: FeatureView, due: Due, wanted: Pair) -> Publication:
    number = project.publications(view.name).next_number()
    require_whole(project, view.source.name)
    write_us = checked_write_us(project, due.version_us)
    reached("publishing.begun")
    commit, superseding = _append_feature_rows(project, view, due, number, wanted)
    reached("publishing.rows_counted")
    online_rows = _write_online_rows(project, view, due, write_us).rows
    reached("publishing.online_written")
    done = Publication(
        number=number,
        fingerprint=view_fingerprint(view),
        events_version=due.version,
        start_us=wanted[0],
        end_us=wanted[1],
        feature_rows=commit.rows,
        table_version=commit.version,
        online_rows=online_rows,
        write_us=write_us,
        superseding=superseding,
    )
    project.publications(view.name).write(done)
    reached("publishing.written_down")
    return done


def finish_interrupted(project: Project, view: FeatureView) -> Publication | None:
    """Finish a publication whose rows were committed but that was not written down.

    It is finished as it was begun, at its own version: its number is spent, and what came since is
    the next one's work.
    """
    commit = interrupted(project, view)
    if commit is None:
        return None
    start_us, end_us = commit.metadata["wanted"]
    due = find_due(project, view, (start_us, end_us), commit.metadata["ingest_version"])
    if due is None:
        return None
    project.tell(f"publishing {view.name}: finishing what was interrupted")
    return _publish(project, view, due, (start_us, end_us))


def interrupted(project: Project, view: FeatureView) -> tables.Commit | None:
    """Give the commit of a publication that was not written down, if there is one."""
    number = project.publications(view.name).next_number()
    path = project.places.view(view_table(view))
    for commit in tables.commits_back(project.spark, path):
        spent = commit.metadata.get("publication", MAX_US)
        if spent < number:
            break
        if spent == number:
            return commit
    return None


def checked_write_us(project: Project, version_us: int) -> int:
    """Give the write timestamp of rows that reflect a landing: its commit's own time.

    Raises:
        StateError: It lies ahead of this machine's clock.
    """
    ahead_us = version_us - project.now_us()
    if ahead_us > _MAX_AHEAD_US:
        raise StateError(
            f"the newest commit lies {ahead_us // 1_000_000} s ahead of this machine's clock",
            hint="set the clock right and run again: what was landed is kept, and published then; "
            "where the clock was ahead when it was landed, wait until that time has come",
        )
    return version_us


def _append_feature_rows(
    project: Project, view: FeatureView, due: Due, number: int, wanted: Pair
) -> tuple[tables.Commit, bool]:
    """Append feature rows; give the commit, and whether some of them supersede others."""
    spark, path = project.spark, project.places.view(view_table(view))
    work = feature_rows.Work(due.before, due.version, due.covered, due.missing)
    frame = feature_rows.relevant_events(spark, project.places.events(view.source.name), view, work)
    accepted = sum(landing.accepted for landing in project.landings(view.source.name).all())
    rows = accepted if due.missing else due.new_rows
    parts = feature_rows.parts_for(rows, spark.sparkContext.defaultParallelism)
    metadata = commit_metadata(number, due.version, wanted)
    tables.append(
        feature_rows.compute(frame, view, work, parts),
        path,
        writer=publisher(view),
        number=number,
        metadata=metadata,
    )
    reached("publishing.rows_appended")
    commit = _commit_of(project, path, number, metadata)
    return commit, feature_rows.count_superseding(spark, path, work) > 0


def publisher(view: FeatureView) -> str:
    """Name the one who publishes a view, by whose numbers Delta knows a repeated append."""
    return f"twinlake/publisher/{view_table(view)}"


def commit_metadata(number: int, version: int, wanted: Pair) -> dict[str, Any]:
    """Give what a commit of feature rows says of itself, by which a killed one is finished."""
    return {"publication": number, "ingest_version": version, "wanted": list(wanted)}


def _commit_of(
    project: Project, path: Path, number: int, metadata: Mapping[str, object]
) -> tables.Commit:
    """Find the commit of a publication, and make sure that it is what was asked for.

    Delta skips an append whose number is spent: by this publication, when it was killed after its
    commit, or by another one of which nothing is written down.
    """
    for commit in tables.commits_back(project.spark, path):
        if commit.metadata.get("publication") == number:
            if commit.metadata == metadata:
                return commit
            break
    raise StateError(
        f"publication {number} of {path} was committed by another process, for other events",
        hint="run the command again: it finishes that one first",
    )


def _write_online_rows(project: Project, view: FeatureView, due: Due, write_us: int) -> WriteReport:
    """Write the rows of touched keys."""
    if due.version <= due.before:
        return WriteReport(0, 0)
    spark, path = project.spark, project.places.events(view.source.name)
    folding = folding_of(project, view, due.before, due.version, due.version_us)
    parts = feature_rows.parts_for(due.new_rows, spark.sparkContext.defaultParallelism)
    folded = publication.online_rows(spark, path, view, folding, parts)
    return write_online(project, view, publication.rows_at_driver(folded, view), write_us)


def folding_of(
    project: Project, view: FeatureView, before: int, version: int, version_us: int
) -> publication.Folding:
    """Say what to fold into online rows, and as what."""
    path = project.places.events(view.source.name)
    return publication.Folding(
        after_version=before,
        version=version,
        version_us=version_us,
        fingerprint=bytes.fromhex(view_fingerprint(view)),
        table_id=bytes.fromhex(tables.table_id(project.spark, path).replace("-", "")),
    )


def write_online(
    project: Project, view: FeatureView, rows: Iterator[publication.FoldedRow], write_us: int
) -> WriteReport:
    """Write folded rows online."""
    try:
        return project.store.write(online_table(view), _stamped(rows, write_us))
    except InputError as error:
        raise InputError(
            f"view {view.name} is not published to its end: {error.message}", hint=error.hint
        ) from error


def _stamped(rows: Iterator[publication.FoldedRow], write_us: int) -> Iterator[OnlineRow]:
    for row in rows:
        yield OnlineRow(
            row.key,
            row.values,
            row.event_us,
            row.known_us,
            row.valid_until_us,
            row.state,
            write_us,
        )
