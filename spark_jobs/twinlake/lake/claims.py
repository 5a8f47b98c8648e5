"""Which row owns an identity: the claims of accepted rows, held by a stream's lander.

A claim is the hash, 128 bits, of a row's identity; beside it stand the hash of the whole row and
the event time: 40 bytes a row. Held are the claims of events after a moment, by default as far back
as the longest window; older ones are looked up in the events table when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Arrays of fewer rows are looked through one by one before they are merged.
_PIECES = 16


@dataclass(frozen=True)
class Claims:
    """Identities of rows, with the content that came under each.

    Attributes:
        id_a, id_b: The hash of the identity, shape (n,).
        row_a, row_b: The hash of the whole row.
        event_us: When it happened.
    """

    id_a: IntArray
    id_b: IntArray
    row_a: IntArray
    row_b: IntArray
    event_us: IntArray

    def __len__(self) -> int:
        return int(self.id_a.size)

    def take(self, index: npt.NDArray[np.intp] | BoolArray) -> Claims:
        """Give the chosen claims."""
        return Claims(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def sorted(self) -> Claims:
        """Give them in the order of their identities."""
        return self.take(np.lexsort((self.id_b, self.id_a)))

    @classmethod
    def none(cls) -> Claims:
        """Give no claims."""
        return cls(*(np.zeros(0, np.int64) for _ in range(5)))

    @classmethod
    def together(cls, parts: list[Claims]) -> Claims:
        """Give the claims of several."""
        return cls(
            *(np.concatenate([getattr(p, n) for p in parts]) for n in cls.__dataclass_fields__)
        )


@dataclass
class ClaimIndex:
    """The claims of accepted rows after a moment.

    Attributes:
        since_us: Events up to here are not held.
    """

    since_us: int
    _pieces: list[Claims] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def add(self, claims: Claims) -> None:
        """Hold further claims, none of which is held yet."""
        held = claims.take(claims.event_us > self.since_us)
        if len(held):
            self._pieces.append(held.sorted())
        if len(self._pieces) > _PIECES:
            self._pieces = [Claims.together(self._pieces).sorted()]

    def forget_through(self, until_us: int) -> None:
        """Let go of claims of events up to a moment."""
        self.since_us = max(self.since_us, until_us)
        held = Claims.together([Claims.none(), *self._pieces])
        self._pieces = [held.take(held.event_us > self.since_us).sorted()]

    def find(self, asked: Claims) -> Owners:
        """Look up who owns identities."""
        found = np.zeros(len(asked), np.bool_)
        row_a, row_b = np.zeros(len(asked), np.int64), np.zeros(len(asked), np.int64)
        for piece in self._pieces:
            place, hit = _places(piece, asked)
            found |= hit
            row_a[hit], row_b[hit] = piece.row_a[place[hit]], piece.row_b[place[hit]]
        return Owners(found, row_a, row_b)


@dataclass(frozen=True)
class Owners:
    """Per identity asked for, whether somebody owns it, and the hash of the owner's row."""

    found: BoolArray
    row_a: IntArray
    row_b: IntArray


def _places(piece: Claims, asked: Claims) -> tuple[npt.NDArray[np.intp], BoolArray]:
    """Find identities in sorted claims; two that agree in their first half are next door."""
    place = np.searchsorted(piece.id_a, asked.id_a)
    hit = np.zeros(len(asked), np.bool_)
    open_ones = np.arange(len(asked))
    while open_ones.size:
        inside = place[open_ones] < len(piece)
        open_ones = open_ones[inside]
        same = piece.id_a[place[open_ones]] == asked.id_a[open_ones]
        open_ones = open_ones[same]
        equal = piece.id_b[place[open_ones]] == asked.id_b[open_ones]
        hit[open_ones[equal]] = True
        open_ones = open_ones[~equal]
        place[open_ones] += 1
    return np.minimum(place, max(len(piece) - 1, 0)), hit


ACCEPTED, DUPLICATE, CONFLICT = range(3)


def settle(asked: Claims, owners: Owners, order: npt.NDArray[np.intp]) -> npt.NDArray[np.int8]:
    """Give each clean row of a batch its verdict: law 6.

    Args:
        asked: The claims of clean rows.
        owners: Who owned their identities before.
        order: The rows by (row hash, place): of several that claim a new identity the first wins.

    Returns:
        ACCEPTED, DUPLICATE or CONFLICT by row.
    """
    verdict = np.full(len(asked), ACCEPTED, np.int8)
    rank = np.empty(len(asked), np.int64)
    rank[order] = np.arange(len(asked))
    by_identity = np.lexsort((rank, asked.id_b, asked.id_a))
    id_a, id_b = asked.id_a[by_identity], asked.id_b[by_identity]
    starts = np.ones(len(asked), np.bool_)
    starts[1:] = (id_a[1:] != id_a[:-1]) | (id_b[1:] != id_b[:-1])
    head = by_identity[np.maximum.accumulate(np.where(starts, np.arange(len(asked)), 0))]
    owner_a = np.where(owners.found[by_identity], owners.row_a[by_identity], asked.row_a[head])
    owner_b = np.where(owners.found[by_identity], owners.row_b[by_identity], asked.row_b[head])
    same = (asked.row_a[by_identity] == owner_a) & (asked.row_b[by_identity] == owner_b)
    loses = owners.found[by_identity] | ~starts
    verdict[by_identity[loses & same]] = DUPLICATE
    verdict[by_identity[loses & ~same]] = CONFLICT
    return verdict
