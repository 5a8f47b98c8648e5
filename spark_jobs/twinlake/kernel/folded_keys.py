"""What is published of a key: as of which moment, until when, and the state to go on from.

A row is of the key's newest event and of all that is known of it. From that moment on reads are
exact; what becomes known later comes in singly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinlake.kernel.bounded import within_bound
from twinlake.kernel.events import Events, Queries
from twinlake.kernel.exact import IntArray
from twinlake.kernel.expiry import valid_until_us
from twinlake.kernel.state import Provenance, fold
from twinlake.kernel.views import ViewShape


@dataclass(frozen=True, slots=True)
class FoldedKeys:
    """What is published of K keys.

    Attributes:
        first_row: Where each key's events begin, shape (K,).
        moments: What each row's values are as of, one question per key.
        known_us: When each key's newest event became known, shape (K,).
        until_us: When the next value changes by itself, ``NEVER_US`` if none does, shape (K,).
        states: K blobs.
    """

    first_row: IntArray
    moments: Queries
    known_us: IntArray
    until_us: IntArray
    states: list[bytes]


def folded_keys(
    happened: Events, shape: ViewShape, provenance: Provenance, version_us: int | IntArray
) -> FoldedKeys:
    """Fold the events of keys into what is published of them.

    Args:
        happened: The events; every key has one.
        shape: What the view computes.
        provenance: What the states are a function of beside their events.
        version_us: When the version was committed; one for all keys, or one per key.
    """
    keys = np.arange(happened.key_count, dtype=np.int64)
    ends = np.searchsorted(happened.key, keys, side="right")
    starts = np.searchsorted(happened.key, keys).astype(np.int64)
    known_by_us = np.maximum.reduceat(happened.known_us, starts)
    newest_us = happened.event_us[ends - 1]
    # From the newest event on reads are exact, law 4; what is known later comes in singly.
    exact_from_us = np.minimum(newest_us, version_us)
    # Of the rows that the state holds, so that whoever goes on from the state says the same.
    until_us = valid_until_us(
        within_bound(happened, exact_from_us, shape.most_rows),
        Queries.at(keys, newest_us),
        shape.measures,
        shape.hop_us,
        shape.ttl_us,
    )
    states = fold(happened, exact_from_us, shape.state, provenance)
    moments = Queries(keys, newest_us, known_by_us)
    return FoldedKeys(starts, moments, happened.known_us[ends - 1], until_us, states)
