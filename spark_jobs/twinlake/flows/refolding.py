"""Compute views of other entities anew, of whose rows events were erased.

What a shop sold to a forgotten card is no sale of the shop any more: every row of a shop that the
card was seen at is made again from the events that are left. Which keys those are is written down
before the events are erased, so that a job that was killed can be finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.views import FeatureView
from twinlake.flows import publishing
from twinlake.flows.erasable import EntityKey
from twinlake.flows.project import Project, online_table, view_table
from twinlake.lake import erasing, events, feature_rows, forgotten, publication, tables
from twinlake.lake.arrow_types import arrow_type
from twinlake.lake.reconciliation import keys_without_events
from twinlake.planning.intervals import merged
from twinlake.registry.state import Landing

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def touched_file(project: Project, view: FeatureView) -> Path:
    """Say where the keys of a view are written down until they are done."""
    return project.settings.state / "ledger" / "touched" / f"{view_table(view)}.parquet"


def note_touched(project: Project, key: EntityKey, views: Sequence[FeatureView]) -> None:
    """Write down the keys of views of which events are about to be erased, beside older ones."""
    for view in views:
        path = project.places.events(view.source.name)
        if not tables.exists(path):
            continue
        rows = forgotten.is_of_key(view.source, key.kinds, key.texts)
        keys = events.distinct_keys(project.spark, path, view, rows)
        file = touched_file(project, view)
        if file.exists():
            keys += [tuple(row.values()) for row in pq.read_table(file).to_pylist()]
        if keys:
            kinds = view.entity.join_keys.items()
            columns = list(zip(*dict.fromkeys(keys), strict=True))
            named = {
                name: pa.array(cells, arrow_type(kind))
                for (name, kind), cells in zip(kinds, columns, strict=True)
            }
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            pq.write_table(pa.table(named), part)
            part.replace(file)


def touched(project: Project, views: Sequence[FeatureView]) -> list[FeatureView]:
    """Give the views of which keys wait to be made anew."""
    return [view for view in views if touched_file(project, view).exists()]


def refold(project: Project, view: FeatureView, marker: Landing) -> int:
    """Make the rows of the keys that were written down anew, in both stores.

    Args:
        project: The project; this process is the view's publisher.
        view: The view.
        marker: An empty batch that was landed for it.

    Returns:
        How many keys.
    """
    done = project.publications(view.name).all(view_fingerprint(view))
    keys = project.spark.read.parquet(str(touched_file(project, view)))
    count = keys.count()
    if done:
        project.tell(f"computing {view.name} anew for {count:,} keys")
        version = max(one.events_version for one in done)
        covered = merged((one.start_us, one.end_us) for one in done)
        _rewrite_rows(project, view, keys, feature_rows.Work(0, version, (), covered))
        _rewrite_online(project, view, keys, marker)
    return count


def _rewrite_rows(
    project: Project, view: FeatureView, keys: DataFrame, work: feature_rows.Work
) -> None:
    """Replace feature rows; to be done again where it was interrupted, so it carries no number."""
    spark, path = project.spark, project.places.view(view_table(view))
    erasing.delete_keys(spark, path, keys)
    names = list(view.entity.join_keys)
    events_path = project.places.events(view.source.name)
    relevant = feature_rows.relevant_events(spark, events_path, view, work)
    relevant = relevant.join(keys, names, "left_semi")
    made = feature_rows.compute(relevant, view, work, _parts(project, view))
    erasing.append(made, path)


def _rewrite_online(project: Project, view: FeatureView, keys: DataFrame, marker: Landing) -> None:
    spark, path = project.spark, project.places.events(view.source.name)
    write_us = publishing.checked_write_us(project, marker.landed_us or 0)
    folding = publishing.folding_of(project, view, 0, marker.version, write_us)
    parts = _parts(project, view)
    folded = publication.online_rows(spark, path, view, folding, parts, keys)
    rows = publication.rows_at_driver(folded, view)
    publishing.write_online(project, view, rows, write_us)
    gone = keys_without_events(spark, path, view, keys, marker.version)
    project.store.delete(online_table(view), gone, write_us)


def keys_of(project: Project, view: FeatureView) -> Iterator[tuple[object, ...]]:
    """Give the keys that were written down."""
    rows: Iterable[dict[str, object]] = pq.read_table(touched_file(project, view)).to_pylist()
    yield from (tuple(row.values()) for row in rows)


def _parts(project: Project, view: FeatureView) -> int:
    accepted = sum(each.accepted for each in project.landings(view.source.name).all())
    return feature_rows.parts_for(accepted, project.spark.sparkContext.defaultParallelism)
