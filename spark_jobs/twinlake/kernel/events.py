"""What goes in: columns, events sorted by key and time, and the questions asked of them.

All times are int64 microseconds since the epoch, UTC. Keys are dense codes 0..K-1; the caller
keeps what they stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from twinlake.errors import InputError
from twinlake.kernel.exact import BoolArray, IntArray, Numbers

NEVER_US = np.iinfo(np.int64).max
"""The time of what never happens: later than every time."""


@dataclass(frozen=True, slots=True)
class NumericColumn:
    """Cells of one numeric column.

    Attributes:
        values: float64 or int64 of shape (n,); decimals as scaled int64. Where a cell is null the
            value is 0, and -0.0 is 0.0: both are put right here.
        valid: bool of shape (n,), False for null.
        scale10: Decimal places: the cell is ``values / 10**scale10``.

    Raises:
        InputError: If shapes or types do not fit, or a valid cell is NaN or infinite.
    """

    values: Numbers
    valid: BoolArray
    scale10: int = 0

    def __post_init__(self) -> None:
        if self.values.dtype not in (np.float64, np.int64) or self.valid.dtype != np.bool_:
            raise InputError(
                f"a numeric column has {self.values.dtype} values and {self.valid.dtype} validity",
                hint="values must be float64 or int64, validity bool",
            )
        if self.values.shape != self.valid.shape:
            raise InputError(f"{self.values.shape} values but {self.valid.shape} validity flags")
        if self.scale10 and self.values.dtype != np.int64:
            raise InputError("a decimal column must be given as scaled int64")
        cleaned = self.values if self.valid.all() else np.where(self.valid, self.values, 0)
        if cleaned.dtype == np.float64:
            if not np.isfinite(cleaned).all():
                row = int(np.flatnonzero(~np.isfinite(cleaned))[0])
                raise InputError(f"a float column holds {cleaned[row]} in row {row}")
            cleaned = cleaned + 0.0
        object.__setattr__(self, "values", cleaned)

    def __len__(self) -> int:
        return int(self.values.size)

    def take(self, index: IntArray) -> NumericColumn:
        """Return the chosen cells; an index of -1 gives null."""
        if self.values.size == 0:
            empty = np.zeros(index.size, self.values.dtype)
            return NumericColumn(empty, np.zeros(index.size, np.bool_), self.scale10)
        valid = self.valid[index] & (index >= 0)
        return NumericColumn(self.values[index], valid, self.scale10)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """Cells of one text column, for count, first, last and plain values.

    Attributes:
        values: object array of shape (n,) of str; "" where null.
        valid: bool of shape (n,), False for null.
    """

    values: npt.NDArray[Any]
    valid: BoolArray

    def __len__(self) -> int:
        return int(self.values.size)

    def take(self, index: IntArray) -> TextColumn:
        """Return the chosen cells; an index of -1 gives null."""
        if self.values.size == 0:
            return TextColumn(np.full(index.size, "", object), np.zeros(index.size, np.bool_))
        valid = self.valid[index] & (index >= 0)
        return TextColumn(np.where(valid, self.values[index], ""), valid)


Column: TypeAlias = NumericColumn | TextColumn


@dataclass(frozen=True, slots=True)
class Events:
    """Rows of many keys, sorted by (key, event, known, tie) ascending; see ``sort_order``.

    Attributes:
        key_count: K; keys without rows are allowed.
        key: int64 codes of shape (n,), ascending.
        event_us: When it happened, shape (n,).
        known_us: When it was known, shape (n,).
        columns: Cells by column name, each of n rows.

    Raises:
        InputError: If the rows are not sorted or the lengths differ.
    """

    key_count: int
    key: IntArray
    event_us: IntArray
    known_us: IntArray
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {self.key.size, self.event_us.size, self.known_us.size}
        lengths.update(len(column) for column in self.columns.values())
        if len(lengths) > 1:
            raise InputError(f"events of unequal lengths: {sorted(lengths)}")
        if not self.key.size:
            return
        if self.key[0] < 0 or self.key[-1] >= self.key_count:
            raise InputError(f"an event has a key code outside 0..{self.key_count - 1}")
        if not _ascending(self.key, self.event_us, self.known_us):
            raise InputError(
                "events are not sorted by (key, event, known)",
                hint="take the rows in the order that sort_order gives",
            )

    def __len__(self) -> int:
        return int(self.key.size)

    def take(self, index: IntArray) -> Events:
        """Return the chosen rows; ``index`` must keep the order."""
        return Events(
            self.key_count,
            self.key[index],
            self.event_us[index],
            self.known_us[index],
            {name: column.take(index) for name, column in self.columns.items()},
        )


@dataclass(frozen=True, slots=True)
class Queries:
    """Questions "key as of (t, k)", in any order and number.

    Attributes:
        key: int64 codes of shape (q,); -1 for a key without events.
        as_of_us: t, shape (q,).
        known_by_us: k, shape (q,).
    """

    key: IntArray
    as_of_us: IntArray
    known_by_us: IntArray

    def __post_init__(self) -> None:
        if not self.key.size == self.as_of_us.size == self.known_by_us.size:
            raise InputError("queries of unequal lengths")

    @classmethod
    def at(cls, key: IntArray, as_of_us: IntArray) -> Queries:
        """Ask with k = t, the default."""
        return cls(key, as_of_us, as_of_us)

    def __len__(self) -> int:
        return int(self.key.size)

    def take(self, index: IntArray | slice) -> Queries:
        """Return the chosen queries."""
        return Queries(self.key[index], self.as_of_us[index], self.known_by_us[index])


def sort_order(
    key: IntArray,
    event_us: IntArray,
    known_us: IntArray,
    tie_hi: npt.NDArray[Any],
    tie_lo: npt.NDArray[Any],
) -> IntArray:
    """Return the permutation that sorts rows by (key, event, known, tie_hi, tie_lo), stably."""
    order: IntArray = np.lexsort((tie_lo, tie_hi, known_us, event_us, key)).astype(np.int64)
    return order


def _ascending(key: IntArray, event_us: IntArray, known_us: IntArray) -> bool:
    same_key = key[1:] == key[:-1]
    same_event = same_key & (event_us[1:] == event_us[:-1])
    wrong = key[1:] < key[:-1]
    wrong |= same_key & (event_us[1:] < event_us[:-1])
    wrong |= same_event & (known_us[1:] < known_us[:-1])
    return not wrong.any()
