"""The point-in-time join of plain columns: find the newest rows first, fetch them afterwards.

Pass one scans keys and times only: each task looks its events up among all spine rows and keeps,
per spine row, which event is the newest so far. Pass two fetches the columns of just those events.
No event is sorted and nothing wide is moved, so a hot key costs what any other rows cost. The spine
must fit the driver and every worker; ``fits`` says whether it does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.kernel.asof import expired_at
from twinlake.kernel.events import NEVER_US
from twinlake.kernel.pointers import Kept, Newest, Questions
from twinlake.kernel.views import EXPIRED, MISSING, NOT_YET_KNOWN, PRESENT, STATUSES, ViewShape
from twinlake.lake import arrays, direct, fetching, tables
from twinlake.lake.direct import PLACE, DirectFiles
from twinlake.lake.fetching import FOUND_A, FOUND_AT, FOUND_B, SLOT, status_of

IntArray = npt.NDArray[np.int64]
Cell = TypeVar("Cell", bound=np.generic)

# What a spine may take of the driver and of each worker, and a spine row in an index of it.
MAX_SPINE_BYTES = 256 << 20
_INDEX_BYTES_PER_ROW = 64
# Rows that are looked up at once: enough to pay for hashing the spine's keys anew each time.
_CHUNK_ROWS = 1 << 20
# Candidates that may be on their way to the driver at once.
_MAX_KEPT_BYTES = 512 << 20
_KEPT_BYTES_PER_ROW = 40

_PAYLOAD, _MATCHED = "p_", "_at"
_KEPT = "slot bigint, event_us bigint, known_us bigint, hash_a bigint, hash_b bigint, place bigint"


@dataclass(frozen=True)
class Wanted:
    """What a service takes from one source, all of it plain columns.

    Attributes:
        keys: The columns of the spine that hold the keys.
        event_keys: The columns of the events that hold them, in the same order.
        views: The views, each with only the features taken.
        events: Accepted events: their keys, ``_event_timestamp``, ``_known_timestamp``,
            ``_hash_a``, ``_hash_b``, and the columns.
        known_is_event: Whether every event is known when it happens.
        files: Where the same events lie in files that workers can read; None where they cannot.
    """

    keys: Sequence[str]
    event_keys: Sequence[str]
    views: Sequence[ViewShape]
    events: DataFrame
    known_is_event: bool
    files: DirectFiles | None = None


def fits(spine_rows: int, spine_bytes: int) -> bool:
    """Say whether a spine may be held whole by the driver and by each worker."""
    return spine_rows * _INDEX_BYTES_PER_ROW + spine_bytes <= MAX_SPINE_BYTES


def join(
    spark: SparkSession, spine: pa.Table, time: str, wanted: Sequence[Wanted], scratch: Path
) -> DataFrame:
    """Join a spine to plain columns as of each row.

    Args:
        spark: The session.
        spine: The whole spine, with columns of any type.
        time: Its column of moments.
        wanted: What to join, per entity and source.
        scratch: A folder that driver and workers share; what is written there must stay until the
            result was read.

    Returns:
        The spine's columns, the features, and per view the name of its status and the matched
        event timestamp, in columns named by ``status_of`` and ``matched_of``.
    """
    as_of_us = arrays.integers(pa.table({"t": spine.column(time).cast(pa.int64())}), "t")
    answers = spine.rename_columns([_PAYLOAD + name for name in spine.column_names])
    answers = answers.append_column(SLOT, pa.array(np.arange(spine.num_rows)))
    for number, source in enumerate(wanted):
        index = _Index.of(spine, source.keys, as_of_us)
        newest = index.in_spine_order(_find(spark, index, source))
        answers = _with_answers(answers, as_of_us, newest, source.views, number)
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / f"newest-rows-{uuid.uuid4().hex}.parquet"
    pq.write_table(answers, file, compression="lz4", store_schema=False)
    joined = fetching.fetch(spark, answers, file, wanted)
    return joined.select(
        *(F.col(tables.quoted(_PAYLOAD + name)).alias(name) for name in spine.column_names),
        *(tables.quoted(name) for name in _made(wanted)),
    )


def _made(wanted: Sequence[Wanted]) -> list[str]:
    shapes = [shape for source in wanted for shape in source.views]
    names = [feature.name for shape in shapes for feature in shape.features]
    return names + [mark(s.name) for s in shapes for mark in (status_of, matched_of)]


def matched_of(view: str) -> str:
    """Name the column of a view's matched event timestamp in what ``join`` gives."""
    return f"{view}{_MATCHED}"


