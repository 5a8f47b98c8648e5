"""Rebuild a training set from its receipt alone, and say whether it comes out the same: law 8.

Everything that the receipt pins is looked for first: the definition in what was ever applied, the
functions in features.py, the events tables, the spine. What is there is joined once more, beside
the original, which is only read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from twinlake.definitions.fingerprints import on_demand_fingerprint, on_demand_meaning
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.services import FeatureService
from twinlake.errors import InputError, StateError
from twinlake.flows import catalogue, comparing, training_sets
from twinlake.flows.landing import require_whole
from twinlake.flows.project import Project
from twinlake.kernel.on_demand import Computation
from twinlake.lake import point_in_time, tables, training_tables
from twinlake.models.receipts import RECEIPT_TAG, Receipt, SpinePin, TablePin
from twinlake.version import code_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SAME, DIFFERS, GONE, ERASED = "same", "differs", "gone", "erased"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the receipt says.

    Attributes:
        what: Which: ``spine``, ``events SOURCE``, ``definition``, ``on-demand view NAME``,
            ``stored training set`` or ``rebuilt training set``.
        verdict: ``gone``: it is not there any more; ``differs``: another one is in its place;
            ``erased``: a key was forgotten that it held.
        told: What was found, and what the receipt says.
        cells: By column, how many cells of the rebuilt training set differ from the stored one.
    """

    what: str
    verdict: str
    told: str
    cells: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild came to.

    Attributes:
        receipt: What it was rebuilt from.
        findings: What is not as the receipt says.
        definition_number: Under which number the definition was applied; None where it never was.
        content: The content hash of what was rebuilt; None where something that it takes is gone.
        rows: How many rows came out.
        statuses: Per feature, how many of them have each status.
        code_version: The code that rebuilt it.
    """

    receipt: Receipt
    findings: Sequence[Finding]
    definition_number: int | None
    content: str | None
    rows: int | None
    statuses: Mapping[str, Mapping[str, int]]
    code_version: str

    @property
    def verdict(self) -> str:
        """``same``, or the worst of what was found: ``erased``, ``gone``, ``differs``."""
        found = {finding.verdict for finding in self.findings}
        return next((verdict for verdict in (ERASED, GONE, DIFFERS) if verdict in found), SAME)


@dataclass(frozen=True)
class _Inputs:
    """What a receipt pins, as far as it is there."""

    service: FeatureService
    functions: Sequence[Computation]
    spine: DataFrame


def rebuild(project: Project, name: str, out: Path | None = None) -> Rebuilt:
    """Build a training set once more from its receipt, in a folder of its own, and compare.

    Args:
        project: The project.
        name: The training set.
        out: Also write what was rebuilt to one Parquet file; it must not be there yet.

    Raises:
        InputError: There is no such training set, or ``out`` is there.
        StateError: Its receipt is of another project.
    """
    receipt = catalogue.require_receipt(project, name)
    if out is not None and out.exists():
        raise InputError(f"{out} is there already", hint="choose another --out")
    found = catalogue.find_definition(project, receipt)
    service, number = (None, None) if found is None else found
    if (erased := catalogue.erasure_text(project, name)) is not None:
        findings = [Finding("training set", ERASED, erased)]
        return Rebuilt(receipt, findings, number, None, None, {}, code_version())
    inputs, findings = _look_for(project, receipt, service)
    stored, of_stored = _stored(project, receipt)
    findings += of_stored
    if inputs is None:
        return Rebuilt(receipt, findings, number, None, None, {}, code_version())
    project.tell(f"rebuilding training set {name}: {receipt.rows:,} rows")
    with project.places.sandbox("rebuild") as folder:
        joining = training_sets.Joining(inputs.service, inputs.functions, receipt.tables)
        asked = point_in_time.Spine(inputs.spine, receipt.spine.rows)
        frame = training_sets.write_joined(project, joining, asked, folder / name, name)
        measured = training_sets.measure(inputs.service, frame)
        findings += _compared(receipt, measured, stored, frame)
        if out is not None:
            training_tables.write_parquet(frame, out)
    return Rebuilt(
        receipt,
        findings,
        number,
        measured.content,
        measured.rows,
        measured.statuses,
        code_version(),
    )


def _look_for(
    project: Project, receipt: Receipt, service: FeatureService | None
) -> tuple[_Inputs | None, list[Finding]]:
    """Look for everything that a rebuild takes; name all that is not there at once."""
    findings = [one for pin in receipt.tables if (one := _events_finding(project, pin))]
    if service is None:
        told = f"no definition with fingerprint {receipt.definition} was ever applied here"
        return None, [Finding("definition", GONE, told), *findings]
    findings += _function_findings(project, service)
    spine = _spine(project, service, receipt.spine)
    if isinstance(spine, Finding):
        return None, [*findings, spine]
    if findings:
        return None, findings
    functions = [Computation.of(project.definitions.on_demand[v.name]) for v in service.on_demand()]
    return _Inputs(service, functions, spine), []


def _events_finding(project: Project, pin: TablePin) -> Finding | None:
    """Tell what is wrong with an events table that was read; rows that came since are none."""
    what, path = f"events {pin.name}", project.places.events(pin.name)
    if not tables.exists(path):
        return Finding(what, GONE, f"there is no events table of source {pin.name} at {path}")
    found = tables.table_id(project.spark, path)
    if found != pin.table_id:
        told = f"the events table {path} was dropped and made anew: its id is {found}, the receipt"
        return Finding(what, GONE, f"{told} read table {pin.table_id}")
    newest = project.landings(pin.name).newest_version()
    if newest < (pin.sequence or 0):
        told = f"batches of source {pin.name} are known up to {newest}, the receipt read rows up to"
        return Finding(what, GONE, f"{told} {pin.sequence}")
    try:
        with tables.reading(f"the events table {path}"):
            require_whole(project, pin.name)
    except StateError as error:
        return Finding(what, GONE, error.message)
    return None


def _function_findings(project: Project, service: FeatureService) -> list[Finding]:
    """Tell which functions of features.py are not the ones that the definition means."""
    findings = []
    for meant in service.on_demand():
        what = f"on-demand view {meant.name}"
        defined = project.definitions.on_demand.get(meant.name)
        if defined is None:
            told = f"features.py defines no {what}; service {service.name} of the receipt takes it"
            findings.append(Finding(what, GONE, told))
        elif on_demand_fingerprint(defined) != on_demand_fingerprint(meant):
            parts = ", ".join(_differing_parts(defined, meant))
            told = f"features.py defines another one than the receipt's: its {parts} differs"
            findings.append(Finding(what, DIFFERS, told))
    return findings


def _differing_parts(one: OnDemandView, other: OnDemandView) -> list[str]:
    """Name what two on-demand views differ in; of the code, the functions and constants."""
    meaning, others = on_demand_meaning(one), on_demand_meaning(other)
    parts = [part for part in ("inputs", "outputs", "nulls") if meaning[part] != others[part]]
    (name, code), (other_name, other_code) = meaning["function"], others["function"]
    parts += ["function's name"] if name != other_name else []
    names = sorted({*code, *other_code})
    return parts + [f"code of {name}" for name in names if code.get(name) != other_code.get(name)]


def _spine(project: Project, service: FeatureService, pin: SpinePin) -> DataFrame | Finding:
    """Read the spine of a receipt, if it is the one that was read."""
    path = Path(pin.path)
    # Spines from memory lie in the state folder, which may have been moved since.
    kept = project.places.spines / path.name
    path = kept if not path.exists() and kept.exists() else path
    if not path.exists():
        return Finding("spine", GONE, f"there is no spine at {path} any more")
    if pin.version is not None and (lost := _lost_version(project, path, pin)):
        return Finding("spine", GONE, lost)
    if pin.version is None and tables.exists(path):
        told = f"{path} is a Delta table, the receipt read files there"
        return Finding("spine", DIFFERS, told)
    try:
        with tables.reading(f"the spine {path}"):
            spine = training_sets.read_spine(project, service, path, pin.version)
            fingerprint, rows = training_sets.content_of(spine, spine.columns)
    except (InputError, StateError) as error:
        return Finding("spine", DIFFERS, error.message)
    if fingerprint != pin.fingerprint:
        told = f"the spine {path} has other content: {rows:,} rows with fingerprint {fingerprint}"
        said = f"the receipt read {pin.rows:,} rows with {pin.fingerprint}"
        return Finding("spine", DIFFERS, f"{told}, {said}")
    return spine


def _lost_version(project: Project, path: Path, pin: SpinePin) -> str | None:
    """Tell why a spine that is a Delta table cannot be read as it was; None where it can."""
    named = f"version {pin.version} of the spine {path}"
    if not tables.exists(path):
        return f"{path} is no Delta table any more, the receipt read {named}"
    found = tables.table_id(project.spark, path)
    if found != pin.table_id:
        return (
            f"the spine {path} was dropped and made anew: its id is {found}, the receipt read "
            f"table {pin.table_id}"
        )
    try:
        lost = tables.lost_files(tables.read(project.spark, path, pin.version))
    except StateError as error:
        return f"{named} is not in its log any more: {error.message}"
    if lost:
        told = f"{len(lost):,} of its files are gone, the first is {lost[0].name}"
        return f"{named} was vacuumed: {told}"
    return None


def _stored(project: Project, receipt: Receipt) -> tuple[DataFrame | None, list[Finding]]:
    """Read the training set as it is stored, if it is what its receipt says."""
    what, path = "stored training set", project.places.training_set(receipt.training_set)
    if not tables.exists(path):
        return None, [Finding(what, GONE, f"there is no table at {path} any more")]
    try:
        with tables.reading(f"the training set {path}"):
            marked = tables.properties(project.spark, path).get(RECEIPT_TAG)
            frame = tables.read(project.spark, path)
            if lost := tables.lost_files(frame):
                told = f"{len(lost):,} of the files of {path} are gone, the first is {lost[0].name}"
                return None, [Finding(what, GONE, told)]
            content, rows = training_sets.content_of(frame, frame.columns)
    except StateError as error:
        return None, [Finding(what, DIFFERS, error.message)]
    findings = []
    if content != receipt.content:
        told = f"{path} holds {rows:,} rows with content {content}, the receipt says"
        findings.append(
            Finding(what, DIFFERS, f"{told} {receipt.rows:,} rows with {receipt.content}")
        )
    if marked is not None and marked != receipt.digest():
        told = f"{path} was written with receipt {marked}, this one is {receipt.digest()}"
        findings.append(Finding("receipt", DIFFERS, told))
    return (None if findings else frame), findings


def _compared(
    receipt: Receipt,
    measured: training_sets.Measured,
    stored: DataFrame | None,
    rebuilt: DataFrame,
) -> list[Finding]:
    """Compare what was rebuilt with what the receipt says, and where it differs with the rows."""
    if measured.content == receipt.content and measured.statuses == dict(receipt.statuses):
        return []
    parts = []
    if measured.content != receipt.content:
        parts.append(f"content {measured.content} instead of {receipt.content}")
    if measured.rows != receipt.rows:
        parts.append(f"{measured.rows:,} rows instead of {receipt.rows:,}")
    changed = [
        name for name, counts in measured.statuses.items() if counts != receipt.statuses.get(name)
    ]
    if changed:
        parts.append(f"other statuses of {', '.join(changed)}")
    if receipt.code_version != code_version():
        parts.append(f"built by code {receipt.code_version}, rebuilt by {code_version()}")
    cells: Mapping[str, int] = {}
    if stored is not None:
        found = comparing.compare_frames(stored, rebuilt, receipt.spine_columns())
        cells = {name: count for name, count in found.cells.items() if count}
    return [Finding("rebuilt training set", DIFFERS, "; ".join(parts), cells)]
