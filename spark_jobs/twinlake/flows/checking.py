"""Parity: compare what is served and stored with what independent code makes of the events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.assurance.comparison import REPORT_SCHEMA, Comparison, compare
from twinlake.assurance.recompute import Shape
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import needed_columns, stored_features, view_features
from twinlake.definitions.types import decimal_scale, is_decimal
from twinlake.definitions.views import FeatureView
from twinlake.errors import StateError, TwinlakeError
from twinlake.flows.project import Project, online_table, view_table
from twinlake.flows.reading import clock_reading
from twinlake.kernel.views import ViewShape
from twinlake.lake import arrow_types, comparison
from twinlake.online.reader import has_valid_columns, serve
from twinlake.planning.intervals import merged
from twinlake.registry.state import Publication
from twinlake.serving.reading import Reading

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_KEYS_PER_ROUND = 1_000
_EVENTS_SHOWN = 20
# What a check compares unless told otherwise.
DEFAULT_KEYS = 10_000


@dataclass(frozen=True)
class Difference:
    """One cell that differs.

    Attributes:
        view: The view.
        check: ``served`` (the answer as of the clock), ``stored`` (the online row's own columns)
            or ``offline`` (the feature view table).
        key: The key, as JSON.
        feature: The feature, or what else differs.
        at_us: As of when.
        expected: What the events come to.
        found: What is there.
    """

    view: str
    check: str
    key: str
    feature: str
    at_us: int | None
    expected: str
    found: str


@dataclass
class Tally:
    """Counts of one check: rows and cells compared, null on both sides, different."""

    rows: int = 0
    cells: int = 0
    nulls: int = 0
    mismatches: int = 0

    def add(self, other: Tally) -> None:
        """Add the counts of another one."""
        self.rows += other.rows
        self.cells += other.cells
        self.nulls += other.nulls
        self.mismatches += other.mismatches


@dataclass
class Verdict:
    """What a parity check found.

    Attributes:
        keys: How many keys were compared.
        as_of: View name to the moment served.
        served_cells: Cells that the online store served for those keys.
        tallies: By check.
        differences: The first few of each part; all are counted.
    """

    keys: int = 0
    served_cells: int = 0
    as_of: dict[str, Reading] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def mismatches(self) -> int:
        """Cells that differ, over all checks."""
        return sum(tally.mismatches for tally in self.tallies.values())

    def add(self, other: Verdict) -> None:
        """Add what another check found; keys and moments are the newer one's."""
        self.keys, self.as_of = other.keys, self.as_of | other.as_of
        self.served_cells += other.served_cells
        self.differences += other.differences
        for name, tally in other.tallies.items():
            self.tallies.setdefault(name, Tally()).add(tally)


def check_parity(
    project: Project,
    views: Sequence[FeatureView],
    keys: int | None,
    as_of: str | None = None,
    *,
    offline: bool = True,
) -> Verdict:
    """Compare views cell by cell.

    Args:
        project: The project.
        views: Which.
        keys: How many keys, chosen by a fixed hash; None for all of them.
        as_of: As of when to serve; None for the project's clock.
        offline: Whether to compare the feature view tables, too.

    Raises:
        StateError: A view was never published.
    """
    verdict = Verdict()
    for view in views:
        _check_view(project, view, keys, as_of, verdict, offline=offline)
    return verdict


def _check_view(
    project: Project,
    view: FeatureView,
    keys: int | None,
    as_of: str | None,
    verdict: Verdict,
    *,
    offline: bool,
) -> None:
    done = project.publications(view.name).all(view_fingerprint(view))
    if not done:
        raise StateError(
            f"view {view.name} was never published", hint="run `twinlake materialize` first"
        )
    reading = clock_reading(project, view, as_of)
    verdict.as_of[view.name] = reading
    project.tell(f"parity of {view.name}: serving as of {reading}")
    project.places.scratch.mkdir(parents=True, exist_ok=True)
    served_file = project.places.scratch / f"parity-{view_table(view)}.parquet"
    count = _serve_all(project, view, done, keys, reading, served_file, verdict)
    project.tell(f"parity of {view.name}: comparing {count:,} keys with their events")
    frame = comparison.sides(
        project.spark,
        view,
        project.places.events(view.source.name),
        project.places.view(view_table(view)) if offline else None,
        served_file,
        only_served=count == keys,
    )
    wanted = Comparison(
        keys=tuple(view.entity.join_keys),
        shape=compared_shape(view),
        version=done[-1].events_version,
        covered=merged((p.start_us, p.end_us) for p in done) if offline else (),
    )
    accepted = sum(landing.accepted for landing in project.landings(view.source.name).all())
    compare_sides(verdict, view, frame, wanted, 2 * accepted)
    verdict.keys = max(verdict.keys, count)
    served_file.unlink(missing_ok=True)


def compared_shape(view: FeatureView) -> Shape:
    """Say what independent code computes of a view."""
    scales = {
        name: decimal_scale(kind) for name, kind in needed_columns(view).items() if is_decimal(kind)
    }
    most_rows = view.max_events_per_key if view.hop_us is None else None
    return Shape(view_features(view), scales, view.hop_us, view.ttl_us, most_rows)


def _serve_all(
    project: Project,
    view: FeatureView,
    done: Sequence[Publication],
    keys: int | None,
    reading: Reading,
    out: Path,
    verdict: Verdict,
) -> int:
    """Serve the keys and write what was stored and served to a Parquet file; give how many."""
    schema = served_schema(view)
    path = project.places.events(view.source.name)
    chosen = comparison.keys_of(project.spark, path, view, done[-1].events_version, keys)
    count = 0
    with pq.ParquetWriter(out, schema) as writer:
        for group in _grouped(chosen, _KEYS_PER_ROUND):
            count += len(group)
            rows = served_rows(project, view, group, reading.at_us)
            served = sum("problem" not in row for row in rows)
            verdict.served_cells += served * len(stored_features(view))
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        # Fewer keys than asked for are all that there are, so what else is online is one too many.
        if count != keys:
            extra = _unknown_keys(project, view, done[-1].events_version)
            writer.write_table(pa.Table.from_pylist(extra, schema=schema))
    return count


def _grouped(keys: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    group: list[tuple[Any, ...]] = []
    for key in keys:
        group.append(key)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def served_schema(view: FeatureView) -> pa.Schema:
    """Give the columns of ``served_rows``."""
    columns = [(name, arrow_types.arrow_type(k)) for name, k in view.entity.join_keys.items()]
    columns += [(name, pa.int64()) for name in ("event_us", "known_us", "version", "as_of_us")]
    columns += [("is_valid", pa.bool_()), ("problem", pa.string())]
    for feature in view_features(view):
        kind = arrow_types.arrow_type(feature.type)
        columns += [(f"f_{feature.name}", kind), (f"s_{feature.name}", kind)]
        columns.append((f"t_{feature.name}", pa.string()))
    return pa.schema(columns)


def served_rows(
    project: Project, view: FeatureView, keys: list[tuple[Any, ...]], as_of_us: int
) -> list[dict[str, Any]]:
    """Read what is stored and served of keys, one row each, as a comparison takes it."""
    try:
        return _serve(project, view, keys, as_of_us)
    except TwinlakeError as error:
        if len(keys) == 1:
            problem = error.message.splitlines()[0]
            return [_without_values(view, keys[0], as_of_us, problem)]
    # One damaged row must not hide the others: read them one by one.
    return [row for key in keys for row in served_rows(project, view, [key], as_of_us)]


def _serve(
    project: Project, view: FeatureView, keys: list[tuple[Any, ...]], as_of_us: int
) -> list[dict[str, Any]]:
    served = serve(project.store, online_table(view), view, keys, as_of_us, columns=False)
    rows = []
    for key, stored, answers, version in zip(
        keys, served.stored, served.rows, served.versions, strict=True
    ):
        if stored is None:
            rows.append(_without_values(view, key, as_of_us, "no row online"))
            continue
        row: dict[str, Any] = dict(zip(view.entity.join_keys, key, strict=True))
        row |= {"event_us": stored.event_us, "known_us": stored.known_us}
        row |= {"version": version, "as_of_us": as_of_us}
        row["is_valid"] = has_valid_columns(view, stored, as_of_us)
        for feature, value in zip(stored_features(view), stored.values, strict=True):
            answer = answers[feature.name]
            row |= {
                f"f_{feature.name}": answer.value,
                f"s_{feature.name}": value,
                f"t_{feature.name}": answer.status,
            }
        rows.append(row)
    return rows


def _without_values(
    view: FeatureView, key: tuple[Any, ...], as_of_us: int, problem: str
) -> dict[str, Any]:
    """Give the row of a key that has no values to compare, and say why."""
    row: dict[str, Any] = dict(zip(view.entity.join_keys, key, strict=True))
    return row | {"as_of_us": as_of_us, "version": 0, "problem": problem}


def _unknown_keys(project: Project, view: FeatureView, version: int) -> list[dict[str, Any]]:
    """Find online rows whose key has no event; few, unless something is very wrong."""
    path = project.places.events(view.source.name)
    known = set(comparison.keys_of(project.spark, path, view, version, None))
    return [
        _without_values(view, row.key, row.event_us, "its key has no event")
        for row in project.store.scan(online_table(view))
        if row.key not in known
    ]


def compare_sides(
    verdict: Verdict, view: FeatureView, frame: DataFrame, wanted: Comparison, rows: int
) -> None:
    """Compare what ``comparison.sides`` gave, about so many rows, and add it to a verdict."""

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return compare(batches, wanted)

    for report in comparison.run(frame, wanted.keys, rows, of_part, REPORT_SCHEMA):
        if report["key"] is not None:
            verdict.differences.append(
                Difference(
                    view.name,
                    report["check"],
                    report["key"],
                    report["feature"],
                    report["at_us"],
                    report["expected"],
                    report["found"],
                )
            )
            continue
        counts = Tally(report["rows"], report["cells"], report["nulls"], report["mismatches"])
        verdict.tallies.setdefault(report["check"], Tally()).add(counts)


def events_behind(project: Project, difference: Difference) -> list[dict[str, Any]]:
    """Give the newest events of a key that may have to do with a difference, newest first."""
    view = project.view(difference.view)
    path = project.places.events(view.source.name)
    reach_us = ViewShape.of(view).reach_us
    at_us = difference.at_us
    key = json.loads(difference.key)
    return comparison.events_behind(project.spark, path, view, key, at_us, reach_us, _EVENTS_SHOWN)
