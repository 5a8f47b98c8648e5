"""A hash of what a table holds that does not depend on the order or the chunking of its rows.

Every row gets a 128-bit hash, as two lanes of 64 bits; a table's hash is the sum of its rows' in
each lane, modulo 2**64. Sums can be added up, so every worker hashes the batches that it has and
one place combines the partial hashes. A row that is there twice counts twice.

A cell enters as a *canonical* value, so that two readers of one table agree:

* integers of every width are one kind; float32 is widened to float64; all NaN are one value and
  -0.0 is 0.0; null is a value of its own, unlike NaN, 0 or the empty string;
* timestamps count microseconds since the epoch (finer ones that are not whole microseconds are
  refused); with a zone, whichever, is another kind than without;
* decimals count in units of their scale, so 1.10 is another value than 1.1;
* strings and bytes enter as their BLAKE2b digest, taken once per distinct value of a slice.

Columns are taken in the order of their names, and name and kind are part of the hash. It guards
against change and loss, not against somebody who builds collisions on purpose.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.errors import InputError

Words = npt.NDArray[np.uint64]
Lanes = tuple[Words, Words]

# Small enough that the few arrays in use stay in a core's cache.
SLICE_ROWS = 32_768
LANE = 1 << 64
CANONICAL_NAN = np.uint64(0x7FF8_0000_0000_0000)
# Finalizers of splitmix64 and MurmurHash3: one per lane, so that the lanes differ in more than
# their seeds. Each is (shift, multiplier, shift, multiplier, shift).
MIX = (
    (30, 0xBF58_476D_1CE4_E5B9, 27, 0x94D0_49BB_1331_11EB, 31),
    (33, 0xFF51_AFD7_ED55_8CCD, 33, 0xC4CE_B9FE_1A85_EC53, 33),
)


class PartialHash(NamedTuple):
    """The sum of some rows' hashes: two lanes, each in ``[0, 2**64)``, and how many rows."""

    hi: int
    lo: int
    rows: int

    def pack(self) -> bytes:
        """Give the 24 bytes in which a worker hands it on; Spark has no unsigned integers."""
        return struct.pack(">QQQ", self.hi, self.lo, self.rows)

    @classmethod
    def unpack(cls, packed: bytes) -> PartialHash:
        """Read what ``pack`` gave."""
        return cls(*struct.unpack(">QQQ", packed))


EMPTY = PartialHash(0, 0, 0)


