"""Full validation by Great Expectations itself, with its data docs.

Two suites: all rows of a batch as they arrived, against the expectations on rows and on shares of
rows; and the rows that pass the gate, against those on batches, so that what is put aside anyhow
does not decide for the rest. Great Expectations takes seconds to load and a second or two for each
question, so this is for whole batches, and it is loaded when first needed.
"""

from __future__ import annotations

import datetime as dt
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from twinlake.definitions.expectations import SHARE, Expectation
from twinlake.definitions.resolution import all_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.times import parse_instant_us, to_datetime
from twinlake.errors import EnvironmentFailure
from twinlake.lake import tables

# Data docs of older batches go: each holds 4 MB of fonts and styles.
_KEPT = 30
ARRIVED, PASSED = "rows_as_they_arrived", "rows_that_pass"


@dataclass(frozen=True)
class Finding:
    """What Great Expectations said of one expectation.

    Attributes:
        expectation: The expectation, as it is declared.
        stops: Whether it judges a batch, and so stops one; otherwise it judges rows.
        success: Whether it holds.
        observed: What was found: the value, or how many rows break it.
    """

    expectation: str
    stops: bool
    success: bool
    observed: str


@dataclass(frozen=True)
class Validation:
    """One validation.

    Attributes:
        rows: Rows that it looked at.
        findings: One per expectation, in the order of declaration.
        data_docs: The page to open first.
    """

    rows: int
    findings: Sequence[Finding]
    data_docs: Path

    @property
    def failed(self) -> list[Finding]:
        """What does not hold."""
        return [finding for finding in self.findings if not finding.success]

    @property
    def stopping(self) -> list[Finding]:
        """What does not hold and stops a batch."""
        return [finding for finding in self.failed if finding.stops]


def validate(
    judged: DataFrame, passes: str, source: Source, folder: Path, now_us: int
) -> Validation:
    """Validate rows against all expectations of their source, and write the data docs.

    Args:
        judged: Rows with the source's columns, derived ones too.
        passes: The condition under which one of them passes the gate.
        source: The source.
        folder: Where the data docs go; what is there is replaced.
        now_us: When this is, for the pages.

    Raises:
        EnvironmentFailure: The folder cannot be written to.
    """
    names = [tables.quoted(name) for name in all_columns(source)]
    of_rows = [e for e in source.expectations if e.is_row_level or SHARE in e.arguments]
    suites = {
        ARRIVED: (judged.select(*names), of_rows),
        PASSED: (
            judged.where(passes).select(*names),
            [e for e in source.expectations if e not in of_rows],
        ),
    }
    types = all_columns(source)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for older in sorted(folder.parent.iterdir(), key=_made)[:-_KEPT]:
            shutil.rmtree(older, ignore_errors=True)
        results = _run(source.name, suites, types, folder, to_datetime(now_us))
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write data docs to {folder}: {error.strerror or error}",
            hint="name a writable folder with --state",
        ) from error
    found = {name: finding for name, (finding, _) in results.items()}
    rows = max((rows for _, rows in results.values()), default=0)
    listed = [found[str(e)] for e in dict.fromkeys(source.expectations)]
    return Validation(rows, listed, folder / "index.html")


def _made(path: Path) -> int:
    return path.stat().st_mtime_ns


