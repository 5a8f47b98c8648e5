"""Compare two training sets: their rows, their cells, and what they were made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinlake.definitions.fingerprints import on_demand_fingerprint, view_fingerprint
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.services import FeatureService
from twinlake.flows import catalogue
from twinlake.flows.project import Project
from twinlake.kernel.multisets import Example
from twinlake.lake import differences, feature_rows, tables
from twinlake.lake.differences import Differences
from twinlake.models.content import row_hashes
from twinlake.models.receipts import Receipt, TablePin

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# As many rows are shown of each kind.
EXAMPLES = 5
# What is guessed of two tables of which nothing is known: one part for each core.
_FEW_ROWS = 1


@dataclass(frozen=True)
class Origin:
    """One thing that two training sets were not made from alike."""

    what: str
    a: Any
    b: Any


@dataclass(frozen=True)
class RowShown:
    """A row as an example.

    Attributes:
        times: How many rows there are of it.
        row: Its spine columns.
        cells: Of a row in both, the cells that differ: column to the two values.
    """

    times: int
    row: Mapping[str, Any]
    cells: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Compared:
    """How two training sets differ.

    Attributes:
        a, b: Their receipts.
        identity: The spine columns by which a row of one is a row of the other.
        columns_only_a, columns_only_b: Columns that one of them alone has.
        types: Columns of two types: name to both.
        found: Rows and cells.
        only_a, only_b, unequal: Some rows of one alone, and some whose cells differ.
        origins: What they were not made from alike.
    """

    a: Receipt
    b: Receipt
    identity: Sequence[str]
    columns_only_a: Sequence[str]
    columns_only_b: Sequence[str]
    types: Mapping[str, tuple[str, str]]
    found: Differences
    only_a: Sequence[RowShown]
    only_b: Sequence[RowShown]
    unequal: Sequence[RowShown]
    origins: Sequence[Origin]

    @property
    def same_content(self) -> bool:
        """Whether they hold the same columns, rows and cells."""
        lists = (self.columns_only_a, self.columns_only_b, self.types)
        rows = self.found.only_a + self.found.only_b + self.found.met - self.found.equal
        return not any(lists) and not rows

    @property
    def same(self) -> bool:
        """Whether they do not differ, neither in content nor in what they were made from."""
        return self.same_content and not self.origins


def compare(project: Project, name_a: str, name_b: str) -> Compared:
    """Compare two training sets, row by row.

    Rows are known by the spine columns that both have, and counted: a row that stands twice in one
    and once in the other is there once in one alone.

    Raises:
        InputError: There is no such training set.
        StateError: A receipt is of another project, or a table cannot be read.
    """
    a, b = (catalogue.require_receipt(project, name) for name in (name_a, name_b))
    project.tell(f"comparing {a.rows:,} rows with {b.rows:,}")
    with tables.reading(f"training sets {name_a} and {name_b}"):
        return _compare(project, a, b)


def _compare(project: Project, a: Receipt, b: Receipt) -> Compared:
    frame_a, frame_b = (
        tables.read(project.spark, project.places.training_set(r.training_set)) for r in (a, b)
    )
    theirs = {*b.spine_columns()}
    identity = [name for name in a.spine_columns() if name in theirs]
    found = compare_frames(frame_a, frame_b, identity, a.rows + b.rows)
    of_a = differences.rows_of(
        frame_a, identity, [*found.first_only_a, *found.first_unequal], row_hashes
    )
    of_b = differences.rows_of(
        frame_b, identity, [*found.first_only_b, *found.first_unequal], row_hashes
    )
    types_a, types_b = dict(frame_a.dtypes), dict(frame_b.dtypes)
    return Compared(
        a=a,
        b=b,
        identity=identity,
        columns_only_a=[name for name in a.columns if name not in types_b],
        columns_only_b=[name for name in b.columns if name not in types_a],
        types={
            name: (kind, types_b[name])
            for name, kind in types_a.items()
            if types_b.get(name, kind) != kind
        },
        found=found,
        only_a=[_shown(one, identity, of_a[one][0]) for one in found.first_only_a],
        only_b=[_shown(one, identity, of_b[one][0]) for one in found.first_only_b],
        unequal=[
            _shown(one, identity, *_pair(of_a[one], of_b[one])) for one in found.first_unequal
        ],
        origins=_origins(project, a, b),
    )


def compare_frames(
    a: DataFrame, b: DataFrame, identity: Sequence[str], rows: int = _FEW_ROWS
) -> Differences:
    """Compare all columns that two tables have in common, beside those that name a row."""
    theirs = {*b.columns} - {*identity}
    columns = [name for name in a.columns if name in theirs]
    parts = feature_rows.parts_for(rows, a.sparkSession.sparkContext.defaultParallelism)
    return differences.compare(a, b, identity, columns, row_hashes, parts=parts, examples=EXAMPLES)


def _shown(
    one: Example,
    identity: Sequence[str],
    row: Mapping[str, Any],
    other: Mapping[str, Any] | None = None,
) -> RowShown:
    cells = {}
    if other is not None:
        both = [name for name in row if name in other and name not in identity]
        cells = {n: (row[n], other[n]) for n in both if not _is_same(row[n], other[n])}
    return RowShown(one.times, {name: row[name] for name in identity}, cells)


def _pair(of_a: list[dict[str, Any]], of_b: list[dict[str, Any]]) -> tuple[Any, Any]:
    """Choose a row of each that the other table has not; where a spine row is once, they are it."""
    missing_a = [row for row in of_a if row not in of_b] or of_a
    missing_b = [row for row in of_b if row not in of_a] or of_b
    return missing_a[0], missing_b[0]


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401 (cells of any type)
    # Of all values NaN alone is not itself.
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124


def _origins(project: Project, a: Receipt, b: Receipt) -> list[Origin]:
    """Tell what two training sets were not made from alike."""
    pairs = [
        ("service", a.service, b.service),
        ("definition", a.definition, b.definition),
        *_views(project, a, b),
        ("code version", a.code_version, b.code_version),
        ("spine path", a.spine.path, b.spine.path),
        ("spine fingerprint", a.spine.fingerprint, b.spine.fingerprint),
        ("spine table", a.spine.table_id, b.spine.table_id),
        ("spine version", a.spine.version, b.spine.version),
    ]
    of_a, of_b = ({pin.name: pin for pin in receipt.tables} for receipt in (a, b))
    for name in sorted({*of_a, *of_b}):
        pairs += _pins(name, of_a.get(name), of_b.get(name))
    return [Origin(what, one, other) for what, one, other in pairs if one != other]


def _pins(name: str, a: TablePin | None, b: TablePin | None) -> list[tuple[str, Any, Any]]:
    if a is None or b is None:
        return [(f"events {name}", "read" if a else None, "read" if b else None)]
    return [
        (f"events {name}, table", a.table_id, b.table_id),
        (f"events {name}, version", a.version, b.version),
        (f"events {name}, sequence", a.sequence, b.sequence),
    ]


def _views(project: Project, a: Receipt, b: Receipt) -> list[tuple[str, Any, Any]]:
    """Give the fingerprint of each view, where it is still known what the services meant."""
    if a.definition == b.definition:
        return []
    found = [catalogue.find_definition(project, receipt) for receipt in (a, b)]
    if found[0] is None or found[1] is None:
        return []
    of_a, of_b = (_meanings(service) for service, _ in (found[0], found[1]))
    return [(f"view {name}", of_a.get(name), of_b.get(name)) for name in sorted({*of_a, *of_b})]


def _meanings(service: FeatureService) -> dict[str, str]:
    meanings = {view.name: view_fingerprint(view) for view, _ in service.needed()}
    for view, _ in service.parts():
        if isinstance(view, OnDemandView):
            meanings[view.name] = on_demand_fingerprint(view)
    return meanings
