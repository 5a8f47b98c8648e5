"""What happened in a test, and what a definition gives for it as of any moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from twinlake.definitions.resolution import request_types, service_types, view_features
from twinlake.definitions.services import FeatureService
from twinlake.definitions.times import format_instant, parse_instant_us, to_us
from twinlake.definitions.typed_values import exact_value, typed_value
from twinlake.definitions.types import canonical_type
from twinlake.errors import CheckFailed, InputError
from twinlake.kernel.cells import to_column, to_python
from twinlake.kernel.on_demand import Computation, compute
from twinlake.online.on_demand import served
from twinlake.online.reader import ERROR, NULL, PRESENT, Served
from twinlake.testing.answers import Answers, Asked
from twinlake.testing.both_ways import Question, ViewRows, difference
from twinlake.testing.happened import Happened

_MOST_BESIDE = 20
Found = dict[str, Served]


class History:
    """The rows of a test under a definition; ``FeatureTest`` makes it.

    Args:
        service: What is tested, as a service.
        rows: Per source, its rows.
    """

    def __init__(self, service: FeatureService, rows: Mapping[str, Sequence[Happened]]) -> None:
        self._service = service
        self._rows = rows
        self._views = {
            view.name: ViewRows(view, rows[view.source.name]) for view, _ in service.needed()
        }
        self._functions = [Computation.of(view) for view in service.on_demand()]
        self._types = service_types(service)
        for view, names in service.needed():
            kinds = {feature.name: feature.type for feature in view_features(view)}
            self._types |= {name: kinds[name] for name in names}

    def rows(self, source: str | None = None) -> Sequence[Happened]:
        """Give the rows of a source, each with its verdict; of the only one by default.

        Raises:
            InputError: There is no such source, or it is not said which of several.
        """
        if source is None and len(self._rows) == 1:
            (source,) = self._rows
        if source is None or source not in self._rows:
            raise InputError.unknown("source", source or "", self._rows)
        return self._rows[source]

    @property
    def verdicts(self) -> list[str]:
        """The verdicts on the rows of the only source, in order."""
        return [row.verdict for row in self.rows()]

    def at(
        self,
        as_of: str | datetime,
        /,
        *,
        known_by: str | datetime | None = None,
        **asked: Any,  # noqa: ANN401 (a value of any type)
    ) -> Answers:
        """Answer as of a moment, by training's way and by that of reads.

        Args:
            as_of: The moment; without a zone it is UTC.
            known_by: Only rows known by then count; by the moment itself without it. A read asks
                nothing else, so later than the moment only training's way is taken.
            **asked: Join keys, and the request fields of on-demand features.

        Raises:
            InputError: A key or request field is missing, unknown or of another type.
            CheckFailed: The two ways give different answers.
        """
        keys, request = self._typed(asked)
        as_of_us = _instant_us(as_of)
        known_by_us = None if known_by is None else _instant_us(known_by)
        questions = {
            name: Question(tuple(keys[part] for part in view.shape.keys), as_of_us, known_by_us)
            for name, view in self._views.items()
        }
        turns = max((view.turns for view in self._views.values()), default=1)
        found, *others = (self._trained(questions, request, turn) for turn in range(turns))
        told = Asked(self._service, self._views, self._rows, questions, {**keys, **request})
        self._check_reads(told, found, request)
        undecided = {n for n in found for other in others if _value(found[n]) != _value(other[n])}
        return Answers(told, self._types, found, frozenset(undecided))

    def _typed(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give join keys and request fields their types."""
        key_types: dict[str, str] = {}
        for view in self._views.values():
            joined = view.view.entity.join_keys
            key_types |= {name: canonical_type(kind) for name, kind in joined.items()}
        fields = request_types(self._service.request_fields())
        wanted = [*key_types, *fields]
        unknown = [name for name in asked if name not in wanted]
        missing = [name for name in wanted if name not in asked]
        if unknown or missing:
            named = " ".join([*unknown, *(f"without {name}" for name in missing)])
            raise InputError(
                f"{self._service.name} cannot be asked by {named}",
                hint=f"write .at(moment, {', '.join(f'{name}=...' for name in wanted)})",
            )
        read = {
            name: exact_value(name, typed_value(name, asked[name], kind), kind)
            for name, kind in (key_types | fields).items()
        }
        return {n: read[n] for n in key_types}, {n: read[n] for n in fields}

    def _trained(
        self, questions: Mapping[str, Question], request: Mapping[str, Any], turn: int
    ) -> Found:
        """Answer as a training set does, stored features and then those on demand."""
        beside = [questions, *self._beside(questions)] if self._functions else [questions]
        stored: list[Found] = [{} for _ in beside]
        for name, view in self._views.items():
            asked = [one[name] for one in beside]
            for found, more in zip(stored, view.trained(asked, turn), strict=True):
                found.update(more)
        answers = stored[0]
        made = [_computed(function, stored, request) for function in self._functions]
        for features in made:
            answers = answers | features
        return answers

    def _beside(self, questions: Mapping[str, Question]) -> list[dict[str, Question]]:
        """Ask for the same keys as of each of their events: what else a training set may hold."""
        times = {
            row.event_us
            for name, view in self._views.items()
            for row in view.rows
            if row.key == questions[name].key
        }
        return [
            {name: Question(asked.key, at_us) for name, asked in questions.items()}
            for at_us in sorted(times)[-_MOST_BESIDE:]
        ]

    def _check_reads(self, told: Asked, trained: Found, request: Mapping[str, Any]) -> None:
        """Make sure that reads answer what training does.

        Raises:
            CheckFailed: One does not.
        """
        ways: dict[str, Found] = {}
        for name, view in self._views.items():
            for way, answers in view.served(told.questions[name]).items():
                apart = difference({n: trained[n] for n in answers}, answers)
                if apart is not None:
                    raise _disagreement(told, *apart, f"from {way}")
                ways.setdefault(way, {}).update(answers)
        for way, stored in ways.items():
            for function in self._functions:
                if any(name not in stored and name not in request for name in function.inputs):
                    continue  # one of its views cannot be read in this way
                inputs = {
                    n: request[n] if n in request else stored[n].value for n in function.inputs
                }
                (answers,) = served(function, [inputs])
                apart = difference({n: trained[n] for n in answers}, answers)
                if apart is not None:
                    raise _disagreement(told, *apart, f"from {way}, by {function.function}")