def content_hash(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> str:
    """Hash the rows of all batches.

    Args:
        batches: Batches that have at least ``columns``.
        columns: The columns that count; their order does not.

    Returns:
        32 hexadecimal digits.

    Raises:
        InputError: A column is missing, named twice, or of a type without a canonical value.
    """
    return digest(combine(partial_hash(batch, columns) for batch in batches), columns)


def combine(parts: Iterable[PartialHash]) -> PartialHash:
    """Add up partial hashes, in any order and grouping."""
    hi = lo = rows = 0
    for part in parts:
        hi, lo, rows = (hi + part.hi) % LANE, (lo + part.lo) % LANE, rows + part.rows
    return PartialHash(hi, lo, rows)


def digest(total: PartialHash, columns: Sequence[str]) -> str:
    """Close the sum of all rows: bind it to the columns and the number of rows.

    Returns:
        32 hexadecimal digits.
    """
    names = b"".join(
        struct.pack(">Q", len(name)) + name for name in map(str.encode, sorted(columns))
    )
    return blake2b(total.pack() + names, digest_size=16, person=b"twinlake.content").hexdigest()


def partial_hash(batch: pa.RecordBatch, columns: Sequence[str]) -> PartialHash:
    """Hash the rows of one batch, to be combined with others.

    Raises:
        InputError: As ``content_hash``.
    """
    hi, lo = row_hashes(batch, columns)
    return PartialHash(
        int(np.add.reduce(hi, dtype=np.uint64)), int(np.add.reduce(lo, dtype=np.uint64)), len(hi)
    )


def row_hashes(batch: pa.RecordBatch, columns: Sequence[str]) -> Lanes:
    """Hash each row.

    Returns:
        Two lanes, each of shape (rows,).

    Raises:
        InputError: As ``content_hash``.
    """
    if len(set(columns)) != len(columns):
        raise InputError(f"a column is named twice in {', '.join(columns)}")
    for name in columns:
        if name not in batch.schema.names:
            raise InputError.unknown("column", name, batch.schema.names)
    lanes = (np.zeros(batch.num_rows, np.uint64), np.zeros(batch.num_rows, np.uint64))
    for start in range(0, batch.num_rows, SLICE_ROWS):
        piece = batch.slice(start, SLICE_ROWS)
        stop = start + piece.num_rows
        accumulated = (lanes[0][start:stop], lanes[1][start:stop])
        for name in sorted(columns):
            _absorb(accumulated, name, piece.column(name))
    return lanes


def _absorb(accumulated: Lanes, name: str, cells: pa.Array) -> None:
    """Fold one column into the rows' hashes, in place."""
    if isinstance(cells.type, pa.DictionaryType):
        cells = cells.dictionary_decode()
    kind, words = _canonical(name, cells)
    value_seed = blake2b(f"{name}\0{kind}".encode(), digest_size=16).digest()
    null_seed = blake2b(f"{name}\0null".encode(), digest_size=16).digest()
    is_null = cells.is_null().to_numpy(zero_copy_only=False) if cells.null_count else None
    for lane, rows in enumerate(accumulated):
        for word in words[lane]:
            seeded = word ^ np.uint64(int.from_bytes(value_seed[8 * lane : 8 * lane + 8]))
            if is_null is not None:
                seeded[is_null] = np.uint64(int.from_bytes(null_seed[8 * lane : 8 * lane + 8]))
            np.add(rows, seeded, out=rows)
            _mix(rows, lane)


def _mix(values: Words, lane: int) -> None:
    """Spread every bit of each value over all 64, in place and reversibly."""
    first, multiplier, second, other, third = MIX[lane]
    values ^= values >> np.uint64(first)
    values *= np.uint64(multiplier)
    values ^= values >> np.uint64(second)
    values *= np.uint64(other)
    values ^= values >> np.uint64(third)


def _canonical(name: str, cells: pa.Array) -> tuple[str, tuple[list[Words], list[Words]]]:
    """Give a column's kind and, per lane, the words of its cells; a null's words mean nothing."""
    kind, of_type = cells.type, pa.types
    if of_type.is_string(kind) or of_type.is_large_string(kind):
        return "string", _text_words(cells)
    if of_type.is_binary(kind) or of_type.is_large_binary(kind):
        return "binary", _text_words(cells)
    if of_type.is_decimal128(kind):
        words = _buffer(cells, 16).reshape(-1, 2)
        both = [np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1])]
        return f"decimal({kind.scale})", (both, both)
    if of_type.is_floating(kind):
        doubles = _filled(cells.cast(pa.float64()), 0.0)
        bits = (doubles + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0
        bits[np.isnan(doubles)] = CANONICAL_NAN
        return "float", ([bits], [bits])
    return _canonical_whole(name, cells)


def _canonical_whole(name: str, cells: pa.Array) -> tuple[str, tuple[list[Words], list[Words]]]:
    """Give the kind and words of a column whose cells are whole numbers of something."""
    kind, of_type = cells.type, pa.types
    if of_type.is_timestamp(kind):
        label = "timestamp" if kind.tz is None else "timestamp with zone"
        try:
            whole = cells.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise InputError(
                f"column {name} has timestamps that are no whole microseconds ({kind})",
                hint="cast it to microseconds",
            ) from error
    elif of_type.is_date(kind):
        label, whole = "date", cells.cast(pa.date32()).cast(pa.int32())
    elif of_type.is_integer(kind):
        label, whole = "integer", cells
    elif of_type.is_boolean(kind):
        label, whole = "boolean", cells.cast(pa.int8())
    elif of_type.is_null(kind):
        label, whole = "null", cells.cast(pa.int64())
    else:
        raise InputError(f"column {name} is of type {kind}, which has no canonical value to hash")
    if not of_type.is_uint64(whole.type):
        whole = whole.cast(pa.int64())
    bits = _filled(whole, 0).view(np.uint64)
    return label, ([bits], [bits])


def _text_words(cells: pa.Array) -> tuple[list[Words], list[Words]]:
    """Digest each distinct string or byte string once and spread the digests over the cells."""
    coded = cells.dictionary_encode()
    values = [
        value.encode() if isinstance(value, str) else value
        for value in coded.dictionary.to_pylist()
    ]
    digests = b"".join(blake2b(value, digest_size=16).digest() for value in values)
    # One more entry, for the nulls of a column that holds nothing else.
    table = np.frombuffer(digests + bytes(16), dtype="<u8").astype(np.uint64).reshape(-1, 2)
    positions = _filled(coded.indices, 0)
    return [table[positions, 0]], [table[positions, 1]]


def _filled(cells: pa.Array, value: float) -> npt.NDArray[Any]:
    """Give the cells as numpy, with a value in place of nulls so that no type has to change."""
    return pc.fill_null(cells, value).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _buffer(cells: pa.Array, width: int) -> Words:
    """Give the raw values of a fixed-width array as little-endian words."""
    raw = cells.buffers()[1]
    start, size = cells.offset * width, len(cells) * width
    return np.frombuffer(raw, dtype="<u8")[start // 8 : (start + size) // 8].astype(np.uint64)
