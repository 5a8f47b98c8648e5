"""Materialize: land what is new, then publish the views that read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.times import MAX_US, MIN_US, Interval
from twinlake.flows.landing import land_files
from twinlake.flows.project import Project
from twinlake.flows.publishing import publish
from twinlake.registry.state import Landing, Publication


@dataclass(frozen=True)
class Materialized:
    """What a materialize did.

    Attributes:
        landings: By source; None where nothing was new.
        publications: By view; None where it was up to date.
        intervals: By view, the event times asked for.
    """

    landings: dict[str, Landing | None]
    publications: dict[str, Publication | None]
    intervals: dict[str, Interval]

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return any(self.landings.values()) or any(self.publications.values())


def materialize(
    project: Project,
    views: Sequence[str] = (),
    *,
    start_us: int | None = None,
    end_us: int | None = None,
    incremental: bool = False,
    validate: bool = False,
) -> Materialized:
    """Compute views for an interval of event times into Delta, and publish them online.

    Rows are landed up to the interval's end whatever its start, because windows reach back. Doing
    the same again changes nothing: neither a Delta version nor a write timestamp.

    Args:
        project: The project.
        views: Which views; all by default.
        start_us: Not part of the interval; the beginning of time by default.
        end_us: Part of it; everything by default.
        incremental: Start each view where it was last computed to.
        validate: Let Great Expectations validate what lands of every source with expectations,
            not only of those with expectations on batches.

    Raises:
        CheckFailed: A batch breaks an expectation on batches; nothing of it was landed.
    """
    names = list(views) or list(project.applied().definitions.views)
    chosen = {name: project.view(name) for name in names}
    end = MAX_US if end_us is None else end_us
    intervals = {}
    for name, view in chosen.items():
        start = MIN_US if start_us is None else start_us
        if incremental:
            done = project.publications(name).all(view_fingerprint(view))
            ends = [p.end_us for p in done if p.end_us < end]
            # A view that was computed for all time has no end to go on from; new rows are new.
            start = max(ends, default=MIN_US)
        intervals[name] = Interval(start, end)
    landings = {}
    for view in chosen.values():
        if view.source.name not in landings:
            landings[view.source.name] = land_files(project, view.source, end, validate=validate)
    publications = {
        name: publish(project, view, (intervals[name].start_us, intervals[name].end_us))
        for name, view in chosen.items()
    }
    return Materialized(landings, publications, intervals)
