"""Maintain a lake: reconcile online rows, OPTIMIZE, VACUUM, drop what nothing uses any more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError
from twinlake.flows import applying, catalogue
from twinlake.flows.project import Project, view_table
from twinlake.flows.reconciling import Reconciled, reconcile
from twinlake.lake import maintenance, tables

# Delta keeps what a reader or a writer may still be busy with for this long.
LEAST_DAYS = 7


@dataclass(frozen=True)
class Work:
    """What to do; it is done in this order.

    Attributes:
        reconcile: Compare online rows with their events.
        repair: Compare them, and write what differs anew.
        optimize: Put small files together.
        vacuum_days: Remove files that no version of so many days needs; None: keep all.
        drop_old: Drop tables that no applied view uses.
    """

    reconcile: bool = False
    repair: bool = False
    optimize: bool = False
    vacuum_days: int | None = None
    drop_old: bool = False


@dataclass
class MaintainedTable:
    """What came of one Delta table.

    Attributes:
        table: What it is: ``events SOURCE``, ``view VIEW``, ``predictions MODEL``, or
            ``quality MODEL windows`` and ``figures``.
        files: Files of its newest version; None where it was not optimized.
        replaced: Files that were put together.
        removed: Files that were removed; None where it was not vacuumed.
        spared_for: A training set whose receipt needs an old version: it was not vacuumed.
    """

    table: str
    files: int | None = None
    replaced: int | None = None
    removed: int | None = None
    spared_for: str | None = None


@dataclass
class Maintained:
    """What a maintenance came to.

    Attributes:
        views: What was reconciled.
        tables: What was optimized or vacuumed.
        dropped: Tables that were dropped; None where nobody asked for it.
    """

    views: list[Reconciled] = field(default_factory=list)
    tables: list[MaintainedTable] = field(default_factory=list)
    dropped: list[str] | None = None

    @property
    def is_clean(self) -> bool:
        """Whether no online row differs, any more."""
        return all(found.is_clean for found in self.views)


@dataclass(frozen=True)
class _Table:
    """A Delta table, and the right of who writes to it."""

    named: str
    path: Path
    office: tuple[str, str]


def maintain(project: Project, names: Sequence[str], work: Work) -> Maintained:
    """Do what is asked, for some views and the sources that they read.

    It may run beside streams and jobs: rows are repaired in the order of knowledge, and Delta's
    own transactions keep files apart.

    Args:
        project: The project.
        names: The views; without names all, and the predictions of all models.
        work: What to do.

    Raises:
        InputError: There is no such view, or fewer days than are safe.
        StateError: See ``reconcile``; or another process rewrites the same files.
    """
    views = [project.view(name) for name in names]
    views = views or list(project.applied().definitions.views.values())
    _refuse_few_days(project, work.vacuum_days)
    done = Maintained()
    if work.reconcile or work.repair:
        for view in views:
            done.views.append(reconcile(project, view, repair=work.repair))
    if work.optimize or work.vacuum_days is not None:
        for table in _tables(project, views, with_models=not names):
            done.tables.append(_maintained(project, table, work))
    if work.drop_old:
        done.dropped = applying.drop_leftovers(project)
    return done


def _refuse_few_days(project: Project, days: int | None) -> None:
    """Refuse to remove what others may still read or are about to commit, unless it is forced."""
    if days is None or days >= LEAST_DAYS:
        return
    if maintenance.is_retention_checked(project.spark):
        raise InputError(
            f"--vacuum {days}: fewer than {LEAST_DAYS} days would remove files that a running "
            "reader still needs, or a writer has not committed yet",
            hint=f"give {LEAST_DAYS} or more; or end every other job and switch the check off as "
            f"Delta has it: spark-submit --conf {maintenance.RETENTION_CHECK}=false "
            "spark_jobs/maintain_lake.py",
        )


def _tables(project: Project, views: Sequence[FeatureView], *, with_models: bool) -> list[_Table]:
    """Find the Delta tables of views, of their sources and of models, as far as they are there."""
    places = project.places
    applied = project.applied().definitions
    sources = dict.fromkeys(view.source.name for view in views)
    if with_models:  # what models score, and their labels, may have no view
        sources |= dict.fromkeys(applied.sources)
    found = [_Table(f"events {name}", places.events(name), ("lander", name)) for name in sources]
    for view in views:
        path = places.view(view_table(view))
        found.append(_Table(f"view {view.name}", path, ("publisher", view.name)))
    if with_models:
        for name in applied.models:
            office = ("scorer", name)
            found.append(_Table(f"predictions {name}", places.predictions(name), office))
            for part in ("windows", "figures"):
                path = places.quality(name, part)
                found.append(_Table(f"quality {name} {part}", path, ("monitor", name)))
    return [table for table in found if tables.exists(table.path)]


def _maintained(project: Project, table: _Table, work: Work) -> MaintainedTable:
    done = MaintainedTable(table.named)
    if work.optimize:
        project.tell(f"optimizing {table.named}")
        optimized = maintenance.optimize(project.spark, table.path)
        done.files, done.replaced = optimized.files, optimized.replaced
    days = work.vacuum_days
    if days is None:
        return done
    done.spared_for = _needed_by(project, table.path)
    if done.spared_for is None:
        with ExitStack() as held:
            if days < LEAST_DAYS:  # what somebody writes just now has no version yet
                held.enter_context(project.places.exclusively(*table.office))
            project.tell(f"vacuuming {table.named}: what no version of {days} days needs")
            done.removed = maintenance.vacuum(project.spark, table.path, days)
    return done


def _needed_by(project: Project, path: Path) -> str | None:
    """Name a training set that reads an old version of a table; None where none does.

    Receipts pin events by their sequence, and a rebuild reads today's files up to it, which every
    version has. Only a table that is pinned by its version alone needs the files of that version,
    a spine too.
    """
    for receipt in catalogue.receipts(project):
        pinned = [pin.path for pin in receipt.tables if pin.sequence is None]
        if receipt.spine.version is not None:
            pinned.append(receipt.spine.path)
        if any(Path(one).resolve() == path.resolve() for one in pinned):
            return receipt.training_set
    return None
