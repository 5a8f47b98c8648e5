"""A decision as a page shows it: the form's fields, the vector, what the model says, and why."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinlake.definitions.services import Model
from twinlake.definitions.times import format_instant
from twinlake.definitions.typed_values import exact_value, typed_value
from twinlake.definitions.types import FLOAT_TYPES, INTEGER_TYPES, is_decimal
from twinlake.errors import InputError, StateError, TwinlakeError
from twinlake.flows.catalogue import receipts
from twinlake.flows.project import Project
from twinlake.serving.answers import Answer
from twinlake.serving.desk import Desk
from twinlake.serving.predicting import forecasts, input_names, inputs, split_rows
from twinlake.ui.samples import read_rows

if TYPE_CHECKING:
    from twinlake.models.registered import Champion

NOT_KNOWN = "-"
_SAMPLED = 500
_MOST_CHOICES = 12
_REASONS = 12
KEY, REQUEST, BESIDE = "join key", "request field", "column of the application"


@dataclass(frozen=True)
class Field:
    """One field of the form.

    Attributes:
        name: Its name.
        role: What it is to the model.
        kind: Its type; empty where nothing tells.
        choices: Values that were there before, of texts of which there are few.
        example: What stood there in a row of the training set.
        typed: What was typed.
        problem: What is wrong with that; empty for nothing.
    """

    name: str
    role: str
    kind: str = ""
    choices: Sequence[str] = ()
    example: str = ""
    typed: str = ""
    problem: str = ""

    @property
    def asks_for(self) -> str:
        """What is to be typed, in a word."""
        if self.kind in INTEGER_TYPES:
            return "whole number"
        if self.kind in FLOAT_TYPES or is_decimal(self.kind):
            return "number"
        return {"string": "text", "": "text or number"}.get(self.kind, self.kind)

    def filled(self, typed: str) -> Field:
        """Give the field with what was typed, and what is wrong with it."""
        text = typed.strip()
        return replace(self, typed=typed, problem=self._problem(text))

    def value(self) -> Any:  # noqa: ANN401 (a cell of any type)
        """Give what was typed as the field's type; None for what is not known."""
        text = self.typed.strip()
        if text == NOT_KNOWN and self.role != KEY:
            return None
        return typed_value(self.name, text, self.kind or "string")

    def _problem(self, text: str) -> str:
        if not text:
            return f"is missing: give a {self.asks_for}" + (
                "" if self.role == KEY else f", or {NOT_KNOWN} for what is not known"
            )
        if text == NOT_KNOWN and self.role != KEY:
            return ""
        try:
            value = typed_value(self.name, text, self.kind or "string")
            if self.kind:
                exact_value(self.name, value, self.kind)
        except TwinlakeError:
            return f"is no {self.asks_for}"
        return ""


@dataclass(frozen=True)
class Reason:
    """What one feature adds to a forecast: above 0 it speaks for the positive side."""

    feature: str
    value: Any
    adds: float
    share: float


@dataclass(frozen=True)
class Cell:
    """One value of the vector."""

    name: str
    value: Any
    status: str
    age_s: float | None
    view: str


@dataclass(frozen=True)
class Decision:
    """What became of a question.

    Attributes:
        said: The decision in words; empty where none was made.
        is_positive: Whether the probability is above the threshold.
        probability: What the model says; None where the vector could not be read.
        version: Of the model.
        vector: What was read and computed.
        reasons: What spoke most for and against; empty where the algorithm does not tell.
        rest: What all other features add together.
        as_of: As of when the vector was read.
    """

    said: str
    is_positive: bool | None
    probability: float | None
    version: int
    vector: Sequence[Cell]
    reasons: Sequence[Reason]
    rest: float
    as_of: Sequence[str]


