"""Expectations: what a row must fulfil to be accepted, in Great Expectations' vocabulary.

Only expectations on single rows are declared here, each under the name and with the arguments that
Great Expectations gives it. A null passes every one of them except ``not_be_null``, as there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Arguments = Mapping[str, Any]

# Supported type -> (arguments it must have, arguments it may have).
SUPPORTED: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "expect_column_values_to_not_be_null": (frozenset({"column"}), frozenset()),
    "expect_column_values_to_be_null": (frozenset({"column"}), frozenset()),
    "expect_column_values_to_be_between": (
        frozenset({"column"}),
        frozenset({"min_value", "max_value", "strict_min", "strict_max"}),
    ),
    "expect_column_values_to_be_in_set": (frozenset({"column", "value_set"}), frozenset()),
    "expect_column_values_to_not_be_in_set": (frozenset({"column", "value_set"}), frozenset()),
    "expect_column_values_to_match_regex": (frozenset({"column", "regex"}), frozenset()),
    "expect_column_values_to_not_match_regex": (frozenset({"column", "regex"}), frozenset()),
    "expect_column_value_lengths_to_be_between": (
        frozenset({"column"}),
        frozenset({"min_value", "max_value"}),
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": (
        frozenset({"column_A", "column_B"}),
        frozenset({"or_equal"}),
    ),
}


def _plain(value: Any) -> Any:  # noqa: ANN401 (a list or any value)
    """Write sets and tuples as lists, which is how a registry gives them back."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return list(value) if isinstance(value, tuple) else value


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
    def columns(self) -> tuple[str, ...]:
        """The columns that the expectation reads."""
        return tuple(self._columns())

    def _columns(self) -> Iterator[str]:
        for name, value in self._arguments:
            if name in {"column", "column_A", "column_B"} and isinstance(value, str):
                yield value

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
