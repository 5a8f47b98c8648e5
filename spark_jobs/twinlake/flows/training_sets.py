"""Build training sets, each with the receipt that reproduces it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from twinlake.crash_points import reached
from twinlake.definitions.fingerprints import service_fingerprint
from twinlake.definitions.resolution import request_types
from twinlake.definitions.services import FeatureService
from twinlake.definitions.times import format_instant, to_datetime
from twinlake.errors import InputError, StateError
from twinlake.flows import on_demand
from twinlake.flows.landing import require_whole
from twinlake.flows.project import Project
from twinlake.kernel.on_demand import Computation
from twinlake.lake import events, feature_rows, point_in_time, spines, tables, training_tables
from twinlake.lake.on_demand import add_on_demand
from twinlake.models.content import PartialHash, combine, digest, partial_hash
from twinlake.models.receipts import Receipt, SpinePin, TablePin

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CODE_VERSION = "0.1.0"
_ID_DIGITS = 12


@dataclass(frozen=True)
class TrainingSet:
    """A training set that is there.

    Attributes:
        name: Its name; the same inputs give the same name.
        path: Its Delta table.
        version: The table's version.
        table_id: The table's identifier.
        receipt: What reproduces it.
        built: Whether it was built now; False when it was there already.
    """

    name: str
    path: Path
    version: int
    table_id: str
    receipt: Receipt
    built: bool

    @property
    def pin(self) -> TablePin:
        """The table, pinned, for what is trained on it."""
        return TablePin(self.name, str(self.path), self.table_id, self.version)


def build(project: Project, service_name: str, spine_path: Path) -> TrainingSet:
    """Join a spine to a service's features, point in time, and write the result with a receipt.

    The same spine, definitions and events give the same training set, which is then not built
    again.

    Raises:
        InputError: The spine does not fit the service.
        StateError: Nothing was landed of a source.
    """
    service = project.service(service_name)
    pins = [_pin(project, name) for name in _sources(service)]
    functions = on_demand.computations(project, service)
    fields = request_types(service.request_fields())
    spine = spines.read_spine(project.spark, spine_path, _keys(service), fields)
    _refuse_clashes(service, spine, spine_path)
    spine_hash = _content(spine, spine.columns)
    spine_pin = SpinePin(str(spine_path), spine_hash[0], spine_hash[1])
    name = f"{service.name}__{_identity(service, spine_pin, pins)}"
    path = project.places.training_set(name)
    with project.places.exclusively("builder", name):
        receipt = find_receipt(project, name)
        built = receipt is None
        if receipt is None:
            project.tell(f"building training set {name}: {spine_pin.rows:,} rows")
            joining = _Joining(service, functions, tuple(pins))
            receipt = _build(project, joining, spine, name, spine_pin)
    _tell_of_strangers(project, service, receipt, spine)
    commit = tables.last_commit(project.spark, path)
    return TrainingSet(
        name, path, commit.version, tables.table_id(project.spark, path), receipt, built
    )


def _tell_of_strangers(
    project: Project, service: FeatureService, receipt: Receipt, spine: DataFrame
) -> None:
    """Say of which views no row of the spine found anything: legal, but hardly what was meant."""
    for view, names in service.selections():
        if receipt.statuses[names[0]].get("missing", 0) < receipt.rows:
            continue
        source = view.source
        start_us = events.first_us(project.spark, project.places.events(source.name), source)
        end_us = spines.last_us(spine)
        if start_us is None:
            reason = f"source {source.name} has no accepted row"
        elif end_us < start_us:
            reason = (
                f"they end at {format_instant(end_us)}, the first event of source {source.name} "
                f"is of {format_instant(start_us)}"
            )
        else:
            reason = "none of their keys was seen before them"
        project.tell(f"view {view.name} has a row for none of the spine's rows: {reason}")


def find_receipt(project: Project, name: str) -> Receipt | None:
    """Give the receipt of a training set; None when there is none."""
    file = project.places.receipts / f"{name}.json"
    if not file.is_file():
        return None
    return Receipt.from_json(file.read_text(encoding="utf-8"))


def names(project: Project) -> list[str]:
    """Name all training sets that have a receipt, oldest first."""
    folder = project.places.receipts
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    receipts = [Receipt.from_json(file.read_text(encoding="utf-8")) for file in files]
    return [receipt.training_set for receipt in sorted(receipts, key=lambda r: r.created_at)]


def write_out(project: Project, training_set: TrainingSet, out: Path) -> None:
    """Write a training set to one Parquet file."""
    table = training_tables.read_arrow(project.spark, training_set.path, training_set.version)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, out)
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}", hint="choose another --out"
        ) from error


@dataclass(frozen=True)
class _Joining:
    """What is joined to a spine: a service, its functions, and the events tables as pinned."""

    service: FeatureService
    functions: Sequence[Computation]
    pins: tuple[TablePin, ...]


def _build(
    project: Project, joining: _Joining, spine: DataFrame, name: str, spine_pin: SpinePin
) -> Receipt:
    service, pins = joining.service, joining.pins
    path = project.places.training_set(name)
    versions = {pin.name: pin.sequence or 0 for pin in pins}
    taken = [
        point_in_time.Taken(
            view, names, project.places.events(view.source.name), versions[view.source.name]
        )
        for view, names in service.needed()
    ]
    landed = sum(landing.accepted for pin in pins for landing in project.landings(pin.name).all())
    parts = feature_rows.parts_for(
        landed + spine_pin.rows, project.spark.sparkContext.defaultParallelism
    )
    reached("training_set.begun")
    with tempfile.TemporaryDirectory(dir=project.places.new_scratch()) as scratch:
        asked = point_in_time.Spine(spine, spine_pin.rows)
        joined = point_in_time.join(project.spark, asked, taken, parts, Path(scratch))
        named_by = [*_keys(service), point_in_time.EVENT_TIMESTAMP]
        joined = add_on_demand(joined, joining.functions, named_by)
        joined = joined.select(*map(tables.quoted, _columns(service, spine)))
        training_tables.write(project.spark, joined, path, {"training_set": name})
    reached("training_set.committed")
    version = tables.last_commit(project.spark, path).version
    frame = tables.read(project.spark, path, version)
    features = {view.name: names for view, names in service.selections()}
    computed = [name for name in service.feature_names() if name not in _flat(features)]
    rows, counted = training_tables.status_counts(frame, features, computed)
    statuses = {name: counted[name] for name in service.feature_names()}
    if rows != spine_pin.rows:
        raise StateError(f"the spine has {spine_pin.rows:,} rows, the training set {rows:,}")
    content, _ = _content(frame, frame.columns)
    receipt = Receipt(
        training_set=name,
        service=service.name,
        definition=service_fingerprint(service),
        tables=tuple(pins),
        spine=spine_pin,
        columns=tuple(frame.columns),
        content=content,
        rows=rows,
        statuses=statuses,
        code_version=CODE_VERSION,
        created_at=to_datetime(project.now_us()),
    )
    reached("training_set.counted")
    project.places.receipts.mkdir(parents=True, exist_ok=True)
    file = project.places.receipts / f"{name}.json"
    part = file.with_suffix(".part")
    part.write_text(receipt.to_json(), encoding="utf-8")
    reached("training_set.receipt_written_aside")
    part.replace(file)
    reached("training_set.receipt_written")
    return receipt


def _pin(project: Project, source: str) -> TablePin:
    # A marker brings no row: what is built after it is what was built before.
    landings = project.landings(source).batches()
    if not landings:
        raise StateError.nothing_landed(source)
    path = project.places.events(source)
    return TablePin(
        source,
        str(path),
        tables.table_id(project.spark, path),
        require_whole(project, source).version,
        landings[-1].version,
    )


def _content(frame: DataFrame, columns: Sequence[str]) -> tuple[str, int]:
    """Give a frame's order-free content hash and its rows."""
    listed = list(columns)
    parts = training_tables.part_hashes(frame, lambda batch: partial_hash(batch, listed).pack())
    total = combine(PartialHash.unpack(part) for part in parts)
    return digest(total, listed), total.rows


