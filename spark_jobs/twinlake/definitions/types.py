"""Column types, by their Spark SQL names, and the short form in which a schema is declared."""

from __future__ import annotations

import re
from dataclasses import dataclass

INTEGER_BITS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
INTEGER_TYPES = tuple(INTEGER_BITS)
FLOAT_TYPES = ("float", "double")
OTHER_TYPES = ("string", "boolean", "date", "timestamp", "binary")
_ALIASES = {"integer": "int", "long": "bigint", "short": "smallint", "byte": "tinyint"}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
# Decimals travel through the kernel as scaled 64-bit integers.
MAX_DECIMAL_PRECISION = 18

COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# What Cassandra, Keyspaces, SQLite and Spark all take; Keyspaces allows 48 characters.
SAFE_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed column. ``type`` is the canonical Spark SQL name."""

    name: str
    type: str


def canonical_type(text: str) -> str:
    """Give the canonical name of a type.

    Raises:
        ValueError: twinlake does not know the type.

    Examples:
        >>> canonical_type("LONG"), canonical_type("decimal( 12, 2 )")
        ('bigint', 'decimal(12,2)')
    """
    name = re.sub(r"\s+", "", text).lower()
    name = _ALIASES.get(name, name)
    if name in INTEGER_TYPES or name in FLOAT_TYPES or name in OTHER_TYPES:
        return name
    match = _DECIMAL.fullmatch(name)
    if match is None:
        raise ValueError(f"{text.strip()!r} is not a type twinlake knows")
    precision, scale = int(match[1]), int(match[2])
    if not 0 < precision <= MAX_DECIMAL_PRECISION or scale > precision:
        raise ValueError(f"{name} does not fit: at most decimal({MAX_DECIMAL_PRECISION},s)")
    return name


def is_numeric(type_name: str) -> bool:
    """Tell whether values of this type can be added up."""
    return type_name in INTEGER_TYPES or type_name in FLOAT_TYPES or is_decimal(type_name)


def is_decimal(type_name: str) -> bool:
    """Tell whether this is a decimal type."""
    return type_name.startswith("decimal(")


def decimal_scale(type_name: str) -> int:
    """Give the number of digits after the point; 0 for every type that is not a decimal."""
    match = _DECIMAL.fullmatch(type_name)
    return int(match[2]) if match else 0


def parse_schema(text: str) -> tuple[Field, ...]:
    """Read ``"tid string, amount decimal(12,2)"``.

    Raises:
        ValueError: A part is not a name and a type, or the schema is empty.

    Examples:
        >>> [field.name for field in parse_schema("tid string, amount decimal(12,2)")]
        ['tid', 'amount']
    """
    fields = []
    for part in re.split(r",(?![^(]*\))", text):
        words = part.split(maxsplit=1)
        if len(words) != 2:
            raise ValueError(f"{part.strip()!r} is not 'name type'")
        fields.append(Field(words[0], canonical_type(words[1])))
    return tuple(fields)
