"""Check what uses views: on-demand views, services and models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial

from twinlake.definitions.names import (
    RESERVED_COLUMNS,
    RESERVED_KEYS,
    attempt,
    field_name_problems,
    name_problems,
    online_name_problems,
)
from twinlake.definitions.on_demand import NULLS, OnDemandView
from twinlake.definitions.quality_checks import quality_problems
from twinlake.definitions.resolution import request_types
from twinlake.definitions.services import (
    ALWAYS_COMPARED,
    CLASS_PROBABILITIES,
    FEWEST_CLASSES,
    FEWEST_FOLDS,
    PROBABILITIES,
    RESERVED_PARAMETERS,
    ROUNDS,
    TEST_FRACTION,
    FeatureService,
    Model,
)
from twinlake.definitions.times import parse_instant_us
from twinlake.definitions.types import canonical_type, is_decimal
from twinlake.definitions.views import AliasedView, FeatureView
from twinlake.errors import InputError, Problem


def on_demand_problems(views: Mapping[str, FeatureView], view: OnDemandView) -> Iterator[Problem]:
    """Yield what is wrong with an on-demand view.

    Args:
        views: The stored views, whose names it must not carry.
        view: The on-demand view.
    """
    place = f"on-demand view {view.name}"
    yield from name_problems(place, view.name)
    if view.name in views:
        yield Problem(place, "has the name of a feature view", "rename one of the two")
    for found, hint in view.function.problems:
        yield Problem(f"{place}, function {view.function.name}", found, hint)
    if view.nulls not in NULLS:
        yield Problem(f"{place}, nulls", f"{view.nulls!r} is unknown", f"use {' or '.join(NULLS)}")
    if not view.inputs:
        yield Problem(place, "has no inputs", 'list views, or Request(amount="double")')
    if not view.outputs:
        yield Problem(place, "has no outputs", 'give outputs={"ratio": "double"}')
    if any(isinstance(item, OnDemandView) for item in view.inputs):
        hint = "list the views that it reads, and call its function's own helper from both"
        yield Problem(f"{place}, inputs", "reads another on-demand view", hint)
    inputs = list(_input_names(view))
    for read, names in view.reads():
        yield from _unknown_features(place, read, names)
    for name, count in Counter(inputs).items():
        if count > 1:
            yield Problem(
                f"{place}, input {name}", f"is there {count} times", "select all but one away"
            )
    yield from _request_problems(view, place)
    yield from _output_problems(view, place, set(inputs))


def _input_names(view: OnDemandView) -> Iterator[str]:
    for _, names in view.reads():
        yield from names
    yield from view.request


def _unknown_features(place: str, view: FeatureView, names: tuple[str, ...]) -> Iterator[Problem]:
    declared = [name for name, *_ in view.declared()]
    for name in names:
        if name not in declared:
            yield Problem(
                f"{place}, view {view.name}",
                f"has no feature {name!r}",
                f"features: {', '.join(declared)}",
            )


def _request_problems(view: OnDemandView, place: str) -> Iterator[Problem]:
    keys = {key for read, _ in view.reads() for key in read.entity.join_keys}
    for name, kind in view.request.items():
        where = f"{place}, request field {name}"
        yield from field_name_problems(where, name)
        if name in RESERVED_COLUMNS or name in keys:
            yield Problem(where, "is the name of a join key or reserved", "choose another")
        hint = "use a type such as double, bigint or string"
        known, problems = attempt(where, hint, partial(canonical_type, kind))
        yield from problems
        # A float that comes as a double would be another number in training than in serving.
        if known in {"float", "binary"}:
            yield Problem(where, f"a {known} cannot come with a request", hint)


def _output_problems(view: OnDemandView, place: str, inputs: set[str]) -> Iterator[Problem]:
    keys = {key for read, _ in view.reads() for key in read.entity.join_keys}
    for name, kind in view.outputs.items():
        where = f"{place}, feature {name}"
        yield from online_name_problems(where, name)
        if name in RESERVED_COLUMNS or name in keys:
            yield Problem(where, "is the name of a join key or reserved", "choose another")
        if name in inputs:
            yield Problem(where, "is the name of an input", "choose another")
        hint = "use double, bigint, boolean, string, date or timestamp"
        known, problems = attempt(where, hint, partial(canonical_type, kind))
        yield from problems
        if known is not None and (known == "binary" or is_decimal(known)):
            yield Problem(where, f"a function cannot give a {known}", hint)


def service_problems(service: FeatureService) -> Iterator[Problem]:
    """Yield what is wrong with a service."""
    place = f"service {service.name}"
    yield from name_problems(place, service.name)
    names: Counter[str] = Counter()
    for view, selected in service.parts():
        if isinstance(view, OnDemandView):
            for name in selected:
                if name not in view.outputs:
                    found = f"has no feature {name!r}"
                    hint = f"features: {', '.join(view.outputs)}"
                    yield Problem(f"{place}, on-demand view {view.name}", found, hint)
        else:
            yield from _unknown_features(place, view, selected)
        names.update(selected)
    if not names:
        yield Problem(place, "has no features", "list views, or view.select(...)")
    for name, count in names.items():
        if count > 1:
            yield Problem(
                f"{place}, feature {name}", f"is there {count} times", "select all but one away"
            )
    yield from _clashes(service, place, set(names))


def _clashes(service: FeatureService, place: str, taken: set[str]) -> Iterator[Problem]:
    """What on-demand views read must not be mistaken for something else of the service."""
    home: dict[str, str] = {}
    selected = {(view.name, name) for view, names in service.selections() for name in names}
    for view, names in service.needed():
        for name in names:
            other = home.setdefault(name, view.name)
            hidden = (view.name, name) not in selected
            if other != view.name or (hidden and name in taken):
                found = f"view {view.name} has a feature of this name, which is read on demand"
                yield Problem(f"{place}, feature {name}", found, "rename one of the two")
    keys = {key for view, _ in service.needed() for key in view.entity.join_keys}
    yield from _key_problems(service, place)
    types: dict[str, str] = {}
    for asking in service.on_demand():
        for name, kind in asking.request.items():
            where = f"{place}, request field {name}"
            if name in taken or name in home or name in keys:
                yield Problem(where, "is a feature or a join key of the service", "rename one")
            known = attempt(where, "", partial(request_types, {name: kind}))[0]
            if known and types.setdefault(name, known[name]) != known[name]:
                found = f"is a {types[name]} and a {known[name]}"
                yield Problem(where, found, "declare the same type in all on-demand views")


def _key_problems(service: FeatureService, place: str) -> Iterator[Problem]:
    """What is joined under another name, and by which columns of the question."""
    types: dict[str, str] = {}
    known: dict[str, FeatureView] = {}
    for view, _ in service.needed():
        for key, kind in view.entity.join_keys.items():
            canonical = attempt(f"{place}, join key {key}", "", partial(canonical_type, kind))[0]
            if canonical and types.setdefault(key, canonical) != canonical:
                found = f"is a {types[key]} for one view and a {canonical} for another"
                yield Problem(f"{place}, join key {key}", found, "join one of them as another name")
    read = [pair for asking in service.on_demand() for pair in asking.reads()]
    for taken, _ in [*service.selections(), *read]:
        if known.setdefault(taken.name, taken) != taken:
            found = "is taken in two ways that are not the same"
            yield Problem(f"{place}, view {taken.name}", found, "join one of them as another name")
    for view in known.values():
        if isinstance(view, AliasedView):
            yield from _alias_problems(view, f"{place}, view {view.stored.name} as {view.name}")


def _alias_problems(alias: AliasedView, place: str) -> Iterator[Problem]:
    yield from name_problems(place, alias.name)
    own = alias.stored.entity.join_keys
    for key in alias.keys:
        if key not in own:
            yield Problem(place, f"has no join key {key!r}", f"join keys: {', '.join(own)}")
    for name in alias.entity.join_keys:
        yield from name_problems(f"{place}, column {name}", name)
        if name in RESERVED_KEYS:
            yield Problem(f"{place}, column {name}", "is a reserved name", "choose another")
    if len(alias.entity.join_keys) < len(own):
        yield Problem(place, "takes two join keys from one column", "name a column for each")


def model_problems(model: Model) -> Iterator[Problem]:
    """Yield what is wrong with a model."""
    place = f"model {model.name}"
    yield from name_problems(place, model.name)
    features = model.service.feature_names()
    for label, name in model.baselines.items():
        if name not in features and name not in model.spine_features:
            yield Problem(
                f"{place}, baseline {label}",
                f"{name!r} is no feature of service {model.service.name}",
                f"features: {', '.join(features)}",
            )
    for name in (*model.spine_features, model.label):
        if name in features:
            yield Problem(
                f"{place}, spine column {name}",
                "is a feature of the service",
                "rename one of the two",
            )
    if not 0 < model.test_fraction < 1:
        yield Problem(
            f"{place}, test_fraction", f"is {model.test_fraction}", "use a share such as 0.2"
        )
    if model.rounds < 1:
        yield Problem(f"{place}, rounds", f"is {model.rounds}", "use at least 1")
    yield from _reserved_problems(model.parameters, f"{place}, parameters")
    yield from _candidate_problems(model, place)
    yield from _split_problems(model, place)
    yield from _threshold_problems(model, place)
    yield from _class_problems(model, place)
    yield from _fold_problems(model, place)
    if model.quality is not None:
        yield from quality_problems(model.quality, [*features, *model.spine_features], place)


def _class_problems(model: Model, place: str) -> Iterator[Problem]:
    objective = model.parameters.get("objective")
    if not model.classes:
        if objective == CLASS_PROBABILITIES:
            hint = 'name what the label may be, such as classes=("setosa", "virginica")'
            yield Problem(f"{place}, classes", f"are not given for {CLASS_PROBABILITIES}", hint)
        if model.predicts:
            hint = "name the classes, or leave it out"
            yield Problem(f"{place}, predicts", "stands without classes", hint)
        return
    where = f"{place}, classes"
    if len(model.classes) < FEWEST_CLASSES or len(set(model.classes)) < len(model.classes):
        hint = "name at least three, each once; two are told apart by a threshold"
        yield Problem(where, f"are {list(model.classes)}", hint)
    if "" in model.classes:
        yield Problem(where, "one is empty", "give it a name")
    if objective not in {None, CLASS_PROBABILITIES}:
        found = f"stand beside the objective {objective}"
        yield Problem(where, found, f"leave it out: it is {CLASS_PROBABILITIES}")
    for other in ("threshold", "decisions", "baselines"):
        if getattr(model, other):
            yield Problem(f"{place}, {other}", "stands beside classes", "leave one of them out")
    yield from field_name_problems(f"{place}, predicts", model.predicted_column)
    taken = {model.label, *model.service.feature_names(), *model.spine_features}
    if model.predicted_column in taken:
        found = f"{model.predicted_column!r} is the name of another column"
        yield Problem(f"{place}, predicts", found, "choose another")


def _fold_problems(model: Model, place: str) -> Iterator[Problem]:
    if model.folds is None:
        return
    if model.folds < FEWEST_FOLDS:
        yield Problem(f"{place}, folds", f"is {model.folds}", f"use at least {FEWEST_FOLDS}")
    if model.tested_from is not None or model.test_fraction != TEST_FRACTION:
        found = "stands beside a part of time that is held out"
        yield Problem(f"{place}, folds", found, "leave one of them out")


def _reserved_problems(parameters: Mapping[str, object], place: str) -> Iterator[Problem]:
    for name in sorted(RESERVED_PARAMETERS & set(parameters)):
        yield Problem(place, f"set {name}, which is not the model's to say", "leave it out")


def _candidate_problems(model: Model, place: str) -> Iterator[Problem]:
    for name, changed in model.candidates.items():
        where = f"{place}, candidate {name}"
        yield from name_problems(where, name)
        if name in ALWAYS_COMPARED:
            yield Problem(where, "is the name of what is always compared", "choose another")
        if not changed:
            hint = 'give parameters that differ from the model\'s own, such as {"max_depth": 4}'
            yield Problem(where, "changes nothing", hint)
        if "objective" in changed:
            found = "sets the objective, under which candidates could not be compared"
            yield Problem(where, found, "set it in the model's parameters")
        yield from _reserved_problems(changed, where)
        rounds = changed.get(ROUNDS, 1)
        if not isinstance(rounds, int) or rounds < 1:
            yield Problem(f"{where}, {ROUNDS}", f"is {rounds!r}", "use a whole number from 1 on")


def _split_problems(model: Model, place: str) -> Iterator[Problem]:
    instants = {}
    for role, text in (("trained_from", model.trained_from), ("tested_from", model.tested_from)):
        if text is not None:
            try:
                instants[role] = parse_instant_us(text)
            except InputError as error:
                yield Problem(f"{place}, {role}", error.message, "write it as 2022-05-15")
    if model.tested_from is None:
        if model.trained_from is not None:
            hint = "say with tested_from where the held-out part begins"
            yield Problem(f"{place}, trained_from", "stands without tested_from", hint)
        return
    if model.test_fraction != TEST_FRACTION:
        found = f"is {model.test_fraction} beside tested_from, which says what is held out"
        yield Problem(f"{place}, test_fraction", found, "give one of the two")
    if len(instants) == 2 and instants["tested_from"] <= instants["trained_from"]:
        found = f"{model.tested_from!r} is not after trained_from, {model.trained_from!r}"
        yield Problem(f"{place}, tested_from", found, "give a later instant")


def _threshold_problems(model: Model, place: str) -> Iterator[Problem]:
    objective = model.parameters.get("objective")
    where = f"{place}, threshold"
    if model.decisions and (model.threshold is None or len(model.decisions) != 2):
        hint = 'name two beside a threshold, such as ("Loan approved!", "Loan rejected!")'
        yield Problem(f"{place}, decisions", f"are {list(model.decisions)}", hint)
    if model.classes:
        return
    if model.threshold is None:
        if objective == PROBABILITIES:
            hint = "say above which probability a row is called positive, such as threshold=0.5"
            yield Problem(where, f"is not given for the objective {PROBABILITIES}", hint)
        return
    if objective != PROBABILITIES:
        found = f"is {model.threshold} for the objective {objective or 'reg:squarederror'}"
        yield Problem(where, found, f'write parameters={{"objective": "{PROBABILITIES}"}}')
    if not 0 < model.threshold < 1:
        yield Problem(where, f"is {model.threshold}", "use a probability between 0 and 1")
    if model.baselines:
        found = "forecast numbers, and a model with a threshold gives probabilities"
        yield Problem(f"{place}, baselines", found, "leave them out")
