"""Which statements go together: none lost, none twice, one node each, within the limits."""

from __future__ import annotations

from collections import Counter

from cassandra.cqltypes import BytesType
from cassandra.protocol import ColumnMetadata
from cassandra.query import BoundStatement, PreparedStatement
from hypothesis import given
from hypothesis import strategies as st

from twinlake.online.cassandra_batches import MOST_ROWS, Batch, Request, in_batches, rows_of

_WARNED_BYTES = 5 << 10  # batch_size_warn_threshold of Cassandra
PREPARED = PreparedStatement(
    [ColumnMetadata("k", "t", name, BytesType) for name in ("key", "state")],
    b"id",
    [0],
    "INSERT",
    "k",
    4,
    None,
    None,
)


def statement(key: int, size: int) -> BoundStatement:
    """A row of a key with a state of so many bytes."""
    bound = BoundStatement(PREPARED)
    bound.values = [key.to_bytes(4, "big"), bytes(size)]
    return bound


def cells(request: Request) -> list[tuple[bytes, bytes]]:
    """What a request carries, in order."""
    if isinstance(request, Batch):
        return [tuple(values) for _, _, values in request._statements_and_parameters]
    return [tuple(request.values)]


def node(bound: BoundStatement) -> int:
    """One of three nodes."""
    return int(bound.routing_key[-1]) % 3


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([0, 10, 300, 1500, 2500, 9000]))),
    st.integers(0, MOST_ROWS),
)
def test_each_statement_goes_once_to_its_node_within_the_limits(
    rows: list[tuple[int, int]], most: int
) -> None:
    sent = [statement(*row) for row in rows]
    requests = list(in_batches(iter(sent), node, most))
    arrived = [each for request in requests for each in cells(request)]
    assert Counter(arrived) == Counter(tuple(one.values) for one in sent)
    for request in requests:
        found = cells(request)
        assert len(found) == rows_of(request)
        if isinstance(request, Batch):
            assert len(found) <= max(most, 1)
            assert sum(len(part) for row in found for part in row) < _WARNED_BYTES
            assert len({node(statement(int.from_bytes(key, "big"), 0)) for key, _ in found}) == 1
            assert request.is_idempotent
            assert (request.keyspace, request.routing_key) == ("k", found[0][0])


def test_small_rows_of_one_node_share_their_requests() -> None:
    sent = (statement(3 * number, 100) for number in range(25))
    assert [rows_of(one) for one in in_batches(sent, node, 10)] == [10, 10, 5]


def test_nothing_is_read_ahead_of_a_full_batch() -> None:
    drawn = 0

    def source() -> object:
        nonlocal drawn
        for number in range(100):
            drawn += 1
            yield statement(number, 100)

    next(in_batches(source(), lambda _: None, 10))  # type: ignore[arg-type]
    assert drawn == 10
