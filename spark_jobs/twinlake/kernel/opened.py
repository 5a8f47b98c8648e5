"""Reading published states: windows as of any t from exact_from on, equal to the raw events'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinlake.errors import InputError, StateError
from twinlake.kernel.aggregates import Part, Tiles, by_windows, combine
from twinlake.kernel.asof import Lookup, check_keys
from twinlake.kernel.bounded import limited
from twinlake.kernel.elements import Elements, Partials
from twinlake.kernel.events import Column, Events, NumericColumn, Queries, TextColumn
from twinlake.kernel.exact import BoolArray, IntArray, Limbs
from twinlake.kernel.expiry import (
    appearing_us,
    becomes_newest,
    expiring_us,
    in_some_window,
    leaving_us,
    windows_of,
)
from twinlake.kernel.layout import WORD_BYTES, Reader, Spread, concatenated
from twinlake.kernel.measures import Measure, Measured
from twinlake.kernel.shape import Shape, StateColumn
from twinlake.kernel.state import FORMAT_VERSION, HEADER, HEADER_WORDS, MAGIC


@dataclass(frozen=True, slots=True)
class OpenedStates:
    """The states of K keys, ready for questions with t and k >= ``exact_from_us``.

    Attributes:
        shape: What they hold.
        table_id: Id of the events table per key, 16 bytes each, shape (K,).
        version: V per key.
        exact_from_us: Per key.
        has_newest: Whether a history row exists, per key.
        newest_event_us: Event time of the newest history row, 0 if there is none.
        newest_known_us: Its known time.
        newest: One element per key with a history row: its plain columns.
        singles: History rows alone in their tile; all visible.
        tiles: History tiles; all visible.
        later: Rows visible only after exact_from, with all columns.
    """

    shape: Shape
    table_id: npt.NDArray[np.void]
    version: IntArray
    exact_from_us: IntArray
    has_newest: BoolArray
    newest_event_us: IntArray
    newest_known_us: IntArray
    newest: Tiles
    singles: Lookup
    tiles: Tiles
    later: Lookup

    def __len__(self) -> int:
        return int(self.version.size)


def open_states(blobs: Sequence[bytes], shape: Shape, fingerprint: bytes) -> OpenedStates:
    """Decode states; key codes are the positions in ``blobs``.

    Args:
        blobs: What ``fold`` made, of any versions.
        shape: The shape of the view with that fingerprint.
        fingerprint: The definition's fingerprint, 16 bytes.

    Raises:
        StateError: If a blob is truncated, not a state, of another format version or definition.
    """
    words, start = concatenated(blobs)
    header = _read_headers(words, start, len(blobs), fingerprint)
    whole = start + header["words"]
    heap_words = (header["heap_bytes"].astype(np.int64) + WORD_BYTES - 1) // WORD_BYTES
    reader = Reader(words, start + HEADER_WORDS, whole - heap_words)
    exists = (header["flags"] & 1).astype(np.bool_)
    newest = Spread(exists.astype(np.int64))
    newest_us = header["newest_event_us"].astype(np.int64)
    plain = {c.name: _read_cells(reader, newest, c) for c in shape.plain}
    singles = _read_singles(reader, Spread(header["singles"].astype(np.int64)), shape)
    tiles = _read_tiles(reader, Spread(header["tiles"].astype(np.int64)), shape)
    later = _read_later(reader, Spread(header["later"].astype(np.int64)), shape)
    reader.check_finished()
    return OpenedStates(
        shape,
        header["table_id"],
        header["version"].astype(np.int64),
        header["exact_from_us"].astype(np.int64),
        exists,
        newest_us,
        header["newest_known_us"].astype(np.int64),
        Tiles(_newest_elements(newest, newest_us[exists], plain)),
        Lookup(singles),
        Tiles(tiles),
        Lookup(later),
    )


def compute_states(
    states: OpenedStates, queries: Queries, measures: Sequence[Measure]
) -> list[Measured]:
    """Answer every measure for every query, bit for bit as ``compute`` does from raw events.

    Args:
        states: Opened states.
        queries: Questions with t and k >= the key's exact_from.
        measures: What the shape holds; ``Measure("last", c, None)`` is plain column c.

    Raises:
        InputError: If a question is older than exact_from, or a measure is not held.
    """
    states.shape.check(measures)
    _check_exact(states, queries)

    def answer(questions: Queries, tail: IntArray, asked: Sequence[Measure]) -> list[Measured]:
        parts = _history_parts(states, questions, tail, plain=asked[0].window_us is None)
        low, high = states.later.ranges(questions, tail)
        return combine(parts, states.later, questions, low, high, asked)

    def answer_all(asked: Sequence[Measure]) -> list[Measured]:
        answers: dict[int, Measured] = {}
        for plain in (True, False):
            places = [i for i, m in enumerate(asked) if (m.window_us is None) == plain]
            alike = [asked[i] for i in places]
            done = by_windows(queries, alike, states.shape.hop_us, answer)
            answers.update(zip(places, done, strict=True))
        return [answers[i] for i in range(len(asked))]

    return limited(measures, states.shape.most_rows, answer_all)


def newest_event_us(states: OpenedStates, queries: Queries) -> tuple[IntArray, BoolArray]:
    """Return the event time of each key's newest visible row, and whether there is one.

    Raises:
        InputError: If a question is older than exact_from.
    """
    _check_exact(states, queries)
    later = states.later
    high = later.until(queries)
    low = later.starts_of(queries.key)
    row = later.last_visible(low, high, queries.known_by_us)
    some = np.flatnonzero(row >= low)
    of_key = queries.key >= 0
    exists = np.zeros(len(queries), np.bool_)
    newest = np.zeros(len(queries), np.int64)
    exists[of_key] = states.has_newest[queries.key[of_key]]
    newest[of_key] = states.newest_event_us[queries.key[of_key]]
    late = later.events.event_us[row[some]]
    newest[some] = np.where(exists[some], np.maximum(newest[some], late), late)
    exists[some] = True
    return newest, exists


def states_valid_until_us(
    states: OpenedStates,
    queries: Queries,
    measures: Sequence[Measure],
    ttl_us: int | None,
) -> IntArray:
    """Return what ``valid_until_us`` returns for the raw events.

    Raises:
        InputError: If a query has k != t, or is older than exact_from.
    """
    if (queries.known_by_us != queries.as_of_us).any():
        raise InputError("valid_until is for questions with k = t only")
    states.shape.check(measures)
    windows, hop_us = windows_of(measures), states.shape.hop_us
    newest, exists = newest_event_us(states, queries)
    until = expiring_us(newest, exists, queries.as_of_us, ttl_us)
    for source in (states.singles, states.tiles, states.later):
        until = np.minimum(until, leaving_us(source, queries, windows, hop_us))
    later = states.later.events
    beats_history = ~states.has_newest[later.key] | (
        later.event_us >= states.newest_event_us[later.key]
    )
    relevant = in_some_window(later, windows, hop_us) | (becomes_newest(later) & beats_history)
    return np.minimum(until, appearing_us(later, relevant, queries))


def _history_parts(
    states: OpenedStates, queries: Queries, tail: IntArray, *, plain: bool
) -> list[Part]:
    if plain:
        return [states.newest.part(queries, tail)]
    parts = []
    if len(states.singles.events) or not len(states.tiles):
        low, high = states.singles.ranges(queries, tail)
        parts.append(Part(states.singles.source, low, high))
    if len(states.tiles):
        parts.append(states.tiles.part(queries, tail))
    return parts


def _check_exact(states: OpenedStates, queries: Queries) -> None:
    check_keys(queries, len(states))
    row = np.flatnonzero(queries.key >= 0)
    exact_from = states.exact_from_us[queries.key[row]]
    asked = np.minimum(queries.as_of_us[row], queries.known_by_us[row])
    early = np.flatnonzero(asked < exact_from)
    if early.size:
        i = int(early[0])
        raise InputError(
            f"question {int(row[i])} is as of {int(asked[i])} us, but the state of its key is "
            f"exact from {int(exact_from[i])} us on",
            hint="values of the past come from a training set",
        )


def _read_headers(
    words: IntArray, start: IntArray, count: int, fingerprint: bytes
) -> npt.NDArray[np.void]:
    length = np.diff(np.append(start, words.size))
    short = np.flatnonzero(length < HEADER_WORDS)
    if short.size:
        i = int(short[0])
        found, needed = int(length[i]) * WORD_BYTES, HEADER_WORDS * WORD_BYTES
        raise StateError(f"state {i} has {found} bytes, its header alone has {needed}")
    item = start[:, None] + np.arange(HEADER_WORDS)
    header: npt.NDArray[np.void] = words[item].reshape(count * HEADER_WORDS).view(HEADER)
    wanted = np.frombuffer(fingerprint, "V16")
    for name, expected in (("magic", MAGIC), ("format", FORMAT_VERSION)):
        _expect(name, header[name], np.full(count, expected, HEADER[name]))
    _expect("fingerprint", header["fingerprint"], np.repeat(wanted, count))
    _expect("length in words", header["words"], length)
    too_long = header["heap_bytes"] > (length - HEADER_WORDS) * WORD_BYTES
    if too_long.any():
        raise StateError(f"state {int(np.flatnonzero(too_long)[0])} has a heap longer than itself")
    return header


def _expect(name: str, found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    wrong = np.flatnonzero(found != expected)
    if wrong.size:
        i = int(wrong[0])
        raise StateError(
            f"state {i} has {name} {_readable(found[i])}, expected {_readable(expected[i])}",
            hint="it was written for another definition, by another version, or cut short",
        )


def _readable(value: np.generic) -> str:
    return value.tobytes().hex() if isinstance(value, np.void) else repr(value.item())


def _newest_elements(spread: Spread, time: IntArray, plain: dict[str, Column]) -> Elements:
    columns = {name: Partials(last=cells) for name, cells in plain.items()}
    rows = np.ones(len(spread), np.int64)
    return Elements(spread.counts.size, spread.owner, time, time, rows, columns)


def _read_singles(reader: Reader, spread: Spread, shape: Shape) -> Events:
    time = reader.words(spread)
    columns = {column.name: _read_cells(reader, spread, column) for column in shape.windowed}
    return Events(spread.counts.size, spread.owner, time, time, columns)


def _read_later(reader: Reader, spread: Spread, shape: Shape) -> Events:
    if not len(spread):  # usual, and worth the time that reading nothing takes
        nothing = np.zeros(0, np.int64)
        return Events(spread.counts.size, nothing, nothing, nothing)
    event_us, known_us = reader.words(spread), reader.words(spread)
    columns = {column.name: _read_cells(reader, spread, column) for column in shape.columns}
    return Events(spread.counts.size, spread.owner, event_us, known_us, columns)


def _read_tiles(reader: Reader, spread: Spread, shape: Shape) -> Elements:
    if not len(spread):
        nothing = np.zeros(0, np.int64)
        return Elements(spread.counts.size, nothing, nothing, nothing, nothing, {})
    oldest_us, newest_us = reader.words(spread), reader.words(spread)
    rows = reader.halves(spread)
    columns = {column.name: _read_partials(reader, spread, column) for column in shape.windowed}
    return Elements(spread.counts.size, spread.owner, oldest_us, newest_us, rows, columns)


def _read_partials(reader: Reader, spread: Spread, column: StateColumn) -> Partials:
    parts = column.parts

    def limbs(part: str) -> Limbs | None:
        return reader.limbs(spread) if part in parts else None

    def extreme() -> npt.NDArray[np.float64] | IntArray | None:
        if "extremes" not in parts:
            return None
        words = reader.words(spread)
        return words.view(np.float64) if column.kind == "f8" else words

    def cells(part: str) -> Column | None:
        return _read_cells(reader, spread, column) if part in parts else None

    # Python evaluates arguments left to right: the order of the sections.
    return Partials(
        count=reader.halves(spread) if "count" in parts else None,
        integer=column.kind == "i8",
        scale10=column.scale10,
        total=limbs("sum"),
        squares=limbs("squares"),
        lowest=extreme(),
        highest=extreme(),
        first=cells("first"),
        last=cells("last"),
    )


def _read_cells(reader: Reader, spread: Spread, column: StateColumn) -> Column:
    valid = reader.bits(spread)
    if column.kind == "utf8":
        return TextColumn(reader.texts(spread, valid), valid)
    words = reader.words(spread)
    values = words.view(np.float64) if column.kind == "f8" else words
    return NumericColumn(values, valid, column.scale10)
