"""The gate's rules in Python, row by row; tests/spark/test_row_gate.py asks Spark the same."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from twinlake.definitions.expectations import ROW_LEVEL, Expectation
from twinlake.testing.row_gate import passes

KINDS = {
    "n": "int", "b": "bigint", "x": "double", "y": "double", "f": "float", "m": "decimal(6,2)",
    "s": "string", "t": "string", "day": "date", "at": "timestamp", "flag": "boolean",
}  # fmt: skip
PREFIX = "expect_column_values_to_"
PAIR = "expect_column_pair_values_"

CASES: list[tuple[str, dict[str, Any], dict[str, Any], bool | None]] = [
    (PREFIX + "not_be_null", {"column": "x"}, {"x": None}, False),
    (PREFIX + "not_be_null", {"column": "x"}, {"x": 0.0}, True),
    (PREFIX + "be_null", {"column": "x"}, {"x": 0.0}, False),
    (PREFIX + "be_between", {"column": "n", "min_value": 1}, {"n": None}, True),
    (PREFIX + "be_between", {"column": "n", "min_value": 1}, {"n": 1}, True),
    (PREFIX + "be_between", {"column": "n", "min_value": 1, "strict_min": True}, {"n": 1}, False),
    (PREFIX + "be_between", {"column": "n", "max_value": 1}, {"n": 2}, False),
    (PREFIX + "be_between", {"column": "n", "max_value": 1, "strict_max": True}, {"n": 1}, False),
    (PREFIX + "be_between", {"column": "m", "min_value": 0.1}, {"m": Decimal("0.10")}, True),
    (PREFIX + "be_between", {"column": "day", "max_value": "2014-02-28"},
     {"day": dt.date(2014, 3, 1)}, False),
    (PREFIX + "be_between", {"column": "at", "min_value": "2014-03-01"},
     {"at": dt.datetime(2014, 2, 28, 23, tzinfo=dt.UTC)}, False),
    # Beside a float a whole number is one, and loses what does not fit.
    (PREFIX + "be_between", {"column": "f", "min_value": 2**24 + 1}, {"f": 2.0**24}, True),
    (PREFIX + "be_in_set", {"column": "s", "value_set": ["a"]}, {"s": "A"}, False),
    (PREFIX + "be_in_set", {"column": "s", "value_set": ["a"]}, {"s": None}, True),
    (PREFIX + "be_in_set", {"column": "day", "value_set": ["2014-02-28"]},
     {"day": dt.date(2014, 2, 28)}, True),
    (PREFIX + "be_in_set", {"column": "b", "value_set": [2.0**53, 1]}, {"b": 2**53 + 1}, True),
    (PREFIX + "be_in_set", {"column": "b", "value_set": [2**53, 1]}, {"b": 2**53 + 1}, False),
    (PREFIX + "not_be_in_set", {"column": "n", "value_set": [0]}, {"n": 0}, False),
    (PREFIX + "not_be_in_set", {"column": "n", "value_set": [0]}, {"n": None}, True),
    ("expect_column_value_lengths_to_equal", {"column": "s", "value": 1}, {"s": "\U0001f600"},
     True),
    ("expect_column_value_lengths_to_equal", {"column": "s", "value": 1}, {"s": None}, True),
    ("expect_column_value_lengths_to_be_between", {"column": "s", "max_value": 2}, {"s": "abc"},
     False),
    (PAIR + "a_to_be_greater_than_b", {"column_A": "x", "column_B": "y"}, {"x": 1.0, "y": 1.0},
     False),
    (PAIR + "a_to_be_greater_than_b", {"column_A": "x", "column_B": "y", "or_equal": True},
     {"x": 1.0, "y": 1.0}, True),
    (PAIR + "a_to_be_greater_than_b", {"column_A": "x", "column_B": "y"}, {"x": 1.0, "y": None},
     True),
    (PAIR + "to_be_equal", {"column_A": "x", "column_B": "y"}, {"x": 1.0, "y": None}, False),
    (PAIR + "to_be_equal", {"column_A": "x", "column_B": "y"}, {"x": None, "y": None}, True),
    (PAIR + "to_be_equal", {"column_A": "m", "column_B": "x"}, {"m": Decimal("0.10"), "x": 0.1},
     True),
    # What only Spark can judge.
    (PREFIX + "be_in_set", {"column": "at", "value_set": ["2014-03-01"]}, {"at": None}, None),
    (PREFIX + "match_regex", {"column": "s", "regex": "a"}, {"s": "b"}, None),
    (PREFIX + "not_match_regex", {"column": "s", "regex": "a"}, {"s": "b"}, None),
    (PREFIX + "match_regex_list", {"column": "s", "regex_list": ["a"]}, {"s": "b"}, None),
    (PREFIX + "not_match_regex_list", {"column": "s", "regex_list": ["a"]}, {"s": "b"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments", "cells", "verdict"), CASES)
def test_a_row_is_judged(
    kind: str, arguments: dict[str, Any], cells: dict[str, Any], verdict: bool | None
) -> None:
    assert passes(Expectation(kind, **arguments), cells, KINDS) is verdict


def test_every_type_is_here() -> None:
    assert {kind for kind, *_ in CASES} == set(ROW_LEVEL)