def _identity(service: FeatureService, spine: SpinePin, pins: Sequence[TablePin]) -> str:
    document = {
        "service": service_fingerprint(service),
        "spine": spine.fingerprint,
        "tables": [[pin.name, pin.table_id, pin.sequence] for pin in pins],
    }
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]


def _columns(service: FeatureService, spine: DataFrame) -> list[str]:
    """Name a training set's columns; what is only read on demand is left out."""
    taken = {view.name for view, _ in service.selections()}
    marks = [
        field.name
        for view, names in service.needed()
        if view.name in taken
        for field in point_in_time.marks(view, names)
    ]
    return [*spine.columns, *service.feature_names(), *marks]


def _flat(features: Mapping[str, Sequence[str]]) -> set[str]:
    return {name for names in features.values() for name in names}


def _sources(service: FeatureService) -> list[str]:
    return list(dict.fromkeys(view.source.name for view, _ in service.needed()))


def _keys(service: FeatureService) -> dict[str, str]:
    keys: dict[str, str] = {}
    for view, _ in service.needed():
        keys |= point_in_time.key_types(view)
    return keys


def _refuse_clashes(service: FeatureService, spine: DataFrame, path: Path) -> None:
    made = {name for _, names in service.needed() for name in names} | set(service.feature_names())
    for view, names in service.needed():
        made |= {field.name for field in point_in_time.marks(view, names)}
    # Spark does not tell upper from lower case in column names.
    clashes = sorted(name for name in spine.columns if name.lower() in made)
    if clashes:
        raise InputError(
            f"the spine {path} has columns that the service makes itself: {', '.join(clashes)}",
            hint="rename or drop them in the spine",
        )
