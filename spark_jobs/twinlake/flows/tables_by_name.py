"""Tables by name: every applied view and source as a temporary view of the Spark session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError
from twinlake.flows.project import Project, view_table
from twinlake.lake import feature_rows, tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def register_tables(project: Project) -> list[str]:
    """Make what is applied readable by name: ``SELECT * FROM household_energy``.

    A feature view's name stands for its table, one row per event: rows that a later event
    superseded are left out, and only where the record of publications says that there are any, for
    finding them costs a sort. A source's name stands for its events, every row with its verdict.
    The names last as long as the session; call again after a materialize or an apply.

    Args:
        project: The project.

    Returns:
        The names, sources first, each in the order of the definitions.

    Raises:
        StateError: Nothing is applied, or a table is gone.
        InputError: A source and a view share a name.
    """
    definitions = project.applied().definitions
    shared = sorted(set(definitions.sources) & set(definitions.views))
    if shared:
        raise InputError(
            f"a source and a view are both named {', '.join(shared)}",
            hint="give one of the two another name to read them by it",
        )
    for name in definitions.sources:
        events = tables.read(project.spark, project.places.events(name))
        events.createOrReplaceTempView(name)
    for name, view in definitions.views.items():
        view_rows(project, view).createOrReplaceTempView(name)
    return [*definitions.sources, *definitions.views]


def view_rows(project: Project, view: FeatureView) -> DataFrame:
    """Read a feature view's table without the rows that later ones supersede."""
    rows = tables.read(project.spark, project.places.view(view_table(view)))
    if _has_superseded(project, view):
        rows = feature_rows.newest_versions(rows, list(view.entity.join_keys))
    return rows


def _has_superseded(project: Project, view: FeatureView) -> bool:
    done = project.publications(view.name).all(view_fingerprint(view))
    return any(publication.superseding for publication in done)