def _computed(function: Computation, stored: Sequence[Found], request: Mapping[str, Any]) -> Found:
    """Compute on-demand features of the first of some rows, as a training set does: beside others.

    Raises:
        InputError: The function gives another value for a row alone than beside others.
    """
    inputs = [
        {n: request[n] if n in request else row[n].value for n in function.inputs} for row in stored
    ]
    try:
        alone = _features(function, inputs[:1])
    except InputError as error:
        return dict.fromkeys(function.outputs, Served(None, ERROR, None, error.message))
    try:
        together = _features(function, inputs)
    except InputError:  # another moment's inputs, of which nobody asked
        return alone
    for name, one in alone.items():
        if one != together[name]:
            raise InputError(
                f"on-demand view {function.view}, function {function.function}: feature {name} of "
                f"a row is {one.value} alone and {together[name].value} beside other rows",
                hint="compute each row from its own cells only, without means, sums or ranks over "
                "the rows, and nothing random",
            )
    return alone


def _features(function: Computation, inputs: Sequence[Mapping[str, Any]]) -> Found:
    """Compute features for some rows; those of the first."""
    columns = {
        name: to_column([row[name] for row in inputs], kind)
        for name, kind in function.inputs.items()
    }
    found = compute(function, columns, len(inputs))
    features = {}
    for (name, kind), cells in zip(function.outputs.items(), found, strict=True):
        value = to_python(cells.values[:1], cells.valid[:1], kind)[0]
        features[name] = Served(value, NULL if value is None else PRESENT, None)
    return features


def _disagreement(told: Asked, name: str, trained: Served, read: Served, way: str) -> CheckFailed:
    return CheckFailed(
        f"{told}: feature {name} is {_said(trained)} in a training set and {_said(read)} when "
        f"read {way}",
        hint="the rows of the test are all that is needed to look into it: report them",
    )


def _said(one: Served) -> str:
    event = "" if one.event_us is None else f" of {format_instant(one.event_us)}"
    return f"{one.value!r} ({one.status}{event})"


def _value(one: Served) -> tuple[Any, str]:
    return one.value, one.status


def _instant_us(moment: str | datetime) -> int:
    if isinstance(moment, str):
        return parse_instant_us(moment)
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
