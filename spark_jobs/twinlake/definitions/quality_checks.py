"""Check what is watched of models."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Generator, Iterator

from twinlake.definitions.names import name_problems
from twinlake.definitions.quality import (
    OF_A_CLASS,
    OF_ALL,
    OF_CLASSES,
    OF_FORECASTS,
    OF_PROBABILITIES,
    Alert,
    Quality,
)
from twinlake.definitions.services import Model
from twinlake.definitions.times import DAY_US, parse_duration_us
from twinlake.errors import Problem

# What Kafka takes for the name of a topic.
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def quality_problems(model: Model) -> Iterator[Problem]:
    """Yield what is wrong with what is watched of a model."""
    if model.quality is None:
        return
    place, quality = f"model {model.name}, quality", model.quality
    window_us = yield from _duration(f"{place}, window", quality.window, 1)
    if window_us is not None and DAY_US % window_us:
        found = f"{quality.window!r} does not divide a day"
        yield Problem(f"{place}, window", found, "write it as 1m, 15m or 1h")
    yield from _duration(f"{place}, lateness", quality.lateness, 0)
    yield from _topic_problems(quality, place)
    for name, count in Counter(alert.name for alert in quality.alerts).items():
        if count > 1:
            yield Problem(f"{place}, alert {name}", f"is there {count} times", "rename all but one")
    for alert in quality.alerts:
        yield from _alert_problems(model, alert, f"{place}, alert {alert.name}")


def _topic_problems(quality: Quality, place: str) -> Iterator[Problem]:
    for role in ("topic", "totals_topic", "alerts_topic"):
        name = getattr(quality, role)
        if name and not _TOPIC.fullmatch(name):
            hint = "use letters, digits, dots, dashes and underscores"
            yield Problem(f"{place}, {role}", f"{name!r} is no name of a topic", hint)


def metrics_of(model: Model) -> tuple[str, ...]:
    """Name what windows of a model are measured by."""
    if model.classes:
        return (*OF_ALL, *OF_CLASSES, *OF_A_CLASS)
    return (*OF_ALL, *(OF_FORECASTS if model.threshold is None else OF_PROBABILITIES))


def _alert_problems(model: Model, alert: Alert, place: str) -> Iterator[Problem]:
    yield from name_problems(place, alert.name)
    known = metrics_of(model)
    if alert.metric not in known:
        found = f"{alert.metric!r} is no figure of this model"
        yield Problem(f"{place}, metric", found, f"figures: {', '.join(known)}")
    elif alert.metric in OF_A_CLASS and alert.of not in model.classes:
        found = f"{alert.of!r} is no class of the model"
        yield Problem(f"{place}, of", found, f"classes: {', '.join(model.classes)}")
    elif alert.metric not in OF_A_CLASS and alert.of:
        yield Problem(f"{place}, of", f"{alert.metric} is of no class", "leave it out")
    bounds = [bound for bound in (alert.above, alert.below) if bound is not None]
    if len(bounds) != 1 or not math.isfinite(bounds[0]):
        yield Problem(place, "has not one bound", "give either above= or below=, a number")
    if alert.windows < 1:
        yield Problem(f"{place}, windows", f"is {alert.windows}", "use at least 1")
    if alert.minimum_records < 1:
        found = f"is {alert.minimum_records}"
        yield Problem(f"{place}, minimum_records", found, "use at least 1")
    yield from _duration(f"{place}, hold_off", alert.hold_off, 0)


def _duration(place: str, text: str, least_us: int) -> Generator[Problem, None, int | None]:
    """Read a duration; yields what is wrong with it, and returns it in microseconds."""
    try:
        us = parse_duration_us(text)
    except ValueError as error:
        yield Problem(place, str(error), "write it as 10s, 1m or 1h")
        return None
    if us < least_us:
        yield Problem(place, f"is {text!r}", "give a longer one")
        return None
    return us
