"""Plan and apply: gather what is stored, compare it with the definitions, carry the plan out."""

from __future__ import annotations

import shutil

from twinlake.crash_points import reached
from twinlake.definitions.documents import Definitions
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.sources import Source
from twinlake.definitions.times import MIN_US, Interval
from twinlake.errors import DefinitionError, InputError, StateError
from twinlake.flows.lineage import built
from twinlake.flows.project import Project, online_table, view_table
from twinlake.flows.requests import STREAM
from twinlake.planning.intervals import merged
from twinlake.planning.planner import Facts, SourceFacts, ViewFacts, build_plan
from twinlake.planning.steps import (
    AddColumns,
    CreateEventsTable,
    CreateViewTables,
    DropTables,
    Plan,
    Recompute,
    Register,
    Step,
    Unregister,
)
from twinlake.registry.documents import AlreadyWritten
from twinlake.registry.inputs import InputFile
from twinlake.registry.places import Taken
from twinlake.registry.state import Applied, Publication


def plan(project: Project) -> Plan:
    """Plan what apply would do; starts no Spark and writes nothing."""
    applied = project.registry.current()
    return _plan(project, applied)


def apply(project: Project) -> Plan:
    """Carry out the plan and register the definitions.

    Tables are made before the registry names them, so a reader never meets a name without a table;
    an apply that is killed between leaves tables that the next one finds made.

    Raises:
        AlreadyWritten: Somebody else applied meanwhile; the registry is theirs.
        StateError: A stream publishes a view that has to be computed anew; nothing was done.
    """
    applied = project.registry.current()
    made = _plan(project, applied)
    if not made.changes:
        return made
    with project.places.exclusively("applier", "registry"):
        # A plan made while somebody else applied may drop the tables that they just made.
        if project.registry.current().number != applied.number:
            raise AlreadyWritten(
                "somebody else applied while this was planned; nothing was done",
                hint="look at `twinlake plan` again",
            )
        _refuse_streamed(project, made)
        _check_expressions(project)
        reached("apply.begun")
        for step in made.steps:
            _carry_out(project, step)
            reached("apply.step_done")
        project.registry.write(applied, project.definitions, project.now_us())
        reached("apply.registered")
    return made


def drop_leftovers(project: Project) -> list[str]:
    """Drop the tables that neither what is applied nor what is desired uses; give their names.

    It is the part of ``apply`` that drops, alone; ``plan`` shows the same tables.

    Raises:
        Taken: Another process applies.
    """
    with project.places.exclusively("applier", "registry"):
        leftovers = _leftovers(project, project.registry.current().definitions)
        for table in leftovers:
            project.tell(f"dropping {table}")
            _carry_out(project, DropTables(table))
    return leftovers


def _plan(project: Project, applied: Applied) -> Plan:
    facts = _facts(project, applied.definitions)
    return build_plan(applied.definitions, applied.number, project.definitions, facts)


def _facts(project: Project, applied: Definitions) -> Facts:
    desired = project.definitions
    sources = {}
    for name, source in desired.sources.items():
        landings = project.landings(name)
        done = landings.all()
        files = _files_if_any(project, source)
        sources[name] = SourceFacts(
            has_table=(project.places.events(name) / "_delta_log").is_dir(),
            ingest_version=max((landing.version for landing in done), default=0),
            accepted_rows={landing.version: landing.accepted for landing in done},
            new_files=[f.rows for f in files if landings.landed_through_us(f) is None],
        )
    online = _online_tables(project)
    views = {}
    for name, view in desired.views.items():
        table = view_table(view)
        offline = (project.places.view(table) / "_delta_log").is_dir()
        has_tables = offline and table in online
        # What was published into tables that were dropped since is not there any more.
        present = project.publications(name).all(view_fingerprint(view)) if has_tables else []
        before: list[Publication] = []
        if name in applied.views:
            before = project.publications(name).all(view_fingerprint(applied.views[name]))
        views[name] = ViewFacts(
            has_tables=has_tables,
            covered_until_us=max((p.end_us for p in present), default=MIN_US),
            events_version=max((p.events_version for p in present), default=0),
            applied_covered=_hull(before),
        )
    return Facts(sources, views, _leftovers(project, applied), built(project))


def _files_if_any(project: Project, source: Source) -> list[InputFile]:
    """List a source's files; definitions can be applied before there is data."""
    try:
        return project.input_files(source)
    except InputError as error:
        project.tell(f"no files to look at: {error.message}")
        return []


def _hull(publications: list[Publication]) -> Interval | None:
    covered = merged((p.start_us, p.end_us) for p in publications)
    return Interval(covered[0][0], covered[-1][1]) if covered else None


def _online_tables(project: Project) -> set[str]:
    return set(project.store.tables()) if project.has_online_store() else set()


def _leftovers(project: Project, applied: Definitions) -> list[str]:
    """Find tables that neither what is applied nor what is desired uses."""
    used = {view_table(view) for view in applied.views.values()}
    used |= {view_table(view) for view in project.definitions.views.values()}
    folder = project.places.views
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    there |= _online_tables(project)
    return sorted(there - used)


def _check_expressions(project: Project) -> None:
    """Let Spark read every SQL expression against its source's columns, all before any table."""
    from twinlake.lake.expressions import expression_problems

    problems = expression_problems(project.spark, project.definitions.sources.values())
    if problems:
        raise DefinitionError(problems)


def _refuse_streamed(project: Project, made: Plan) -> None:
    """Refuse to compute anew what a stream publishes: it would be waited for, and it for us."""
    for step in made.steps:
        if not isinstance(step, Recompute):
            continue
        try:
            with project.places.exclusively("publisher", step.view):
                pass
        except Taken as taken:
            if taken.by != STREAM:
                raise
            raise StateError(
                f"a stream publishes {step.view}, whose definition changed; nothing was done",
                hint="end the stream, apply, and start it again: it goes on where it ended",
            ) from None


def _carry_out(project: Project, step: Step) -> None:
    from twinlake.lake import events, feature_rows, tables

    definitions = project.definitions
    match step:
        case CreateEventsTable(name):
            events.create(project.spark, project.places.events(name), definitions.sources[name])
        case AddColumns(name, _):
            path = project.places.events(name)
            events.add_columns(project.spark, path, definitions.sources[name])
        case CreateViewTables(name, table):
            view = definitions.views[name]
            path = project.places.view(table)
            project.publications(name).forget(view_fingerprint(view))
            tables.create(
                project.spark,
                path,
                feature_rows.columns(view),
                f"Feature view {name} per event",
                skipped_by=feature_rows.SKIPPED_BY,
            )
            reached("apply.view_half_made")
            project.store.create(online_table(view))
        case Recompute(name, _, interval, _):
            from twinlake.flows.publishing import publish

            publish(project, definitions.views[name], (interval.start_us, interval.end_us))
        case DropTables(table):
            shutil.rmtree(project.places.view(table), ignore_errors=True)
            if table in project.store.tables():
                project.store.drop(table)
        case Register() | Unregister():
            pass  # the registry's next version holds them
