"""Ask Great Expectations itself which rows break which expectations, many at once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame

from twinlake.definitions.expectations import Expectation


class Judge:
    """One context for many questions: making it takes seconds."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig

            context = gx.get_context(mode="ephemeral")
            context.variables.progress_bars = ProgressBarsConfig(globally=False)
            asset = context.data_sources.add_spark("spark", persist=False).add_dataframe_asset("x")
            self._batch = asset.add_batch_definition_whole_dataframe("all")

    def refused(self, frame: DataFrame, cases: Sequence[Expectation]) -> dict[str, set[int]]:
        """The ``rid`` of each row that breaks an expectation, by expectation."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import great_expectations as gx
            from great_expectations.expectations.registry import get_expectation_impl

            declared: list[Any] = [
                get_expectation_impl(case.type)(**case.arguments, meta={"case": str(case)})
                for case in cases
            ]
            found = self._batch.get_batch(batch_parameters={"dataframe": frame}).validate(
                gx.ExpectationSuite(name="cases", expectations=declared),
                result_format={
                    "result_format": "COMPLETE",
                    "unexpected_index_column_names": ["rid"],
                },
            )
        refused = {}
        for result in found.results:
            assert result.exception_info.get("raised_exception") is False, result.exception_info
            listed = result.result.get("unexpected_index_list") or []
            refused[result.expectation_config.meta["case"]] = {place["rid"] for place in listed}
        return refused