def _run(
    source: str,
    suites: Mapping[str, tuple[DataFrame, Sequence[Expectation]]],
    types: Mapping[str, str],
    folder: Path,
    now: dt.datetime,
) -> dict[str, tuple[Finding, int]]:
    """Ask Great Expectations, and let it render its pages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about its dependencies
        import great_expectations as gx
        from great_expectations.core.run_identifier import RunIdentifier

        context = _context(source, folder)
        asked = context.data_sources.add_spark(source, persist=False)
        found = {}
        for name, (frame, expectations) in suites.items():
            if not expectations:
                continue
            declared = {str(e): e for e in expectations}
            whole = asked.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
            suite = gx.ExpectationSuite(
                name=f"{source}_{name}", expectations=[_theirs(e, types) for e in declared.values()]
            )
            result = whole.get_batch(batch_parameters={"dataframe": frame}).validate(
                context.suites.add(suite),
                # Some of the rows that break an expectation; more would gather on the driver.
                result_format={"result_format": "BASIC", "partial_unexpected_count": 10},
            )
            _keep(context, result, suite.name, RunIdentifier(run_name=folder.name, run_time=now))
            for item in result.results:
                told = item.expectation_config.meta["declared"]
                found[told] = _finding(item, declared[told])
        context.build_data_docs()
    return found


def _context(source: str, folder: Path) -> Any:  # noqa: ANN401 (GX's own)
    """Make a context that keeps nothing but its pages, and those in the folder."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for site in list(context.get_site_names()):
        context.delete_data_docs_site(site)
    context.add_data_docs_site(
        site_name=source,
        site_config={
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(folder),
            },
        },
    )
    return context


def _keep(context: Any, result: Any, suite: str, run_id: Any) -> None:  # noqa: ANN401 (GX's own)
    """Store a result for the pages.

    A validation definition would do so by itself, but cannot write what numpy gives: the verdict
    on a median is no Python bool.
    """
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    for item in result.results:
        item.success, item.result = bool(item.success), _plain(item.result)
        if item.result.get("element_count") and "unexpected_count" in item.result:
            # Uniqueness comes without it, and then its page is not rendered.
            share = item.result["unexpected_count"] / item.result["element_count"]
            item.result.setdefault("unexpected_percent", 100 * share)
    result.success = bool(result.success)
    result.meta |= {"run_id": run_id, "validation_time": run_id.run_time}
    context.validation_results_store.store_validation_results(
        suite_validation_result=result,
        suite_validation_result_identifier=ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(name=suite),
            run_id=run_id,
            batch_identifier=suite,
        ),
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 (any part of a result)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _theirs(expectation: Expectation, types: Mapping[str, str]) -> Any:  # noqa: ANN401 (GX's own)
    from great_expectations.expectations.registry import get_expectation_impl

    given = expectation.arguments
    is_date = types.get(given.get("column", "")) == "date"
    if is_date and not expectation.is_row_level and SHARE not in given:
        # Those on batches compare what Spark gives back, which for a date is no text.
        for name in ("min_value", "max_value"):
            if isinstance(given.get(name), str):
                given[name] = dt.date.fromisoformat(given[name])
        if "value_set" in given:
            given["value_set"] = [dt.date.fromisoformat(item) for item in given["value_set"]]
    if types.get(given.get("column", "")) == "timestamp":
        # A text without a zone would be read in that of the machine.
        for name in ("min_value", "max_value"):
            if isinstance(given.get(name), str):
                given[name] = to_datetime(parse_instant_us(given[name]))
    return get_expectation_impl(expectation.type)(**given, meta={"declared": str(expectation)})


def _finding(result: Any, expectation: Expectation) -> tuple[Finding, int]:  # noqa: ANN401 (GX's)
    told = result.result
    rows = int(told.get("element_count") or 0)
    if "unexpected_count" in told:
        broken = told["unexpected_count"]
        observed = f"{broken:,} of {rows:,} rows break it"
    elif "observed_value" in told:
        observed = str(told["observed_value"])
        if expectation.type.startswith("expect_table_row_count"):
            rows = int(told["observed_value"])
    else:
        observed = f"could not be judged: {_exception(result.exception_info)}"
    stops = not expectation.is_row_level
    return Finding(str(expectation), stops, bool(result.success), observed), rows


def _exception(info: Mapping[str, Any]) -> str:
    for entry in (info, *(item for item in info.values() if isinstance(item, Mapping))):
        if entry.get("exception_message"):
            return str(entry["exception_message"]).splitlines()[0]
    return "Great Expectations gave no reason"
