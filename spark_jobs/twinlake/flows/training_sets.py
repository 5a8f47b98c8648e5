"""Build training sets, each with the receipt that reproduces it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twinlake.crash_points import reached
from twinlake.definitions.fingerprints import service_fingerprint
from twinlake.definitions.resolution import request_types
from twinlake.definitions.services import FeatureService
from twinlake.definitions.times import format_instant, to_datetime
from twinlake.errors import InputError, StateError
from twinlake.flows import on_demand
from twinlake.flows.catalogue import erasure_text, read_receipt, receipts
from twinlake.flows.landing import require_whole
from twinlake.flows.project import Project
from twinlake.kernel.on_demand import Computation
from twinlake.lake import events, feature_rows, point_in_time, spines, tables, training_tables
from twinlake.lake.on_demand import add_on_demand
from twinlake.models.content import PartialHash, combine, digest, partial_hash
from twinlake.models.receipts import RECEIPT_TAG, Receipt, SpinePin, TablePin
from twinlake.registry.erasures import drop_erasure
from twinlake.registry.identity import ensure_state_id
from twinlake.version import code_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

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
    pinned = spines.pin(project.spark, spine_path)
    spine = read_spine(project, service, spine_path, pinned[1])
    fingerprint, rows = content_of(spine, spine.columns)
    spine_pin = SpinePin(str(spine_path.resolve()), fingerprint, rows, *pinned)
    name = f"{service.name}__{_identity(service, spine_pin, pins)}"
    path = project.places.training_set(name)
    with project.places.exclusively("builder", name):
        receipt = find_receipt(project, name)
        built = receipt is None
        if receipt is None:
            project.tell(f"building training set {name}: {spine_pin.rows:,} rows")
            joining = Joining(service, functions, tuple(pins))
            receipt = _build(project, joining, spine, name, spine_pin)
    if (erased := erasure_text(project, name)) is not None:
        project.tell(f"training set {name} is not as it was built any more: {erased}")
    _tell_of_strangers(project, service, receipt, spine)
    version = tables.newest_version(project.spark, path)
    return TrainingSet(name, path, version, tables.table_id(project.spark, path), receipt, built)


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
    """Give the receipt of a training set; None when there is none.

    Raises:
        StateError: What lies there is of another training set, or of another project.
    """
    file = project.places.receipts / f"{name}.json"
    return read_receipt(project, file) if file.is_file() else None


def names(project: Project) -> list[str]:
    """Name all training sets that have a receipt, oldest first."""
    return [receipt.training_set for receipt in receipts(project)]


def read_spine(
    project: Project, service: FeatureService, path: Path, version: int | None
) -> DataFrame:
    """Read a spine as a service wants it.

    Args:
        project: The project.
        service: What it is joined to.
        path: Where it lies.
        version: Of a Delta table, the version to read.

    Raises:
        InputError: It does not fit the service.
    """
    fields = request_types(service.request_fields())
    spine = spines.read_spine(project.spark, path, _keys(service), fields, version)
    _refuse_clashes(service, spine, path)
    return spine


def write_out(project: Project, training_set: TrainingSet, out: Path) -> None:
    """Write a training set to one Parquet file."""
    frame = tables.read(project.spark, training_set.path, training_set.version)
    training_tables.write_parquet(frame, out)


@dataclass(frozen=True)
class Joining:
    """What is joined to a spine: a service, its functions, and the events tables as pinned."""

    service: FeatureService
    functions: Sequence[Computation]
    pins: tuple[TablePin, ...]


@dataclass(frozen=True)
class Measured:
    """What a training set comes to: its content hash, rows, and statuses by feature."""

    content: str
    rows: int
    statuses: Mapping[str, Mapping[str, int]]


def write_joined(
    project: Project, joining: Joining, spine: point_in_time.Spine, path: Path, name: str
) -> DataFrame:
    """Join a spine and write what comes out as a new Delta table; read that back."""
    service, pins = joining.service, joining.pins
    versions = {pin.name: pin.sequence or 0 for pin in pins}
    taken = [
        point_in_time.Taken(
            view, names, project.places.events(view.source.name), versions[view.source.name]
        )
        for view, names in service.needed()
    ]
    landed = sum(landing.accepted for pin in pins for landing in project.landings(pin.name).all())
    parts = feature_rows.parts_for(
        landed + spine.rows, project.spark.sparkContext.defaultParallelism
    )
    with tempfile.TemporaryDirectory(dir=project.places.new_scratch()) as scratch:
        joined = point_in_time.join(project.spark, spine, taken, parts, Path(scratch))
        named_by = [*_keys(service), point_in_time.EVENT_TIMESTAMP]
        joined = add_on_demand(joined, joining.functions, named_by)
        joined = joined.select(*map(tables.quoted, _columns(service, spine.frame)))
        training_tables.write(project.spark, joined, path, {"training_set": name})
    version = tables.newest_version(project.spark, path)
    return tables.read(project.spark, path, version)


def measure(service: FeatureService, frame: DataFrame) -> Measured:
    """Count and hash what was joined."""
    features = {view.name: names for view, names in service.selections()}
    computed = [name for name in service.feature_names() if name not in _flat(features)]
    taken = training_tables.Taken(features, computed)
    columns = list(frame.columns)
    parts, counted = training_tables.measure(
        frame, taken, lambda batch: partial_hash(batch, columns).pack()
    )
    total = combine(PartialHash.unpack(part) for part in parts)
    statuses = {name: counted[name] for name in service.feature_names()}
    return Measured(digest(total, columns), total.rows, statuses)


def _build(
    project: Project, joining: Joining, spine: DataFrame, name: str, spine_pin: SpinePin
) -> Receipt:
    path = project.places.training_set(name)
    reached("training_set.begun")
    asked = point_in_time.Spine(spine, spine_pin.rows)
    frame = write_joined(project, joining, asked, path, name)
    reached("training_set.committed")
    found = measure(joining.service, frame)
    if found.rows != spine_pin.rows:
        raise StateError(f"the spine has {spine_pin.rows:,} rows, the training set {found.rows:,}")
    receipt = Receipt(
        training_set=name,
        service=joining.service.name,
        definition=service_fingerprint(joining.service),
        tables=joining.pins,
        spine=spine_pin,
        columns=tuple(frame.columns),
        content=found.content,
        rows=found.rows,
        statuses=found.statuses,
        code_version=code_version(),
        created_at=to_datetime(project.now_us()),
        state=ensure_state_id(project.settings.state),
    )
    reached("training_set.counted")
    # Before the receipt is there: with it nothing of this is done again.
    tables.set_property(project.spark, path, RECEIPT_TAG, receipt.digest())
    reached("training_set.table_marked")
    project.places.receipts.mkdir(parents=True, exist_ok=True)
    drop_erasure(project.places.receipts, name)
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


def content_of(frame: DataFrame, columns: Sequence[str]) -> tuple[str, int]:
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