class Decisions:
    """Where questions are decided.

    Args:
        desk: Reads vectors, and holds champions.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._looking = threading.Lock()  # MLflow is not for two threads at once

    def warm_up(self) -> None:
        """Load in the background what a decision will ask for."""
        threading.Thread(target=self._look_at_all, daemon=True).start()

    def _look_at_all(self) -> None:
        if not self._looking.acquire(blocking=False):
            return  # somebody does already
        try:
            self._desk.refresh()
            self._desk.look_for_champions()
        finally:
            self._looking.release()

    def _champion(self, name: str) -> Champion:
        with self._looking:
            self._desk.champions.look(name)
        champion = self._desk.champions.get(name)
        if champion is None:
            raise StateError(f"model {name} has no champion", hint=f"run `twinlake train {name}`")
        return champion

    def decide(self, model: Model, fields: Sequence[Field]) -> Decision:
        """Decide a question whose fields are without problems.

        Raises:
            InputError: The question does not fit the model.
            StateError: The model was never trained, or its service cannot be read yet.
        """
        self._desk.refresh()
        ready = self._desk.service(model.service.name)
        champion = self._champion(model.name)
        row = {field.name: field.value() for field in fields}
        questions, own = split_rows(model, ready, [row])
        done = self._desk.read(ready, questions, None)
        [forecast], [answer] = forecasts(model, champion, done.answers, own), done.answers
        reasons: Sequence[Reason] = ()
        rest = 0.0
        if forecast.value is not None:
            reasons, rest = _reasons(champion, inputs(champion, [answer], own))
        return Decision(
            said=_said(model, forecast.is_positive),
            is_positive=forecast.is_positive,
            probability=forecast.value,
            version=champion.version,
            vector=_vector(answer, own[0]),
            reasons=reasons,
            rest=rest,
            as_of=sorted({str(format_instant(one.at_us)) for one in done.moments.values()}),
        )


def fields_of(project: Project, model: Model) -> list[Field]:
    """Say what a model's form asks for; the newest training set tells what may be typed."""
    from twinlake.serving.reading import make_ready

    defined = project.definitions.on_demand if model.service.on_demand() else {}
    ready = make_ready(model.service, defined)
    names = input_names(model, ready)
    sample = _sample(project, model, names)
    fields = []
    for name in names:
        role = KEY if name in ready.key_types else BESIDE
        role = REQUEST if name in ready.request_types else role
        kind = {**ready.key_types, **ready.request_types}.get(name, "")
        field = Field(name, role, kind)
        if sample is not None and name in sample.column_names:
            field = _told_by(field, sample[name])
        fields.append(field)
    return fields


def _sample(project: Project, model: Model, names: Sequence[str]) -> pa.Table | None:
    """Read some rows of the training set that the model would learn from."""
    found = [receipt for receipt in receipts(project) if receipt.service == model.service.name]
    if not found:
        return None
    try:
        return read_rows(project.places.training_set(found[-1].training_set), names, most=_SAMPLED)
    except StateError:
        return None  # the form works without


def _told_by(field: Field, column: pa.ChunkedArray) -> Field:
    kind, values = field.kind, column.drop_null()
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not kind:
        whole = pa.types.is_integer(column.type)
        is_number = whole or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
        kind = "string" if is_text else "double" if is_number else ""
    distinct = sorted(set(values.to_pylist())) if is_text else []
    choices = distinct if len(distinct) <= _MOST_CHOICES else []
    example = str(values[0].as_py()) if len(values) else ""
    return replace(field, kind=kind, choices=choices, example=example)


def _said(model: Model, is_positive: bool | None) -> str:
    if is_positive is None:
        return ""
    below, above = model.decisions or (f"no {model.label}", model.label)
    return above if is_positive else below


def _vector(answer: Answer, own: Mapping[str, Any]) -> list[Cell]:
    cells = []
    for name, value in answer.values.items():
        view = answer.origins[name]
        place = view if view in answer.as_of else "on demand"
        cells.append(Cell(name, value, answer.statuses[name], answer.age_s(view), place))
    given = [Cell(name, value, "given", None, "the form") for name, value in own.items()]
    return cells + given


def _reasons(champion: Champion, table: pa.Table) -> tuple[Sequence[Reason], float]:
    """Give what the features add to a forecast, most of it first, and the sum of the rest."""
    told = champion.scorer.contributions(table)
    if told is None:
        return (), 0.0
    adds = dict(zip(champion.features, told[0].tolist(), strict=False))  # the last is of no feature
    order = sorted(adds, key=lambda name: -abs(adds[name]))
    longest = abs(adds[order[0]]) or 1.0
    reasons = [
        Reason(name, table[name][0].as_py(), adds[name], abs(adds[name]) / longest)
        for name in order[:_REASONS]
        if adds[name]
    ]
    return reasons, sum(adds[name] for name in order[_REASONS:])


def decided_models(models: Mapping[str, Model]) -> dict[str, Model]:
    """Give the models that decide something: those with a threshold."""
    return {name: model for name, model in models.items() if model.threshold is not None}


def require_model(models: Mapping[str, Model], name: str) -> Model:
    """Give a model that decides something.

    Raises:
        InputError: There is none of that name.
    """
    found = decided_models(models)
    if name not in found:
        raise InputError.unknown("model with a decision", name[:100], found)
    return found[name]
