"""Transactions as the messages that the example's stream reads: JSON, one object each.

    {"cc_num": 4000000000000002, "merchant": "merchant 0042", "amount": 12.30, "zip_code": "01234",
     "trans_ts": 1640995200, "tid": "0d4f..."}

The names and types of the original's messages, and ``tid`` behind them, without which a message
that is sent twice could not be told from two that are alike. ``trans_ts`` is in seconds since 1970:
an integer where the seconds are whole, as all of the generator's are; else with six decimals,
which are exact. Read it as ``decimal(18,6)``; in Spark, ``timestamp_micros(CAST(trans_ts * 1000000
AS BIGINT))`` is the timestamp. A double holds it too, but cast to a timestamp it may be a
microsecond short. ``amount`` has two decimals. No label: nobody knows it yet.
"""

from __future__ import annotations

import json
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from examples.card_fraud.generator import SCHEMA, decimals
from twinlake.errors import InputError

SENT: Final = pa.schema([field for field in SCHEMA if field.name != "fraud_label"])
_MICROSECONDS: Final = 1_000_000
_EXACT: Final = pa.decimal128(18, 6)
_NEEDS_ESCAPE: Final = r'["\\\x00-\x1f\x7f]'


def conform(transactions: pa.Table) -> pa.Table:
    """Take the columns that are sent, with their types.

    Raises:
        InputError: A column is missing, or holds what its type cannot.
    """
    missing = sorted(set(SENT.names) - set(transactions.column_names))
    if missing:
        raise InputError(
            f"the transactions have no column {', '.join(missing)}",
            hint=f"expected: {', '.join(SENT.names)}",
        )
    try:
        return transactions.select(SENT.names).cast(SENT)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"the transactions do not fit: {error}") from error


def values(transactions: pa.Table) -> pa.Array:
    """The messages of a table that conforms, in its order."""
    parts: list[pa.ChunkedArray | str] = []
    for name, written in (
        ("cc_num", transactions["cc_num"].cast(pa.string())),
        ("merchant", _quoted(transactions["merchant"])),
        ("amount", transactions["amount"].cast(pa.string())),
        ("zip_code", _quoted(transactions["zip_code"])),
        ("trans_ts", _seconds(transactions["trans_ts"])),
        ("tid", _quoted(transactions["tid"])),
    ):
        parts += [f'{", " if parts else "{"}"{name}": ', written]
    joined = pc.binary_join_element_wise(
        *parts, "}", "", null_handling="replace", null_replacement="null"
    )
    return _one_chunk(joined)


def keys(transactions: pa.Table) -> pa.Array:
    """What decides on the partition, so that a card's messages stay in order: its number."""
    return _one_chunk(transactions["cc_num"].cast(pa.string()))


def times_ms(transactions: pa.Table) -> list[int]:
    """When each happened, in the milliseconds that Kafka counts in; cut, never rounded up."""
    moments = _one_chunk(transactions["trans_ts"]).cast(pa.int64()).fill_null(0).to_numpy()
    times: list[int] = (moments // 1000).tolist()
    return times


def _seconds(moments: pa.ChunkedArray) -> pa.Array:
    counted = _one_chunk(moments.cast(pa.int64()))
    whole = pc.divide(counted, _MICROSECONDS)
    is_whole = pc.equal(pc.multiply(whole, _MICROSECONDS), counted)
    exact = decimals(counted.fill_null(0).to_numpy(), _EXACT)
    return pc.if_else(is_whole, whole.cast(pa.string()), exact.cast(pa.string()))


def _quoted(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts in quotes; escaped one by one only where one needs it."""
    if pc.any(pc.match_substring_regex(texts, _NEEDS_ESCAPE)).as_py():
        escaped = [None if text is None else json.dumps(text) for text in texts.to_pylist()]
        return pa.chunked_array([pa.array(escaped, pa.string())])
    return pc.binary_join_element_wise('"', texts, '"', "")


def _one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
