"""Loan approval from end to end: two entities, a training set with a receipt, a decision.

All applications are joined, as of their own moment, with what was known of the applicant and the
postal area; a leaderboard of models learns from the first four fifths of the time; the best decides
the original's application from the online store. Then the training set is built once more from its
receipt alone, and both stores are compared, cell by cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from examples.loan_approval.decision import APPLICANT, MODEL, decide
from examples.stages import Stages, rows_by_verdict
from twinlake.cli.checks import verdict_document
from twinlake.cli.training import leaderboard_document
from twinlake.definitions.times import to_datetime
from twinlake.errors import InputError
from twinlake.flows import (
    applying,
    checking,
    materializing,
    modelling,
    reading,
    rebuilding,
    training_sets,
)
from twinlake.flows.project import Project, online_table

SERVICE: Final = "loan_features"
SHORT_LIVED: Final = "loan_features_90d"
ZIPCODE: Final = 76104
# How many applications are read at once.
ROUND: Final = 2_000
AREA: Final = ("city", "state", "location_type", "tax_returns_filed", "population", "total_wages")


def run(project: Project) -> dict[str, Any]:
    """Run every stage and give the figures of the run."""
    stage = Stages(project)
    stage("start", lambda: project.spark)
    stage("apply", lambda: applying.apply(project))
    stage("materialize", lambda: materializing.materialize(project))
    loans = _loans(project)
    training_set = stage("training_set", lambda: training_sets.build(project, SERVICE, loans))
    board = stage("train", lambda: modelling.train_candidates(project, MODEL, training_set))
    decision = stage("decide", lambda: decide(project, APPLICANT))
    project.tell(decision.text())
    area = stage("get", lambda: _area(project))
    statuses = stage("statuses", lambda: _statuses(project, loans))
    rebuilt = stage("rebuild", lambda: rebuilding.rebuild(project, training_set.name))
    views = list(project.applied().definitions.views.values())
    verdict = stage("parity", lambda: checking.check_parity(project, views, None))
    parity = verdict_document(verdict)
    figures = {
        "example": "loan_approval",
        "rows": training_set.receipt.rows,
        "landed": {n: rows_by_verdict(project, n) for n in project.applied().definitions.sources},
        "online_rows": {v.name: project.store.count(online_table(v)) for v in views},
        "statuses": {n: dict(found) for n, found in training_set.receipt.statuses.items()},
        "statuses_at_clock": statuses,
        "zipcode": area,
        "leaderboard": leaderboard_document(board),
        **decision.document(),
        "training_set": training_set.name,
        "content": training_set.receipt.content,
        "rebuild": rebuilt.verdict,
        "parity": parity,
        "seconds": stage.seconds,
    }
    _summarize(project, figures)
    return figures


def _loans(project: Project) -> Path:
    """Find the applications: they lie beside the files of the sources, and are the spine."""
    [file] = project.input_files(project.definitions.sources["zipcodes"])
    shipped = Path(file.path).with_name("loan_applications.parquet")
    if not shipped.is_file():
        raise InputError(
            f"there is no {shipped}", hint="put the applications beside the postal areas"
        )
    return shipped


def _area(project: Project) -> dict[str, Any]:
    """Read one postal area online, as the original does."""
    view = project.view("zipcode_features")
    at_us = reading.clock_reading(project, view, None).at_us
    [row] = reading.read_view(project, view, [{"zipcode": ZIPCODE}], at_us).rows
    return {name: row[name].value for name in AREA}


def _statuses(project: Project, loans: Path) -> dict[str, Any]:
    """Count what became of every feature as of the project's clock, offline and online."""
    found = {}
    for service in (SERVICE, SHORT_LIVED):
        built = training_sets.build(project, service, _at_clock(project, service, loans))
        offline = {
            name: {status: rows for status, rows in counts.items() if rows}
            for name, counts in built.receipt.statuses.items()
        }
        online = _served(project, service, loans)
        found[service] = {"offline": offline, "online": online, "equal": offline == online}
    return found


def _at_clock(project: Project, service: str, loans: Path) -> Path:
    """Ask for all applications as of the moment that a read answers for."""
    view, _ = next(project.service(service).selections())
    at = to_datetime(reading.clock_reading(project, view, None).at_us)
    table = pq.read_table(loans)
    place = table.column_names.index("event_timestamp")
    moments = pa.array([at] * len(table), pa.timestamp("us", "UTC"))
    spine = project.settings.state / "loans_at_clock.parquet"
    pq.write_table(table.set_column(place, "event_timestamp", moments), spine)
    return spine


def _served(project: Project, service: str, loans: Path) -> dict[str, dict[str, int]]:
    """Read all applications online and count the statuses of each feature."""
    declared = project.service(service)
    keys = {key for view, _ in declared.needed() for key in view.entity.join_keys}
    columns = sorted(keys | set(declared.request_fields()))
    counts: dict[str, Counter[str]] = {name: Counter() for name in declared.feature_names()}
    for batch in pq.read_table(loans, columns=columns).to_batches(ROUND):
        for answer in reading.read_service(project, service, batch.to_pylist()):
            for name, served in answer.features.items():
                counts[name][served.status] += 1
    return {name: dict(counted) for name, counted in counts.items()}


def _summarize(project: Project, figures: Mapping[str, Any]) -> None:
    """Tell a person what the line of figures says."""
    parity = figures["parity"]
    project.tell("== done")
    project.tell(
        f"{figures['rows']:,} loans joined; rebuilt from the receipt: {figures['rebuild']}"
    )
    for service, told in figures["statuses_at_clock"].items():
        same = "the same" if told["equal"] else "DIFFERENT"
        project.tell(f"statuses of {service}: {same} offline and online")
    project.tell(
        f"parity: {parity['compared']:,} of {parity['served']:,} served cells compared, "
        f"{parity['mismatching']:,} differ"
    )
    project.tell(figures["decision"])
