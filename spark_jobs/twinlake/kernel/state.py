"""The published state: one blob per key and view, from which windows are computed as of any t.

All numbers are little endian. A blob is a run of 8-byte words; every section starts on a word.

Header, 12 words (96 bytes)::

     0  4  magic "TLS1"
     4  2  format version, 1
     6  2  flags: bit 0 a newest history row exists
     8 16  fingerprint of the view's definition
    24 16  id of the events table
    40  8  V, the version of the events table that this state reflects
    48  8  exact_from, microseconds: questions with t >= exact_from and k >= exact_from are exact
    56  8  event time of the newest history row, microseconds (0 if there is none)
    64  8  known time of that row
    72  4  S, number of singles          76  4  T, number of tiles
    80  4  L, number of later rows       84  4  0, reserved
    88  4  length of the blob in words   92  4  length of the heap in bytes

A row is *history* if ``max(event, known) <= exact_from``, else *later*. "Windowed columns" are
those with parts other than ``plain``, "plain columns" those with it, each in the order of the
view's shape. Sections follow without gaps:

1. Newest: if flag bit 0, per plain column ``cells(1)`` of the newest history row.
2. Singles, history rows alone in their hop tile (without a hop: all): ``event[S]``, then per
   windowed column ``cells(S)``.
3. Tiles, of two or more history rows: ``oldest event[T]``, ``newest event[T]``, ``halves`` rows
   per tile, then per windowed column, each only if the column has that part: ``halves`` non-null
   count; ``limbs`` sum; ``limbs`` sum of squares; ``min[T]``, ``max[T]`` (what never
   wins where all are null); ``cells(T)`` of the first row; ``cells(T)`` of the last row.
4. Later: ``event[L]``, ``known[L]``, then per column of the shape ``cells(L)``, sorted by
   (event, known, tie).
5. Heap: the bytes of all text, utf-8, padded with 0.

``name[n]`` is n words. ``halves`` is n unsigned 32-bit integers, padded to a word. ``cells(n)``
is a validity bitmap (bit ``i % 64`` of word ``i // 64``) and n words: a float64, an int64, or for
text the start in the heap (low half) and length in bytes (high half). ``limbs`` is absent if
T = 0, else one word, exponent / 32 (int32, low half) and width w (high half), and ``halves`` with
w limbs per tile: a two's complement integer, lowest limb first, times ``2**exponent``.

Left out is what no question with t >= exact_from and k >= exact_from can reach: rows at or before
the tail of the longest window as of exact_from, except later rows newer than the newest history
row. Where windows without a hop may hold N rows at most, rows are left out too that more than N
newer ones bury, see ``bounded``: a window that reaches further holds more than N, and is overflow.
How late a row became known does not matter here, since k may be greater than t. A blob
depends on its own key's rows only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from twinlake.errors import InputError
from twinlake.kernel.bounded import within_bound
from twinlake.kernel.elements import Elements, fold_rows, group_edges
from twinlake.kernel.events import Column, Events, NumericColumn, TextColumn
from twinlake.kernel.exact import IntArray, normalised
from twinlake.kernel.expiry import visible_from_us
from twinlake.kernel.layout import WORD_BYTES, Spread, Writer
from twinlake.kernel.shape import Shape, StateColumn
from twinlake.kernel.windows import tail_us

MAGIC = b"TLS1"
FORMAT_VERSION = 1
HEADER_WORDS = 12
LENGTH_WORD = 11
ID_BYTES = 16

HEADER = np.dtype(
    [
        ("magic", "S4"),
        ("format", "<u2"),
        ("flags", "<u2"),
        ("fingerprint", "V16"),
        ("table_id", "V16"),
        ("version", "<i8"),
        ("exact_from_us", "<i8"),
        ("newest_event_us", "<i8"),
        ("newest_known_us", "<i8"),
        ("singles", "<u4"),
        ("tiles", "<u4"),
        ("later", "<u4"),
        ("reserved", "<u4"),
        ("words", "<u4"),
        ("heap_bytes", "<u4"),
    ]
)
# What a peek wants of one header alone, which NumPy takes thirty times as long to read.
_CODES = {"|S4": "4s", "|V16": "16s", "<u2": "H", "<u4": "I", "<i8": "q"}
_PEEKED = ("magic", "format", "fingerprint", "version", "exact_from_us", "later", "words")
_PEEK = struct.Struct(
    "<"
    + "".join(
        _CODES[HEADER[name].str] if name in _PEEKED else f"{HEADER[name].itemsize}x"
        for name in HEADER.names or ()
    )
)


class Peeked(NamedTuple):
    """What the header of one state says, without opening it.

    Attributes:
        version: V, the version of the events table that it reflects.
        exact_from_us: Questions with t and k from there on are exact.
        later: Whether it holds rows that are visible only after ``exact_from``.
    """

    version: int
    exact_from_us: int
    later: bool


def peek(blob: bytes, fingerprint: bytes) -> Peeked | None:
    """Read the header of one state; None if it is none of that definition, or not whole."""
    size = len(blob)
    if size < _PEEK.size:
        return None
    magic, form, found, version, exact_from_us, later, words = _PEEK.unpack_from(blob)
    if found != fingerprint or magic != MAGIC or form != FORMAT_VERSION:
        return None
    return Peeked(version, exact_from_us, later > 0) if words * WORD_BYTES == size else None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of what a state is a function, besides its rows.

    Attributes:
        fingerprint: Of the view's definition, 16 bytes.
        table_id: Of the events table, 16 bytes.
        version: V, the version of the events table; one for all keys, or one per key.
    """

    fingerprint: bytes
    table_id: bytes
    version: int | IntArray

    def __post_init__(self) -> None:
        if len(self.fingerprint) != ID_BYTES or len(self.table_id) != ID_BYTES:
            raise InputError(
                f"a fingerprint of {len(self.fingerprint)} and a table id of "
                f"{len(self.table_id)} bytes; both have {ID_BYTES}"
            )


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The rows of all keys, sorted into what a state tells apart."""

    newest_row: IntArray = field(repr=False)
    singles: Events
    tiles: Elements
    later: Events


def fold(
    events: Events, exact_from_us: IntArray, shape: Shape, provenance: Provenance
) -> list[bytes]:
    """Fold the events of every key into its state.

    Args:
        events: All rows of K keys up to version V, with the columns of ``shape``.
        exact_from_us: Per key the t from which on reads are exact, shape (K,).
        shape: What the view needs.
        provenance: What the header says of the rows' origin.

    Returns:
        K blobs, in the order of the key codes; a key without rows has one too.

    Raises:
        InputError: If a column is missing or of another kind than the shape says.
    """
    for column in shape.columns:
        _check_kind(events, column)
    events = within_bound(events, exact_from_us, shape.most_rows)
    rows = _sort_out(events, exact_from_us, shape)
    writer = Writer(events.key_count)
    _write_header(writer, events, exact_from_us, rows, provenance)
    exists = rows.newest_row >= 0
    newest = Spread(exists.astype(np.int64))
    for column in shape.plain:
        _write_cells(writer, newest, events.columns[column.name].take(rows.newest_row[exists]))
    singles = _spread(rows.singles.key, events.key_count)
    writer.words(singles.counts, rows.singles.event_us)
    for column in shape.windowed:
        _write_cells(writer, singles, rows.singles.columns[column.name])
    _write_tiles(writer, rows.tiles, shape)
    later = _spread(rows.later.key, events.key_count)
    writer.words(later.counts, rows.later.event_us)
    writer.words(later.counts, rows.later.known_us)
    for column in shape.columns:
        _write_cells(writer, later, rows.later.columns[column.name])
    return writer.finish(LENGTH_WORD)


def _sort_out(events: Events, exact_from_us: IntArray, shape: Shape) -> _Sorted:
    cut = exact_from_us[events.key]
    is_history = visible_from_us(events) <= cut
    history = np.flatnonzero(is_history)
    newest_row = np.full(events.key_count, -1, np.int64)
    newest_row[events.key[history]] = history  # of repeated keys the last, newest row stays
    in_reach = np.zeros(len(events), np.bool_)
    if shape.max_window_us is not None:
        in_reach = events.event_us > tail_us(cut, shape.max_window_us, shape.hop_us)
    newer = np.arange(len(events)) > newest_row[events.key]
    kept = np.flatnonzero(is_history & in_reach)
    singles, tiles = _group(_with(events, shape.windowed).take(kept), shape)
    later = np.flatnonzero(~is_history & (in_reach | newer))
    later_rows = _with(events, shape.columns).take(later)
    return _Sorted(newest_row, singles, tiles, later_rows)


def _group(kept: Events, shape: Shape) -> tuple[Events, Elements]:
    """Tell rows alone in their hop tile from tiles of several."""
    needs = {column.name: column.window_parts for column in shape.windowed}
    starts = np.arange(len(kept)) if shape.hop_us is None else group_edges(kept, shape.hop_us)
    size = np.diff(np.append(starts, len(kept)))
    shared = np.repeat(size > 1, size)
    singles = kept.take(np.flatnonzero(~shared))
    tile_starts = (np.cumsum(size[size > 1]) - size[size > 1]).astype(np.int64)
    return singles, fold_rows(kept.take(np.flatnonzero(shared)), tile_starts, needs)


def _with(events: Events, columns: list[StateColumn] | tuple[StateColumn, ...]) -> Events:
    return replace(events, columns={c.name: events.columns[c.name] for c in columns})


def _write_header(
    writer: Writer,
    events: Events,
    exact_from_us: IntArray,
    rows: _Sorted,
    provenance: Provenance,
) -> None:
    count = events.key_count
    exists = rows.newest_row >= 0
    header = np.zeros(count, HEADER)
    header["magic"], header["format"], header["flags"] = MAGIC, FORMAT_VERSION, exists
    header["fingerprint"] = np.void(provenance.fingerprint)
    header["table_id"] = np.void(provenance.table_id)
    header["version"], header["exact_from_us"] = provenance.version, exact_from_us
    header["newest_event_us"][exists] = events.event_us[rows.newest_row[exists]]
    header["newest_known_us"][exists] = events.known_us[rows.newest_row[exists]]
    header["singles"] = np.bincount(rows.singles.key, minlength=count)
    header["tiles"] = np.bincount(rows.tiles.key, minlength=count)
    header["later"] = np.bincount(rows.later.key, minlength=count)
    writer.words(np.full(count, HEADER_WORDS, np.int64), header.view("<i8"))


def _write_tiles(writer: Writer, tiles: Elements, shape: Shape) -> None:
    spread = _spread(tiles.key, tiles.key_count)
    writer.words(spread.counts, tiles.oldest_us)
    writer.words(spread.counts, tiles.pos_us)
    writer.halves(spread, tiles.rows)
    for column in shape.windowed:
        partials = tiles.columns[column.name]
        if partials.count is not None:
            writer.halves(spread, partials.count)
        if partials.total is not None:
            writer.limbs(spread, normalised(partials.total))
        if partials.squares is not None:
            writer.limbs(spread, normalised(partials.squares))
        if partials.lowest is not None and partials.highest is not None:
            writer.words(spread.counts, partials.lowest)
            writer.words(spread.counts, partials.highest)
        if partials.first is not None:
            _write_cells(writer, spread, partials.first)
        if partials.last is not None:
            _write_cells(writer, spread, partials.last)


def _write_cells(writer: Writer, spread: Spread, column: Column) -> None:
    writer.bits(spread, column.valid)
    if isinstance(column, TextColumn):
        writer.texts(spread, column.values, column.valid)
    else:
        writer.words(spread.counts, column.values)


def _spread(key: IntArray, key_count: int) -> Spread:
    return Spread(np.bincount(key, minlength=key_count).astype(np.int64))


def _check_kind(events: Events, column: StateColumn) -> None:
    if column.name not in events.columns:
        raise InputError.unknown("column", column.name, events.columns)
    cells = events.columns[column.name]
    found, scale10 = "utf8", 0
    if isinstance(cells, NumericColumn):
        found, scale10 = ("f8" if cells.values.dtype == np.float64 else "i8"), cells.scale10
    if (found, scale10) != (column.kind, column.scale10):
        raise InputError(
            f"column {column.name} is {found} with {scale10} decimal places, the view's state "
            f"has {column.kind} with {column.scale10}"
        )