@dataclass(frozen=True)
class _Index:
    """A spine as workers look events up in it: sorted by (key, time), without its other columns.

    Attributes:
        keys: The distinct keys, one row each, in the order of their codes.
        code, time_us: The sorted rows.
        order: Where each sorted row stands in the spine; rows without a key are left out.
        spine_rows: Rows of the spine.
    """

    keys: pa.Table
    code: IntArray
    time_us: IntArray
    order: IntArray
    spine_rows: int

    @classmethod
    def of(cls, spine: pa.Table, keys: Sequence[str], as_of_us: IntArray) -> _Index:
        named = np.ones(spine.num_rows, np.bool_)
        for key in keys:
            named &= spine.column(key).is_valid().to_numpy()
        rows = np.flatnonzero(named)
        held = spine.select(list(keys)).take(pa.array(rows)).combine_chunks()
        code, _ = arrays.key_codes(held, keys)
        _, first, code = np.unique(code, return_index=True, return_inverse=True)
        code = code.astype(np.int64)
        order = np.lexsort((as_of_us[rows], code))
        distinct = held.take(pa.array(first)).combine_chunks()
        return cls(distinct, code[order], as_of_us[rows][order], rows[order], spine.num_rows)

    def questions(self) -> Questions:
        return Questions(self.keys.num_rows, self.code, self.time_us)

    def in_spine_order(self, newest: Newest) -> Newest:
        def placed(values: npt.NDArray[Cell]) -> npt.NDArray[Cell]:
            out = np.zeros(self.spine_rows, values.dtype)
            out[self.order] = values
            return out

        return Newest(
            found=placed(newest.found),
            not_yet_known=placed(newest.not_yet_known),
            event_us=placed(newest.event_us),
            known_us=placed(newest.known_us),
            tie_hi=placed(newest.tie_hi),
            tie_lo=placed(newest.tie_lo),
            place=placed(newest.place),
        )


class _Codes:
    """Finds the codes of keys: each row's place in a table of distinct keys."""

    def __init__(self, keys: pa.Table) -> None:
        self._values: list[pa.Array] = []
        self._pairs: list[IntArray] = []
        code = np.zeros(keys.num_rows, np.int64)
        for name in keys.column_names:
            encoded = arrays.chunk(keys, name).dictionary_encode()
            part = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
            pairs, code = np.unique(code * len(encoded.dictionary) + part, return_inverse=True)
            self._values.append(encoded.dictionary)
            self._pairs.append(pairs)
        # What was found above numbers the same keys in another order.
        self._own = np.empty(keys.num_rows, np.int64)
        self._own[code] = np.arange(keys.num_rows)

    def of(self, columns: Sequence[pa.Array]) -> IntArray:
        """Give each row's code, -1 where there is no such key."""
        code: IntArray = np.zeros(len(columns[0]), np.int64)
        for column, values, pairs in zip(columns, self._values, self._pairs, strict=True):
            found = pc.index_in(column, value_set=values).fill_null(-1)
            part: IntArray = found.to_numpy(zero_copy_only=False).astype(np.int64)
            if len(columns) == 1:
                return part  # its own dictionary, so in the order of the table
            pair = code * len(values) + part
            place = np.minimum(np.searchsorted(pairs, pair), len(pairs) - 1)
            known = (code >= 0) & (part >= 0) & (pairs[place] == pair)
            code = np.where(known, place, -1)
        own: IntArray = np.where(code >= 0, self._own[code], -1)
        return own


