"""Names, types and values that every online store takes and gives back.

What one store could hold and another could not is refused here, once, so that a feature that works
on the embedded store works on the cluster too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from math import isnan
from typing import Final

from twinlake.errors import InputError

INT64_LOW: Final = -(2**63)
INT64_HIGH: Final = 2**63 - 1
MAX_DIGITS: Final = 38  # of Spark's widest decimal
MAX_ROW_BYTES: Final = 1_000_000  # a row of Keyspaces; Cassandra takes more, but suffers
MAX_KEY_BYTES: Final = 65_000  # a partition key of Cassandra has 16 bits for its length
RESERVED_PREFIX: Final = "tl_"

_SAFE_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_DECIMAL = re.compile(r"decimal\(([1-9]\d?),(0|[1-9]\d?)\)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INTEGER_BITS: Final = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
_PYTHON: Final[dict[str, type]] = {
    "string": str,
    "boolean": bool,
    **dict.fromkeys(_INTEGER_BITS, int),
    "float": float,
    "double": float,
    "decimal": Decimal,
    "date": date,
    "timestamp": datetime,
    "binary": bytes,
}
# A digit that does not fit must raise, never round.
_EXACT = Context(prec=MAX_DIGITS, traps=[Inexact, InvalidOperation])


def check_name(kind: str, name: str) -> None:
    """Refuse a name that may not stand in a statement.

    Statements quote every name, so reserved words are fine; ``tl_`` belongs to the columns that
    each online table has, and ``sqlite_`` to SQLite.

    Raises:
        InputError: The name is not a safe identifier, or has a reserved prefix.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name {kind} of an online table",
            hint="use 1 to 48 lower-case letters, digits and underscores, a letter first",
        )
    if name.startswith((RESERVED_PREFIX, "sqlite_")):
        raise InputError(
            f"{name!r} cannot name {kind} of an online table: its prefix is reserved",
            hint=f"choose a name that does not start with {RESERVED_PREFIX} or sqlite_",
        )


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of one column, by its Spark SQL simple name.

    Attributes:
        name: As declared: ``bigint``, ``decimal(12,2)``.
        kind: The name without parameters.
        python: The only Python class whose values the column takes; subclasses are refused, which
            keeps booleans out of numbers, datetimes out of dates and numpy scalars out of rows.
        precision: Digits of a decimal, else 0.
        scale: Digits of a decimal behind the point, else 0.
        limit: What else a value of that class must hold to, None if nothing.
    """

    name: str
    kind: str
    python: type
    precision: int = 0
    scale: int = 0
    limit: Callable[..., str | None] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look the limit up once; ``problem`` runs for every cell."""
        object.__setattr__(self, "limit", _LIMITS.get(self.kind))

    @classmethod
    def parse(cls, name: str) -> ColumnType:
        """Read a type name.

        Raises:
            InputError: No online column has this type.
        """
        if name in _PYTHON and name != "decimal":
            return cls(name, name, _PYTHON[name])
        if match := _DECIMAL.fullmatch(name):
            precision, scale = int(match[1]), int(match[2])
            if scale <= precision <= MAX_DIGITS:
                return cls(name, "decimal", Decimal, precision, scale)
        known = ", ".join(kind for kind in _PYTHON if kind != "decimal")
        raise InputError(
            f"{name!r} is no type of an online column",
            hint=f"known: {known}, decimal(p,s) with s <= p <= {MAX_DIGITS}",
        )

    def problem(self, value: object) -> str | None:
        """Say why the column cannot hold this value, or None if it can; null is the caller's."""
        if type(value) is not self.python:
            return f"expected {self.python.__name__}, got {type(value).__name__}"
        return None if self.limit is None else self.limit(self, value)


def _integer_problem(column: ColumnType, value: int) -> str | None:
    bits = _INTEGER_BITS[column.kind]
    return None if -(1 << bits - 1) <= value < 1 << bits - 1 else f"outside {column.kind}"


def _double_problem(_: ColumnType, value: float) -> str | None:
    return "NaN is not stored" if isnan(value) else None


def _float_problem(_: ColumnType, value: float) -> str | None:
    try:
        if value == struct.unpack("f", struct.pack("f", value))[0]:
            return None
    except OverflowError:
        pass
    return "NaN is not stored" if isnan(value) else "not a 32-bit float"


def _decimal_problem(column: ColumnType, value: Decimal) -> str | None:
    try:
        decimal_text(column, value)
    except (Inexact, InvalidOperation):
        return f"does not fit {column.name} exactly"
    return None


def _string_problem(_: ColumnType, value: str) -> str | None:
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return "not valid Unicode: it holds a lone surrogate"
    return None


def _timestamp_problem(_: ColumnType, value: datetime) -> str | None:
    if value.utcoffset() is None:
        return "a timestamp without zone"
    try:
        value.astimezone(UTC)
    except OverflowError:
        return "outside the years 1 to 9999 in UTC"
    return None


_LIMITS: Final[dict[str, Callable[..., str | None]]] = {
    **dict.fromkeys(_INTEGER_BITS, _integer_problem),
    "double": _double_problem,
    "float": _float_problem,
    "decimal": _decimal_problem,
    "string": _string_problem,
    "timestamp": _timestamp_problem,
}


def decimal_text(column: ColumnType, value: Decimal) -> str:
    """Write a decimal with exactly the column's digits behind the point, so equal means same text.

    Raises:
        Inexact: A digit would be lost.
        InvalidOperation: Not finite, or more digits than the column has.
    """
    if not value.is_finite():  # a quiet NaN passes quantize
        raise InvalidOperation
    fixed = value.quantize(Decimal((0, (1,), -column.scale)), context=_EXACT)
    if len(fixed.as_tuple().digits) > column.precision and fixed:
        raise InvalidOperation
    return format(fixed or fixed.copy_abs(), "f")


def to_micros(value: datetime) -> int:
    """Microseconds since 1970-01-01 UTC."""
    return (value - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The moment, in UTC, that many microseconds after 1970-01-01 UTC."""
    return _EPOCH + timedelta(microseconds=micros)
