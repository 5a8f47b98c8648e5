"""The gate: expectations as Spark predicates, and the reasons why a row does not pass.

Each predicate agrees with what Great Expectations says of the same row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import and_
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.expectations import Expectation
from twinlake.definitions.types import FLOAT_TYPES

Arguments = dict[str, Any]


def passes(expectation: Expectation) -> Column:
    """Compile an expectation into a predicate: true where a row passes, never null."""
    predicate = _PREDICATES[expectation.type](expectation.arguments)
    return F.coalesce(predicate, F.lit(True))


def finite(name: str) -> Column:
    """A predicate that is true where a floating-point column is a number or null."""
    column = F.col(name)
    infinite = column.isin(float("inf"), float("-inf"))
    return F.coalesce(~(F.isnan(column) | infinite), F.lit(True))


def passes_all(rules: Sequence[tuple[str, Column]]) -> Column:
    """A predicate that is true where a row breaks none of the rules, and never null."""
    return reduce(and_, (predicate for _, predicate in rules), F.lit(True))


def reasons(rules: Sequence[tuple[str, Column]]) -> Column:
    """Gather the texts of the rules that a row breaks; null where it breaks none.

    Args:
        rules: Text and predicate of each rule; predicates are never null.
    """
    if not rules:
        return F.lit(None).cast("array<string>")
    broken = F.array_compact(
        F.array(*(F.when(~predicate, F.lit(text)) for text, predicate in rules))
    )
    # Almost every row is clean, and for those no array is built.
    return F.when(passes_all(rules), F.lit(None).cast("array<string>")).otherwise(broken)


def finite_rules(columns: dict[str, str]) -> list[tuple[str, Column]]:
    """Give one rule per floating-point column: NaN and infinities do not pass."""
    return [
        (f"{name}: not a finite number", finite(name))
        for name, kind in columns.items()
        if kind in FLOAT_TYPES
    ]


def expectation_rules(expectations: Sequence[Expectation]) -> list[tuple[str, Column]]:
    """Give one rule per declared expectation."""
    return [(str(expectation), passes(expectation)) for expectation in expectations]


def _between(arguments: Arguments) -> Column:
    return _within(F.col(arguments["column"]), arguments)


def _within(column: Column, arguments: Arguments) -> Column:
    predicate = F.lit(True)
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if low is not None:
        above = column > F.lit(low) if arguments.get("strict_min") else column >= F.lit(low)
        predicate = predicate & above
    if high is not None:
        below = column < F.lit(high) if arguments.get("strict_max") else column <= F.lit(high)
        predicate = predicate & below
    return predicate


def _lengths_between(arguments: Arguments) -> Column:
    return _within(F.length(F.col(arguments["column"])), arguments)


def _matches_list(arguments: Arguments) -> Column:
    column, texts = F.col(arguments["column"]), arguments["regex_list"]
    if arguments.get("match_on", "any") == "any":
        # One pattern of alternatives, as there: a flag such as (?i) reaches those after it.
        return column.rlike("|".join(texts))
    return reduce(Column.__and__, [column.rlike(text) for text in texts])


def _matches_none(arguments: Arguments) -> Column:
    column = F.col(arguments["column"])
    return reduce(Column.__and__, [~column.rlike(text) for text in arguments["regex_list"]])


def _greater(arguments: Arguments) -> Column:
    left, right = F.col(arguments["column_A"]), F.col(arguments["column_B"])
    return left >= right if arguments.get("or_equal") else left > right


_PREDICATES: dict[str, Callable[[Arguments], Column]] = {
    "expect_column_values_to_not_be_null": lambda a: F.col(a["column"]).isNotNull(),
    "expect_column_values_to_be_null": lambda a: F.col(a["column"]).isNull(),
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": lambda a: F.col(a["column"]).isin(*a["value_set"]),
    "expect_column_values_to_not_be_in_set": lambda a: ~F.col(a["column"]).isin(*a["value_set"]),
    "expect_column_values_to_match_regex": lambda a: F.col(a["column"]).rlike(a["regex"]),
    "expect_column_values_to_not_match_regex": lambda a: ~F.col(a["column"]).rlike(a["regex"]),
    "expect_column_values_to_match_regex_list": _matches_list,
    "expect_column_values_to_not_match_regex_list": _matches_none,
    "expect_column_value_lengths_to_be_between": _lengths_between,
    "expect_column_value_lengths_to_equal": lambda a: F.length(F.col(a["column"])) == a["value"],
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": lambda a: F.col(a["column_A"]).eqNullSafe(
        F.col(a["column_B"])
    ),
}
