"""Check what a model says of its quality: windows, labels, alerts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial

from twinlake.definitions.names import attempt, name_problems
from twinlake.definitions.quality import (
    METRICS,
    OF_A_CLASS,
    OF_A_FEATURE,
    Alert,
    Labels,
    Quality,
)
from twinlake.definitions.resolution import all_columns
from twinlake.definitions.times import DAY_US, format_duration, parse_duration_us
from twinlake.errors import Problem

_DURATION_HINT = "write a duration such as 10s, 1m or 14d"
# A window that is longer would hold its rows for longer, and a day is a multiple of most others.
_LONGEST_US = 31 * DAY_US
# What Kafka takes for the name of a topic.
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def quality_problems(quality: Quality, features: list[str], place: str) -> Iterator[Problem]:
    """Yield what is wrong with a model's quality.

    Args:
        quality: What is watched.
        features: What the model takes.
        place: The model that it belongs to.
    """
    place = f"{place}, quality"
    yield from _duration_problems(quality.window, f"{place}, window", 1, _LONGEST_US)
    yield from _duration_problems(quality.lateness, f"{place}, lateness", 0)
    if quality.labels is not None:
        yield from _label_problems(quality.labels, f"{place}, labels")
    for role in ("topic", "totals_topic", "alerts_topic"):
        name = getattr(quality, role)
        if name and not _TOPIC.fullmatch(name):
            hint = "use letters, digits, dots, dashes and underscores"
            yield Problem(f"{place}, {role}", f"{name!r} is no name of a topic", hint)
    for name, count in Counter(alert.name for alert in quality.alerts).items():
        if count > 1:
            found = f"is there {count} times"
            yield Problem(f"{place}, alert {name}", found, "give each a name of its own")
    for alert in quality.alerts:
        yield from _alert_problems(alert, features, f"{place}, alert {alert.name}")


def _duration_problems(
    text: str, place: str, least_us: int, most_us: int | None = None
) -> Iterator[Problem]:
    length_us, problems = attempt(place, _DURATION_HINT, partial(parse_duration_us, text))
    yield from problems
    if length_us is None:
        return
    if length_us < least_us:
        yield Problem(place, f"is {text!r}", "give more than nothing, such as 1m")
    if most_us is not None and length_us > most_us:
        yield Problem(place, f"is {text!r}", f"give at most {format_duration(most_us)}")


def _label_problems(labels: Labels, place: str) -> Iterator[Problem]:
    yield from _duration_problems(labels.within, f"{place}, within", 1)
    ids = labels.id_columns
    if not ids:
        hint = 'name them, such as prediction_id=["ride_id"]'
        yield Problem(f"{place}, prediction_id", "names no column", hint)
    columns: Mapping[str, str] = {}
    try:
        columns = all_columns(labels.source)
    except ValueError:  # told with the source itself
        return
    listed = f"columns of source {labels.source.name}: {', '.join(columns)}"
    for name in ids.values():
        if name not in columns:
            yield Problem(f"{place}, prediction_id", f"there is no column {name!r}", listed)
    if labels.label not in columns:
        yield Problem(f"{place}, label", f"there is no column {labels.label!r}", listed)
    elif labels.label in ids.values():
        found = f"{labels.label!r} identifies the prediction"
        yield Problem(f"{place}, label", found, "name the column that says what was true")


def _alert_problems(alert: Alert, features: list[str], place: str) -> Iterator[Problem]:
    yield from name_problems(place, alert.name)
    if alert.metric not in METRICS:
        yield Problem(
            f"{place}, metric", f"{alert.metric!r} is unknown", f"known: {', '.join(METRICS)}"
        )
    if (alert.above is None) == (alert.below is None):
        found = "has neither above nor below" if alert.above is None else "has above and below"
        yield Problem(place, found, "give one of the two, such as below=0.9")
    for role, threshold in (("above", alert.above), ("below", alert.below)):
        if threshold is not None and not math.isfinite(threshold):
            yield Problem(f"{place}, {role}", f"is {threshold}", "give a finite number")
    for role, number in (("windows", alert.windows), ("minimum_records", alert.minimum_records)):
        if number < 1:
            yield Problem(f"{place}, {role}", f"is {number}", "use at least 1")
    yield from _duration_problems(alert.hold_off, f"{place}, hold_off", 0)
    if alert.metric == OF_A_CLASS and alert.of is None:
        yield Problem(f"{place}, of", "is not given", "name the class whose error is meant")
    elif alert.metric == OF_A_FEATURE and alert.of is not None and alert.of not in features:
        found = f"{alert.of!r} is no input of the model"
        yield Problem(f"{place}, of", found, f"inputs: {', '.join(features)}")
    elif alert.metric not in {OF_A_CLASS, OF_A_FEATURE} and alert.of is not None:
        hint = f"leave it out; it is for {OF_A_CLASS} and {OF_A_FEATURE}"
        yield Problem(f"{place}, of", f"is {alert.of!r} for {alert.metric}", hint)
