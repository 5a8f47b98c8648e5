"""A model that answers over HTTP: asked by Spark's workers, many calls at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from twinlake.definitions.services import Model
from twinlake.flows.predictions import Said
from twinlake.flows.project import Project
from twinlake.inference.caller import shared
from twinlake.inference.endpoint import Endpoint
from twinlake.inference.outcomes import BAD_ANSWER, Outcome
from twinlake.lake import asking

# What one task answers.
_ANSWERS = pa.schema(
    [
        (asking.NUMBER, pa.int64()),
        ("prediction", pa.float64()),
        ("predicted", pa.string()),
        ("unscored", pa.string()),
        ("version", pa.int32()),
        ("latency_ms", pa.float64()),
    ]
)
_ANSWERS_SQL = (
    f"{asking.NUMBER} bigint, prediction double, predicted string, unscored string, version int, "
    "latency_ms double"
)
# Under which names contracts tell a number.
_NUMBERS = ("prediction", "expected_fare", "score")


class RemoteModel:
    """A model behind an endpoint.

    Each event gets one answer: a prediction, or why there is none. A batch is as long under way as
    its calls; who wants it shorter gives the endpoint a budget.

    Args:
        project: The project.
        model: The model.
        endpoint: Where it answers.
        names: What it is told of an event.
        tasks: How many tasks of Spark ask, each with the endpoint's capacity.
    """

    def __init__(
        self,
        project: Project,
        model: Model,
        endpoint: Endpoint,
        names: Sequence[str],
        tasks: int,
    ) -> None:
        self._project, self._model, self._endpoint = project, model, endpoint
        self._names, self._tasks = list(names), tasks

    def look(self) -> None:
        """Do nothing: which model answers is the endpoint's business."""

    def say(self, inputs: Mapping[str, pa.Array]) -> Said:
        """Ask about events.

        Args:
            inputs: What is known of them, by name.
        """
        rows = asking.numbered(pa.table({name: inputs[name] for name in self._names}))
        ask = partial(_asked, self._endpoint)
        if self._tasks == 1 and len(rows) <= self._endpoint.capacity:
            # One round of calls is over before a task would have started.
            told = pa.Table.from_batches(ask(rows.to_batches()), _ANSWERS)
            told = told.sort_by(asking.NUMBER).combine_chunks()
        else:
            told = asking.by_workers(
                self._project.spark,
                rows,
                ask,
                _ANSWERS_SQL,
                self._tasks,
                self._project.places.new_scratch(),
            )
        nothing = Said.nothing(len(rows), "")
        positive = nothing.is_positive
        prediction = told["prediction"].combine_chunks()
        if self._model.threshold is not None:
            positive = pa.array(
                [None if p is None else p > self._model.threshold for p in prediction.to_pylist()],
                pa.bool_(),
            )
        return Said(
            prediction=prediction,
            unscored=told["unscored"].combine_chunks(),
            version=told["version"].combine_chunks(),
            latency_ms=told["latency_ms"].combine_chunks(),
            is_positive=positive,
            predicted=told["predicted"].combine_chunks(),
            probabilities=nothing.probabilities,
        )


def _asked(endpoint: Endpoint, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Ask about rows; runs in a worker, whose connections last from task to task."""
    caller = shared(endpoint)
    for batch in batches:
        records = batch.to_pylist()
        numbers = [record.pop(asking.NUMBER) for record in records]
        made = [_answer(numbers[one.index], one) for one in caller.call(records)]
        yield pa.RecordBatch.from_pylist(made, schema=_ANSWERS)


def _answer(number: int, outcome: Outcome) -> dict[str, Any]:
    value, unscored = _number(outcome.value), None
    if outcome.reason is not None:
        unscored = f"{outcome.reason}: {outcome.detail}"
    elif value is None:
        unscored = f"{BAD_ANSWER}: the answer has none of {', '.join(_NUMBERS)}"
    version = outcome.model_version
    said = outcome.value if isinstance(outcome.value, Mapping) else {}
    return {
        asking.NUMBER: number,
        "prediction": value,
        "predicted": said.get("predicted"),
        "unscored": unscored,
        "version": int(version) if version is not None and version.isdigit() else None,
        "latency_ms": outcome.latency_ms,
    }


def _number(value: Mapping[str, Any] | float | None) -> float | None:
    if not isinstance(value, Mapping):
        return value
    for name in _NUMBERS:
        told = value.get(name)
        if isinstance(told, int | float) and not isinstance(told, bool):
            return float(told)
    return None
