"""Expectations: what rows and batches must fulfil, in Great Expectations' vocabulary.

Each has the name and the arguments that Great Expectations gives it. The type decides what it is:

* one on single rows is compiled into a predicate; a row that breaks it is quarantined. A null
  passes all of them but ``not_be_null``, and is equal to nothing but another null;
* one on a whole batch, or on a share of its rows (``mostly``), stops the batch before anything is
  written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Arguments = Mapping[str, Any]
_BETWEEN = frozenset({"min_value", "max_value", "strict_min", "strict_max"})
_NONE: frozenset[str] = frozenset()


def _named(*names: str) -> frozenset[str]:
    return frozenset(names)


# On single rows: type -> (arguments it must have, arguments it may have).
ROW_LEVEL: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "expect_column_values_to_not_be_null": (_named("column"), _NONE),
    "expect_column_values_to_be_null": (_named("column"), _NONE),
    "expect_column_values_to_be_between": (_named("column"), _BETWEEN),
    "expect_column_values_to_be_in_set": (_named("column", "value_set"), _NONE),
    "expect_column_values_to_not_be_in_set": (_named("column", "value_set"), _NONE),
    "expect_column_values_to_match_regex": (_named("column", "regex"), _NONE),
    "expect_column_values_to_not_match_regex": (_named("column", "regex"), _NONE),
    "expect_column_values_to_match_regex_list": (
        _named("column", "regex_list"),
        _named("match_on"),
    ),
    "expect_column_values_to_not_match_regex_list": (_named("column", "regex_list"), _NONE),
    "expect_column_value_lengths_to_be_between": (_named("column"), _BETWEEN),
    "expect_column_value_lengths_to_equal": (_named("column", "value"), _NONE),
    "expect_column_pair_values_a_to_be_greater_than_b": (
        _named("column_A", "column_B"),
        _named("or_equal"),
    ),
    "expect_column_pair_values_to_be_equal": (_named("column_A", "column_B"), _NONE),
}
# On a batch: the same. Quantiles are not among them: Great Expectations answers a second question
# about a column's quantiles with the values that it found for the first.
BATCH_LEVEL: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "expect_table_row_count_to_be_between": (_NONE, _BETWEEN),
    "expect_table_row_count_to_equal": (_named("value"), _NONE),
    **{
        f"expect_column_{measure}_to_be_between": (_named("column"), _BETWEEN)
        for measure in (
            "max", "mean", "median", "min", "proportion_of_non_null_values",
            "proportion_of_unique_values", "stdev", "sum", "unique_value_count",
        )
    },
    "expect_column_distinct_values_to_be_in_set": (_named("column", "value_set"), _NONE),
    "expect_column_distinct_values_to_contain_set": (_named("column", "value_set"), _NONE),
    "expect_column_distinct_values_to_equal_set": (_named("column", "value_set"), _NONE),
    "expect_column_values_to_be_unique": (_named("column"), _NONE),
    "expect_compound_columns_to_be_unique": (_named("column_list"), _NONE),
}  # fmt: skip
# Any expectation on single rows may ask for a share of them, and is one on the batch then.
SHARE = "mostly"


def _plain(value: Any) -> Any:  # noqa: ANN401 (a list or any value)
    """Write sets and tuples as lists, which is how a registry gives them back."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


class Expectation:
    """One declared expectation; equal and hashable by its type and arguments.

    Examples:
        >>> Expectation("expect_column_values_to_be_between", column="energy_count", min_value=40)
        Expectation('expect_column_values_to_be_between', column='energy_count', min_value=40)
    """

    __slots__ = ("_arguments", "type")

    def __init__(self, type: str, **arguments: Any) -> None:  # noqa: A002, ANN401 (GX's own word)
        """Keep the type and its arguments as they are; they are checked with the definitions."""
        self.type = type
        plain = {name: _plain(value) for name, value in arguments.items()}
        self._arguments = tuple(sorted(plain.items(), key=lambda item: item[0]))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name."""
        return dict(self._arguments)

    @property
    def is_row_level(self) -> bool:
        """Whether it judges single rows; otherwise it judges a batch."""
        return self.type in ROW_LEVEL and SHARE not in self.arguments

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the expectation reads."""
        return tuple(self._columns())

    def _columns(self) -> Iterator[str]:
        for name, value in self._arguments:
            if name in {"column", "column_A", "column_B"} and isinstance(value, str):
                yield value
            if name == "column_list" and isinstance(value, list):
                yield from (item for item in value if isinstance(item, str))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expectation) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        listed = "".join(f", {name}={value!r}" for name, value in self._arguments)
        return f"Expectation({self.type!r}{listed})"

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in self._arguments)
        return f"{self.type}({listed})"
