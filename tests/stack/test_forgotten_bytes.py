"""What forgetting leaves to Cassandra is gone once the server has compacted: no byte is left."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from tests.conformance.online_store.samples import METERS, meter
from tests.stack.servers import client, empty_keyspace, port_of, private_stack, settings_of
from twinlake.online.cassandra import CassandraStore

HOME, OTHER = "somebody.to.be.forgotten@example.org", "somebody.else@example.org"
# Stands in the row's state, as eight bytes.
CARD = struct.pack(">q", 0x7A6B5C4D3E2F1A0B)
KEYSPACE = "forgotten"
# Flushes by itself, and compacts as soon as there are two files.
AT_ONCE = (
    "gc_grace_seconds = 0 AND compression = {'enabled': 'false'} "
    "AND memtable_flush_period_in_ms = 500 AND compaction = "
    "{'class': 'SizeTieredCompactionStrategy', 'min_threshold': '2'}"
)
_PATIENCE_S = 120


def holds(folder: Path, *texts: bytes) -> bool:
    """Tell whether a file has one of these bytes; files come and go while they are looked at."""
    for file in folder.rglob("*"):
        try:
            content = file.read_bytes() if file.is_file() else b""
        except FileNotFoundError:
            continue
        if any(text in content for text in texts):
            return True
    return False


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_no_byte_is_left_after_a_compaction(tmp_path: Path) -> None:
    with private_stack(tmp_path) as own:
        location = empty_keyspace(port_of(own), KEYSPACE, set())
        with CassandraStore(settings_of(location)) as store:
            store.create(METERS)
            session = client(port_of(own))
            session.execute(f'ALTER TABLE "{KEYSPACE}"."{METERS.name}" WITH {AT_ONCE}')
            store.write(METERS, [meter(HOME, 1)._replace(state=CARD), meter(OTHER, 1)])
            data = tmp_path / "cassandra" / "data" / KEYSPACE
            wait_until(lambda: holds(data, HOME.encode()) and holds(data, CARD))

            store.delete(METERS, [(HOME,)], 2)
            store.purge(METERS, [(HOME,)])
            orders = count(3)

            def is_gone() -> bool:
                # A compaction in the very second of the deletion keeps its mark, and then waits
                # for another file.
                store.write(METERS, [meter(OTHER, next(orders))])
                return not holds(data, HOME.encode(), CARD)

            wait_until(is_gone)
            assert store.read(METERS, [(HOME,), (OTHER,)]) == [None, meter(OTHER, next(orders) - 1)]
            assert holds(data, OTHER.encode())
