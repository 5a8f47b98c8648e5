"""Check expectations: what Great Expectations could not judge, or Spark would judge otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twinlake.definitions.expectations import BATCH_LEVEL, ROW_LEVEL, SHARE, Expectation
from twinlake.definitions.kinds import fits
from twinlake.definitions.times import parse_instant_us
from twinlake.definitions.types import is_numeric
from twinlake.errors import InputError, Problem

# What arguments may be: plain values, which a registry can hold.
_SCALAR = str | int | float | bool | None
_TEXT, _ONE_COLUMN, _FLAG = (str, "give a text"), (str, "name one column"), (bool, "True or False")
_ARGUMENTS: dict[str, tuple[Any, str]] = {
    "column": _ONE_COLUMN,
    "column_A": _ONE_COLUMN,
    "column_B": _ONE_COLUMN,
    "column_list": (Sequence[str], "give a list of columns"),
    "regex": _TEXT,
    "regex_list": (Sequence[str], "give a list of texts"),
    "match_on": _TEXT,
    "value_set": (Sequence[_SCALAR], "give a list of numbers or texts"),
    "value": (int, "give a whole number"),
    "strict_min": _FLAG,
    "strict_max": _FLAG,
    "or_equal": _FLAG,
    "mostly": (float, "give a share such as 0.95"),
}
_OTHERWISE = (_SCALAR, "give a number, a text, true or false")
# What columns these read, by the part of their name that tells.
_OF_TEXT = ("regex", "lengths")
_OF_NUMBERS = ("mean", "median", "stdev", "sum")
_COUNTS = ("lengths", "row_count", "unique_value", "proportion")
# ISO 8601 as far as Spark reads it.
_DAY = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?"
_WRITTEN = {"date": re.compile(_DAY), "timestamp": re.compile(f"{_DAY}([ T]{_CLOCK})?")}


def expectation_problems(
    expectation: Expectation, place: str, columns: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield what is wrong with an expectation.

    Args:
        expectation: The expectation.
        place: The source that it belongs to.
        columns: The source's columns with their types.
    """
    place = f"{place}, {expectation.type}"
    found = {**ROW_LEVEL, **BATCH_LEVEL}.get(expectation.type)
    if found is None:
        yield Problem(
            place,
            "is not supported: it neither compiles to a predicate on single rows nor judges a "
            "batch on Spark",
            f"supported: {', '.join(sorted({**ROW_LEVEL, **BATCH_LEVEL}))}",
        )
        return
    problems = list(_argument_problems(expectation, place, *found))
    for name in expectation.columns:
        if name not in columns:
            listed = f"columns: {', '.join(columns)}"
            problems.append(Problem(place, f"there is no column {name!r}", listed))
    # What is not of the right Python type is not looked at any closer.
    yield from problems or _value_problems(expectation, place, columns)


def _argument_problems(
    expectation: Expectation, place: str, required: frozenset[str], optional: frozenset[str]
) -> Iterator[Problem]:
    given = set(expectation.arguments)
    allowed = required | optional | ({SHARE} if expectation.type in ROW_LEVEL else frozenset())
    for name in sorted(required - given):
        yield Problem(
            place, f"lacks the argument {name!r}", "give it as Great Expectations names it"
        )
    for name in sorted(given - allowed):
        yield Problem(place, f"the argument {name!r} is not supported", "leave it out")
    for name, value in expectation.arguments.items():
        wanted, hint = _ARGUMENTS.get(name, _OTHERWISE)
        if not fits(value, wanted):
            yield Problem(place, f"{name} is {value!r}", hint)


def _value_problems(
    expectation: Expectation, place: str, columns: Mapping[str, str]
) -> Iterator[Problem]:
    given = expectation.arguments
    share = given.get(SHARE)
    if share is not None and not 0 < share < 1:
        hint = "give a share between 0 and 1, or leave it out: then each row is judged by itself"
        yield Problem(place, f"{SHARE} is {share}", hint)
    if given.get("match_on", "any") not in {"any", "all"}:
        yield Problem(place, f"match_on is {given['match_on']!r}", "use any or all")
    for name in ("value_set", "regex_list", "column_list"):
        if name in given and not given[name]:
            yield Problem(place, f"{name} is empty", "give at least one")
    kinds = [columns[name] for name in expectation.columns]
    wrong = list(_kind_problems(expectation, place, kinds))
    if wrong:
        yield from wrong
        return
    kind = kinds[0] if kinds and not _is(expectation, _COUNTS) else "bigint"
    yield from _bound_problems(expectation, place, kind)
    for value in given.get("value_set", ()):
        if not _comparable(kind, value):
            found = f"value_set has {value!r} for a {kind}"
            yield Problem(place, found, "give values of the column's type, dates as texts")


def _kind_problems(expectation: Expectation, place: str, kinds: Sequence[str]) -> Iterator[Problem]:
    listed = ", ".join(kinds)
    if "binary" in kinds and not expectation.type.endswith("be_null"):
        yield Problem(place, "reads a binary column", "derive a string: hex(...) or base64(...)")
    elif _is(expectation, _OF_TEXT) and kinds != ["string"]:
        yield Problem(place, f"reads a {listed}", "it is for texts")
    elif _is(expectation, _OF_NUMBERS) and not _is(expectation, _COUNTS):
        if not all(is_numeric(kind) for kind in kinds):
            yield Problem(place, f"reads a {listed}", "it is for numbers")
    elif "pair" in expectation.type and len({_sort(kind) for kind in kinds}) > 1:
        yield Problem(place, f"compares {listed}", "compare columns of one sort")
    elif (
        expectation.type in BATCH_LEVEL
        and "timestamp" in kinds
        and not _is(expectation, (*_COUNTS, "unique"))
    ):
        yield Problem(place, "reads a timestamp", "derive a date, or a number of seconds")


def _bound_problems(expectation: Expectation, place: str, kind: str) -> Iterator[Problem]:
    given = expectation.arguments
    if not expectation.type.endswith("to_be_between"):
        return
    low, high = given.get("min_value"), given.get("max_value")
    if low is None and high is None:
        yield Problem(place, "has neither min_value nor max_value", "give at least one")
    if kind in {"string", "boolean"}:
        hint = "compare numbers or dates; for others give a value_set or a regex"
        yield Problem(place, f"Great Expectations knows no bounds for a {kind}", hint)
        return
    wrong = [value for value in (low, high) if value is not None and not _comparable(kind, value)]
    for value in wrong:
        hint = "give a number" if is_numeric(kind) else f"give a {kind} as a text, in ISO 8601"
        yield Problem(place, f"compares a {kind} with {value!r}", hint)
    if low is not None and high is not None and not wrong and low > high:
        yield Problem(place, f"min_value {low!r} is above max_value {high!r}", "swap them")


def _is(expectation: Expectation, parts: Sequence[str]) -> bool:
    return any(part in expectation.type for part in parts)


def _sort(kind: str) -> str:
    return "number" if is_numeric(kind) else kind


def _comparable(kind: str, value: object) -> bool:
    """Tell whether Spark compares a column and a value without guessing what is meant."""
    if kind == "boolean":
        return isinstance(value, bool)
    if is_numeric(kind):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) and _says(kind, value)


def _says(kind: str, text: str) -> bool:
    """Tell whether a text says a value of a type; Spark would make a null of any other."""
    pattern = _WRITTEN.get(kind)
    if pattern is None:
        return True
    try:
        return pattern.fullmatch(text) is not None and parse_instant_us(text) is not None
    except InputError:
        return False
