"""How two tables differ, row by row and column by column, without moving either to the driver.

Workers hash each row's identity and each cell; the hashes of both tables go, cut by identity, to
workers that count (``kernel.multisets``). A few hundred bytes of each part come back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from twinlake.kernel.multisets import Example, Overlap, overlap
from twinlake.lake import arrays, tables

Words = npt.NDArray[np.uint64]
HashRows = Callable[[pa.RecordBatch, Sequence[str]], tuple[Words, Words]]

_HIGH, _LOW, _IN_B = "id_high", "id_low", "in_b"
_WANTED = "wanted_identity"
# A spine may hold one row very often; each task gives no more than this of it.
_MOST_ROWS = 20


@dataclass(frozen=True)
class Differences:
    """What two tables share and what not; the attributes of ``Overlap``, cells by column."""

    only_a: int
    only_b: int
    met: int
    equal: int
    cells: Mapping[str, int]
    first_only_a: Sequence[Example]
    first_only_b: Sequence[Example]
    first_unequal: Sequence[Example]


def compare(
    a: DataFrame,
    b: DataFrame,
    identity: Sequence[str],
    columns: Sequence[str],
    hash_rows: HashRows,
    *,
    parts: int,
    examples: int,
) -> Differences:
    """Compare two tables.

    Args:
        a: One table.
        b: The other.
        identity: The columns by which rows of the two are the same row.
        columns: The columns whose cells are compared.
        hash_rows: Gives two words for each row of a batch, over some columns.
        parts: Into how many parts to cut the identities.
        examples: How many examples to give of each kind.
    """
    both = _hashed(a, identity, columns, hash_rows, in_b=False).union(
        _hashed(b, identity, columns, hash_rows, in_b=True)
    )
    numbered = [_cell(number) for number in range(len(columns))]

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = arrays.gather(batches)
        if table is None:
            return
        found = overlap(
            _words(table, _HIGH),
            _words(table, _LOW),
            arrays.integers(table, _IN_B).astype(np.bool_),
            [_words(table, name) for name in numbered],
            examples,
        )
        yield pa.RecordBatch.from_arrays([pa.array([json.dumps(asdict(found))])], ["found"])

    told = both.repartition(parts, _HIGH, _LOW).mapInArrow(of_part, "found string").collect()
    return _together([_read(row.found) for row in told], columns, examples)


def _cell(number: int) -> str:
    return f"c{number}"


def _hashed(
    frame: DataFrame,
    identity: Sequence[str],
    columns: Sequence[str],
    hash_rows: HashRows,
    *,
    in_b: bool,
) -> DataFrame:
    named, listed = list(identity), list(columns)
    names = [_HIGH, _LOW, _IN_B, *(_cell(number) for number in range(len(listed)))]

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            high, low = hash_rows(batch, named)
            words = [high, low, np.full(batch.num_rows, int(in_b), np.uint64)]
            words += [hash_rows(batch, [name])[0] for name in listed]
            yield pa.RecordBatch.from_arrays([pa.array(w.view(np.int64)) for w in words], names)

    taken = frame.select(*map(tables.quoted, (*named, *listed)))
    return taken.mapInArrow(of_part, ", ".join(f"{name} bigint" for name in names))


def _words(table: pa.Table, name: str) -> Words:
    return arrays.integers(table, name).view(np.uint64)


def _read(text: str) -> Overlap:
    document = json.loads(text)
    for name in ("first_only_a", "first_only_b", "first_unequal"):
        document[name] = tuple(Example(**one) for one in document[name])
    return Overlap(**{**document, "cells": tuple(document["cells"])})


def _together(parts: Sequence[Overlap], columns: Sequence[str], examples: int) -> Differences:
    def first(name: str) -> list[Example]:
        every = [one for part in parts for one in getattr(part, name)]
        return sorted(every, key=lambda one: (one.high, one.low))[:examples]

    return Differences(
        only_a=sum(part.only_a for part in parts),
        only_b=sum(part.only_b for part in parts),
        met=sum(part.met for part in parts),
        equal=sum(part.equal for part in parts),
        cells={name: sum(part.cells[n] for part in parts) for n, name in enumerate(columns)},
        first_only_a=first("first_only_a"),
        first_only_b=first("first_only_b"),
        first_unequal=first("first_unequal"),
    )


def rows_of(
    frame: DataFrame, identity: Sequence[str], wanted: Sequence[Example], hash_rows: HashRows
) -> dict[Example, list[dict[str, Any]]]:
    """Fetch rows of some identities: each different row once, and of very many not all.

    Args:
        frame: The table.
        identity: Its columns that make an identity.
        wanted: Which identities.
        hash_rows: As for ``compare``.
    """
    if not wanted:
        return {}
    named, ids = list(identity), [(one.high, one.low) for one in wanted]

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        left = dict.fromkeys(ids, _MOST_ROWS)
        for batch in batches:
            highs, lows = hash_rows(batch, named)
            for number, (high, low) in enumerate(ids):
                rows = np.flatnonzero((highs == np.uint64(high)) & (lows == np.uint64(low)))
                rows = rows[: left[high, low]]
                left[high, low] -= len(rows)
                if len(rows):
                    table = pa.Table.from_batches([batch]).take(pa.array(rows)).combine_chunks()
                    of = pa.array(np.full(len(rows), number, np.int64))
                    yield from table.append_column(_WANTED, of).to_batches()

    schema = ", ".join(f"{tables.quoted(name)} {kind}" for name, kind in frame.dtypes)
    found: dict[Example, list[dict[str, Any]]] = {one: [] for one in wanted}
    for row in frame.mapInArrow(of_part, f"{schema}, {_WANTED} bigint").distinct().collect():
        document = row.asDict()
        found[wanted[document.pop(_WANTED)]].append(document)
    return found
