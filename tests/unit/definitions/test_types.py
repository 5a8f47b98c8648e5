"""Types and schemas by their Spark SQL names."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlake.definitions.resolution import feature_type, numeric_kind
from twinlake.definitions.types import (
    FLOAT_TYPES,
    INTEGER_TYPES,
    OTHER_TYPES,
    Field,
    canonical_type,
    decimal_scale,
    is_decimal,
    is_numeric,
    parse_schema,
)

NAMES = st.text("abcxyz_019", max_size=6).map("c{}".format)
DECIMALS = st.integers(1, 18).flatmap(
    lambda p: st.integers(0, p).map(lambda s: f"decimal({p},{s})")
)
TYPES = st.sampled_from((*INTEGER_TYPES, *FLOAT_TYPES, *OTHER_TYPES)) | DECIMALS


def spelled(kind: str) -> st.SearchStrategy[str]:
    """Other spellings of a type: upper case, white space, Spark's other names."""
    other = {"int": "INTEGER", "bigint": "Long", "smallint": "short", "tinyint": "byte"}
    spaced = kind.replace("(", " ( ").replace(",", " , ").replace(")", " )")
    return st.sampled_from([kind, kind.upper(), f"  {spaced} ", other.get(kind, kind)])


SPELLED = TYPES.flatmap(lambda kind: st.tuples(st.just(kind), spelled(kind)))


@given(SPELLED)
def test_every_spelling_has_one_canonical_type(case: tuple[str, str]) -> None:
    kind, text = case
    assert canonical_type(text) == kind
    assert canonical_type(kind) == kind


@given(st.lists(st.tuples(NAMES, SPELLED), min_size=1, max_size=5))
def test_a_written_schema_reads_back(columns: list[tuple[str, tuple[str, str]]]) -> None:
    text = ", ".join(f"{name} {written}" for name, (_, written) in columns)
    assert parse_schema(text) == tuple(Field(name, kind) for name, (kind, _) in columns)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "varchar",
        "decimal",
        "decimal(19,2)",
        "decimal(5,6)",
        "decimal(0,0)",
        "decimal(5,-1)",
        "array<int>",
        "timestamp_ntz",
        "int int",
    ],
)
def test_unknown_types_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a type|does not fit"):
        canonical_type(text)


@pytest.mark.parametrize("text", ["", ",", "id", "id string,", "id string day date"])
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|not a type"):
        parse_schema(text)


@given(st.text(max_size=20))
def test_any_text_is_a_schema_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_schema(text)


@given(TYPES)
def test_what_is_numeric(kind: str) -> None:
    assert is_numeric(kind) == (numeric_kind(kind) != "other")
    assert is_decimal(kind) == kind.startswith("decimal")
    assert decimal_scale(kind) == (int(kind[:-1].split(",")[1]) if is_decimal(kind) else 0)


@pytest.mark.parametrize(
    ("function", "column", "expected"),
    [
        ("count", None, "bigint"),
        ("count", "string", "bigint"),
        ("sum", "tinyint", "bigint"),
        ("sum", "decimal(9,2)", "double"),
        ("sum", "float", "double"),
        ("mean", "bigint", "double"),
        ("stddev", "int", "double"),
        ("min", "decimal(9,2)", "decimal(9,2)"),
        ("max", "float", "float"),
        ("first", "date", "date"),
        ("last", "string", "string"),
        (None, "timestamp", "timestamp"),
    ],
)
def test_the_type_of_a_feature(function: str | None, column: str | None, expected: str) -> None:
    assert feature_type(function, column) == expected


def test_a_function_without_a_column_has_no_type() -> None:
    with pytest.raises(ValueError, match="sum needs a column"):
        feature_type("sum", None)
