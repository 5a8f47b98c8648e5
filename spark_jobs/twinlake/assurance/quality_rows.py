"""Rows of predictions and labels as arrays: classes as indices, what is no value as NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinlake.assurance.quality_figures import CLASSES, NUMBER, PROBABILITY, TASKS
from twinlake.errors import InputError

Doubles = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]
# So many classes are told apart; a label beyond them is refused, so that memory stays bounded.
MOST_CLASSES = 1_000
NO_VERSION = -1
_BINARY = {"1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class QualitySpec:
    """How the quality of one model is watched.

    Attributes:
        task: ``classes``, ``probability`` (of the positive) or ``number``.
        window_us: The width of a window in microseconds.
        lateness_us: How much older than the newest prediction one may be and still be counted.
        id_columns: The columns that identify a prediction, in predictions and labels alike.
        label: The column that says what was true, in predictions and labels alike.
        within_us: How long a label is waited for; None: labels come with the event or not at all.
        classes: What the columns of ``probabilities`` are of, in order.
        threshold: Of a probability: above it a prediction is called positive.
        most_held: Once more predictions than these came after a window began, its labels are
            waited for no longer. It bounds memory, to about 200 bytes for each of them.
    """

    task: str
    window_us: int
    lateness_us: int
    id_columns: tuple[str, ...] = ()
    label: str = "label"
    within_us: int | None = None
    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    most_held: int = 2_000_000

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InputError.unknown("task", self.task, TASKS)
        if self.window_us < 1 or self.lateness_us < 0:
            raise InputError(f"window {self.window_us} us, lateness {self.lateness_us} us")
        if self.within_us is not None and not self.id_columns:
            hint = "name the columns that identify a prediction"
            raise InputError(
                "labels are waited for, and nothing says of which prediction", hint=hint
            )


@dataclass(slots=True)
class Codes:
    """The classes that were met, each with its index."""

    spec: QualitySpec
    names: list[str] = field(default_factory=list)
    _codes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("0", "1") if self.spec.task == PROBABILITY else self.spec.classes:
            self.code(name)

    def code(self, name: str) -> int:
        """Give the index of a class; -1 where too many were met."""
        if name not in self._codes:
            if len(self.names) >= MOST_CLASSES:
                return -1
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]

    def label(self, value: Any) -> float:  # noqa: ANN401 (whatever a column holds)
        """Give what a label is held as; NaN where it is none that the model could have said."""
        if value is None:
            return math.nan
        if self.spec.task == CLASSES:
            code = self.code(_text(value))
            return math.nan if code < 0 else float(code)
        if self.spec.task == PROBABILITY:
            return _BINARY.get(_text(value).lower(), math.nan)
        try:
            number = float(value)
        except (TypeError, ValueError):
            return math.nan
        return number if math.isfinite(number) else math.nan


@dataclass(frozen=True, slots=True)
class Predictions:
    """Rows of predictions.

    Attributes:
        times: Event timestamps in microseconds.
        version: Of the model; ``NO_VERSION`` where none is told.
        scored: Whether there is a prediction.
        predicted: The index of the class.
        prediction: The number or probability.
        probabilities: Of each class; None where the rows have none.
        label: What was true, NaN where it is not known yet.
        rows: The rows as they came, of which inputs are counted.
    """

    times: Longs
    version: Longs
    scored: npt.NDArray[np.bool_]
    predicted: npt.NDArray[np.int32]
    prediction: Doubles
    probabilities: Doubles | None
    label: Doubles
    rows: pa.Table


def read_predictions(rows: pa.Table, spec: QualitySpec, codes: Codes) -> Predictions:
    """Read rows of predictions.

    Raises:
        InputError: A column is not there, or an event timestamp is null.
    """
    wanted = ["event_timestamp", "model_version", *(spec.id_columns if spec.within_us else ())]
    wanted.append("predicted" if spec.task == CLASSES else "prediction")
    require(rows, wanted, "predictions")
    count = rows.num_rows
    prediction = np.full(count, np.nan)
    if "prediction" in rows.column_names:
        prediction = doubles(rows.column("prediction"))
    if spec.task == CLASSES:
        predicted = _mapped(rows.column("predicted"), lambda value: _code_of(value, codes))
        scored = ~np.isnan(predicted)
        predicted = np.where(scored, predicted, -1)
    else:
        scored = np.isfinite(prediction)
        predicted = (prediction > spec.threshold).astype(np.float64)
    if "unscored" in rows.column_names:
        scored &= rows.column("unscored").is_null().to_numpy()
    label = np.full(count, np.nan)
    if spec.label in rows.column_names:
        column = rows.column(spec.label)
        label = doubles(column) if spec.task == NUMBER else _mapped(column, codes.label)
        label[~np.isfinite(label)] = np.nan
    version = rows.column("model_version").cast(pa.int64()).fill_null(NO_VERSION).to_numpy()
    return Predictions(
        times=times_of(rows),
        version=version,
        scored=scored,
        predicted=predicted.astype(np.int32),
        prediction=prediction,
        probabilities=_probabilities(rows, len(spec.classes)) if spec.task == CLASSES else None,
        label=label,
        rows=rows,
    )


def require(rows: pa.Table, columns: Sequence[str], kind: str) -> None:
    """Refuse rows that lack a column.

    Raises:
        InputError: One is not there.
    """
    for name in columns:
        if name not in rows.column_names:
            listed = f"columns: {', '.join(rows.column_names)}"
            raise InputError(f"the {kind} have no column {name!r}", hint=listed)


def times_of(rows: pa.Table) -> Longs:
    """Give event timestamps in microseconds.

    Raises:
        InputError: One is null.
    """
    column = rows.column("event_timestamp")
    if column.null_count:
        raise InputError(
            f"{column.null_count} rows have no event_timestamp", hint="leave them out before"
        )
    zone = pa.timestamp("us", column.type.tz)
    return np.array(column.cast(zone, safe=False).cast(pa.int64()).to_numpy(), np.int64)


def keys_of(rows: pa.Table, columns: Sequence[str]) -> list[Any]:
    """Give what identifies each row; None where a part of it is null."""
    if len(columns) == 1:
        return list(rows.column(columns[0]).to_pylist())
    parts = zip(*(rows.column(name).to_pylist() for name in columns), strict=True)
    return [None if None in key else key for key in parts]


def doubles(column: pa.ChunkedArray) -> Doubles:
    """Give a column as doubles, null as NaN."""
    return np.array(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _code_of(value: Any, codes: Codes) -> float:  # noqa: ANN401 (whatever a column holds)
    code = -1 if value is None else codes.code(_text(value))
    return math.nan if code < 0 else float(code)


def _mapped(column: pa.ChunkedArray, code: Any) -> Doubles:  # noqa: ANN401 (a function)
    """Map each distinct value once."""
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    encoded = column.combine_chunks().dictionary_encode()
    table = np.array([*map(code, encoded.dictionary.to_pylist()), math.nan])
    indices = encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(table[indices], np.float64)


def _probabilities(rows: pa.Table, classes: int) -> Doubles | None:
    if "probabilities" not in rows.column_names or not classes:
        return None
    listed = rows.column("probabilities").to_pylist()
    none = [math.nan] * classes
    whole = [each if each is not None and len(each) == classes else none for each in listed]
    return np.array(whole, np.float64).reshape(len(listed), classes)


def _text(value: Any) -> str:  # noqa: ANN401 (whatever a column holds)
    """Write a class as text, a whole number without a fraction."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