def _find(spark: SparkSession, index: _Index, source: Wanted) -> Newest:
    """Pass one: which event answers each row of the index."""
    questions = index.questions()
    if not index.code.size:
        return questions.answer()
    shared = spark.sparkContext.broadcast((index.keys, index.code, index.time_us))
    tasks = max(1, _MAX_KEPT_BYTES // (index.code.size * _KEPT_BYTES_PER_ROW))
    tasks = min(tasks, spark.sparkContext.defaultParallelism)
    if source.files is None:
        found = _narrow(source).coalesce(tasks)
    else:
        tasks = max(1, min(tasks, len(source.files.parts)))
        found = direct.task_numbers(spark, tasks)
    known_is_event, files = source.known_is_event, source.files
    own_keys = tuple(source.event_keys)

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held, code, time_us = shared.value
        asked = Questions(held.num_rows, code, time_us)
        codes = _Codes(held)
        if files is None:
            chunks = _chunks(batches)
        else:
            columns = [*own_keys, "_event_timestamp", "_known_timestamp", "_hash_a", "_hash_b"]
            numbers = direct.numbers_in(batches)
            chunks = (c for n in numbers for c in files.read(n, tasks, columns))
        for chunk in chunks:
            _offer(asked, codes, chunk, own_keys, known_is_event)
        yield from _kept_batches(asked.kept())

    for batch in found.mapInArrow(of_part, _KEPT)._collect_as_arrow():  # noqa: SLF001 (public from 4.0 on)
        questions.merge(_read_kept(batch, index.keys.num_rows))
    shared.destroy()
    return questions.answer()


def _narrow(source: Wanted) -> DataFrame:
    return source.events.select(
        *source.event_keys, "_event_timestamp", "_known_timestamp", "_hash_a", "_hash_b"
    )


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= _CHUNK_ROWS:
            yield pa.Table.from_batches(held).combine_chunks()
            held, rows = [], 0
    if rows:
        yield pa.Table.from_batches(held).combine_chunks()


def _offer(
    asked: Questions, codes: _Codes, chunk: pa.Table, keys: Sequence[str], known_is_event: bool
) -> None:
    code = codes.of([arrays.chunk(chunk, name) for name in keys])
    event_us = _micros(chunk, "_event_timestamp")
    known_us = event_us if known_is_event else _micros(chunk, "_known_timestamp")
    tie_hi, tie_lo = arrays.integers(chunk, "_hash_a"), arrays.integers(chunk, "_hash_b")
    if PLACE in chunk.column_names:
        place = arrays.integers(chunk, PLACE)
    else:
        place = np.zeros(chunk.num_rows, np.int64)
    asked.offer(code, event_us, known_us, tie_hi, tie_lo, place)


def _micros(chunk: pa.Table, name: str) -> IntArray:
    times: IntArray = arrays.chunk(chunk, name).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return times


def _kept_batches(kept: Kept) -> Iterator[pa.RecordBatch]:
    """Give what a task kept; a key's earliest late event goes as slot ``-1 - key``."""
    late = np.flatnonzero(kept.first_us < NEVER_US)
    columns = [kept.slot, *kept.order]
    nothing = np.zeros(late.size, np.int64)
    columns = [
        np.concatenate([column, more])
        for column, more in zip(
            columns, [-1 - late, kept.first_us[late], *[nothing] * 4], strict=True
        )
    ]
    names = [part.split(" ")[0] for part in _KEPT.split(", ")]
    table = pa.table(dict(zip(names, columns, strict=True)))
    yield from table.to_batches(max_chunksize=1 << 18)


def _read_kept(batch: pa.RecordBatch, key_count: int) -> Kept:
    slot, *order = (column.to_numpy() for column in batch.columns)
    is_first = slot < 0
    first_us = np.full(key_count, NEVER_US, np.int64)
    first_us[-1 - slot[is_first]] = order[0][is_first]
    kept = ~is_first
    return Kept(slot[kept], tuple(level[kept] for level in order), first_us)


def _with_answers(
    answers: pa.Table, as_of_us: IntArray, newest: Newest, views: Sequence[ViewShape], number: int
) -> pa.Table:
    """Append what was found: the pointer, and each view's status and matched event."""
    present = np.zeros(len(as_of_us), np.bool_)
    matched = pa.array(newest.event_us, mask=~newest.found).cast(pa.timestamp("us", "UTC"))
    for shape in views:
        status = np.where(newest.found, PRESENT, MISSING).astype(np.int8)
        status[newest.not_yet_known] = NOT_YET_KNOWN
        if shape.ttl_us is not None:
            gone = newest.found & expired_at(newest.event_us, as_of_us, shape.ttl_us)
            status[gone] = EXPIRED
        present |= status == PRESENT
        named = pa.DictionaryArray.from_arrays(pa.array(status), pa.array(STATUSES))
        answers = answers.append_column(status_of(shape.name), named.cast(pa.string()))
        answers = answers.append_column(matched_of(shape.name), matched)
    found_a = pa.array(newest.tie_hi, mask=~present)
    answers = answers.append_column(f"{FOUND_A}{number}", found_a)
    answers = answers.append_column(f"{FOUND_B}{number}", pa.array(newest.tie_lo))
    return answers.append_column(f"{FOUND_AT}{number}", pa.array(newest.place))
