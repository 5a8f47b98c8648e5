"""Forecasts: the vectors of a model's service and the columns beside it, judged by its champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinlake.definitions.services import Model
from twinlake.errors import InputError
from twinlake.online.reader import ERROR, PRESENT
from twinlake.serving.answers import Answer
from twinlake.serving.reading import ReadyService

if TYPE_CHECKING:
    from twinlake.models.registered import Champion


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a model says of one entity.

    Attributes:
        value: A probability, or a forecast in the unit of the label; None where the vector could
            not be read, for a guess from nothing would pass for an answer.
        status: ``present``, else ``error``.
        is_positive: Whether a probability is above the model's threshold; None without one.
        predicted: The most probable class, whose probability ``value`` is, of a model with classes.
    """

    value: float | None
    status: str
    is_positive: bool | None
    predicted: str | None = None

    def document(self) -> dict[str, Any]:
        """Write it down."""
        told = {"prediction": self.value, "status": self.status, "is_positive": self.is_positive}
        return told if self.predicted is None else told | {"predicted": self.predicted}


_FAILED = Forecast(None, ERROR, None)


def input_names(model: Model, ready: ReadyService) -> list[str]:
    """Name what a question to a model brings: join keys, request fields, columns beside them."""
    names = [*ready.key_types, *ready.request_types, *model.spine_features]
    return list(dict.fromkeys(names))


def split_rows(
    model: Model, ready: ReadyService, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Part each row into what its service asks for and what the model takes beside it.

    Raises:
        InputError: A row lacks a name or has another; null is given as such.
    """
    wanted = input_names(model, ready)
    of_service = [*ready.key_types, *ready.request_types]
    asked, own = [], []
    for number, row in enumerate(rows):
        if row.keys() != set(wanted):
            lacking = [f"without {name}" for name in wanted if name not in row]
            named = ", ".join([*sorted(set(row) - set(wanted)), *lacking])
            raise InputError(
                f"model {model.name} cannot judge entity {number}: {named}",
                hint=f"give {', '.join(wanted)}; what is not known as null",
            )
        asked.append({name: row[name] for name in of_service})
        own.append({name: row[name] for name in model.spine_features})
    return asked, own


def forecasts(
    model: Model, champion: Champion, answers: Sequence[Answer], own: Sequence[Mapping[str, Any]]
) -> list[Forecast]:
    """Let a champion judge the entities whose vectors could be read.

    Raises:
        InputError: A column is of another type than the model learned.
    """
    chosen = [place for place, one in enumerate(answers) if not one.messages]
    made = [_FAILED] * len(answers)
    if not chosen:
        return made
    table = inputs(champion, [answers[place] for place in chosen], [own[n] for n in chosen])
    said, classes = champion.predict(table), champion.scorer.classes
    if classes:
        best = said.argmax(axis=1)
        for place, values, one in zip(chosen, said.tolist(), best.tolist(), strict=True):
            made[place] = Forecast(values[one], PRESENT, None, classes[one])
        return made
    for place, value in zip(chosen, said.tolist(), strict=True):
        above = None if model.threshold is None else value > model.threshold
        made[place] = Forecast(value, PRESENT, above)
    return made


def inputs(
    champion: Champion, answers: Sequence[Answer], own: Sequence[Mapping[str, Any]]
) -> pa.Table:
    """Give what a champion takes of each entity, as a table.

    Raises:
        InputError: A column is of another type than the model learned.
    """
    pairs = list(zip(answers, own, strict=True))
    return pa.table(
        {
            name: _column(name, [_cell(answer, beside, name) for answer, beside in pairs], champion)
            for name in champion.features
        }
    )


def _cell(answer: Answer, own: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 (a cell of any type)
    if name in own:
        return own[name]
    if name not in answer.values:
        raise InputError(
            f"the champion takes {name}, which is no feature of its service now",
            hint="train the model again",
        )
    return answer.values[name]


def _column(name: str, cells: list[Any], champion: Champion) -> pa.Array:
    """Give cells as a column; text that stands for a number, such as of CSV, is read."""
    is_text = name in champion.scorer.categories
    try:
        if not is_text and any(isinstance(cell, str) for cell in cells):
            cells = [float(cell) if isinstance(cell, str) else cell for cell in cells]
        return pa.array(cells, pa.string()) if is_text else pa.array(cells)
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        raise InputError(
            f"{name} does not fit model {champion.scorer.algorithm}: "
            f"{'text' if is_text else 'a number'} is expected there",
            hint="give null for what is not known",
        ) from None
