"""Writes to the same replica, a few small ones in a request.

What a small row costs is mostly the request around it, at the server and here. Statements that one
node holds go to it together, as an unlogged batch: no log is written, each keeps its own timestamp,
and a batch of which only a part arrived is repeated like a single statement.

A batch stays below what Cassandra warns of (``batch_size_warn_threshold`` 5 KiB, and 10 partitions
by ``unlogged_batch_across_partitions_warn_threshold``) and what Keyspaces accepts (30 statements).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, TypeAlias

from cassandra import ConsistencyLevel
from cassandra.query import BatchStatement, BatchType, BoundStatement

MOST_ROWS: Final = 10
_MOST_BYTES: Final = 4 << 10
# What the server counts for a cell beside its value: its timestamp and its place in a row.
_BYTES_PER_CELL: Final = 24

ReplicaOf = Callable[[BoundStatement], Hashable]
"""The node that holds a statement's row; None where that is not known."""


class Batch(BatchStatement):  # type: ignore[misc]  # the driver has no types
    """Statements that go to one node together.

    Attributes:
        size: Bytes of all its cells.
    """

    def __init__(self) -> None:
        """Begin an empty one."""
        super().__init__(BatchType.UNLOGGED, consistency_level=ConsistencyLevel.LOCAL_QUORUM)
        self.is_idempotent = True
        self.size = 0


# The driver tells its types nothing; a batch is known by its class.
Request: TypeAlias = BoundStatement | Batch


def in_batches(
    statements: Iterable[BoundStatement], replica_of: ReplicaOf, most: int
) -> Iterator[Request]:
    """The statements, those of small rows in batches; in any order, for timestamps decide.

    Args:
        statements: Of one table, each with its own timestamp; nothing is read ahead of a full
            batch of each node.
        replica_of: Says which node a statement goes to.
        most: Most rows in a batch; one sends each row by itself.
    """
    if most < 2:
        yield from statements
        return
    open_batches: dict[Hashable, Batch] = {}
    for statement in statements:
        size = size_of(statement)
        counted = size + _BYTES_PER_CELL * len(statement.values)
        if 2 * counted > _MOST_BYTES:
            yield statement
            continue
        replica = replica_of(statement)
        batch = open_batches.get(replica)
        if batch is not None and batch.size + counted > _MOST_BYTES:
            yield open_batches.pop(replica)
            batch = None
        if batch is None:
            batch = open_batches[replica] = Batch()
        batch.add(statement)
        batch.size += counted
        if len(batch) >= most:
            yield open_batches.pop(replica)
    yield from open_batches.values()


def size_of(request: Request) -> int:
    """Bytes that a request's cells have, about."""
    if isinstance(request, Batch):
        return request.size
    return sum(map(len, filter(None, request.values)))


def rows_of(request: Request) -> int:
    """How many statements a request carries."""
    return len(request) if isinstance(request, Batch) else 1
