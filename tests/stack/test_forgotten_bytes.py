"""What forgetting leaves to Cassandra is gone once the server has compacted: no byte is left."""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

from bootstrap import jvm
from bootstrap.services.cassandra_server import JARS
from bootstrap.services.processes import LOOPBACK, free_port
from tests.conformance.online_store.samples import METERS, meter
from tests.stack.servers import client, port_of, private_stack, settings_of
from twinlake.java import find_java, jars_folder
from twinlake.online.cassandra import CassandraStore

HOME, OTHER = "somebody.to.be.forgotten@example.org", "somebody.else@example.org"
# Stands in the row's state, as eight bytes: whose row it is, Cassandra may say in other ways.
CARD = struct.pack(">q", 0x7A6B5C4D3E2F1A0B)
KEYSPACE = "forgotten"


def nodetool(jmx_port: int, *words: str) -> None:
    java = find_java(os.environ)
    folder = jars_folder(os.environ, JARS)
    jars = ":".join(str(folder / jar.file) for jar in jvm.locked([JARS]))
    command = [str(java.executable), "-cp", jars, "org.apache.cassandra.tools.NodeTool"]
    subprocess.run(
        [*command, "-h", LOOPBACK, "-p", str(jmx_port), *words],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip


def files_with(folder: Path, *texts: bytes) -> set[str]:
    return {
        file.suffix
        for file in folder.rglob("*")
        if file.is_file() and any(text in file.read_bytes() for text in texts)
    }


def test_no_byte_is_left_after_a_compaction(tmp_path: Path) -> None:
    jmx_port = free_port(())
    environ = {**os.environ, "JAVA_TOOL_OPTIONS": f"-Dcassandra.jmx.local.port={jmx_port}"}
    with private_stack(tmp_path, environ) as own:
        port = port_of(own)
        table = f'"{KEYSPACE}"."{METERS.name}"'
        with CassandraStore(settings_of(f"{port}/{KEYSPACE}")) as store:
            store.create(METERS)
            told = "gc_grace_seconds = 0 AND compression = {'enabled': 'false'}"
            client(port).execute(f"ALTER TABLE {table} WITH {told}")
            store.write(METERS, [replace(meter(HOME, 1), state=CARD), meter(OTHER, 1)])
            nodetool(jmx_port, "flush", KEYSPACE)
            data = tmp_path / "cassandra" / "data"
            assert {".db"} <= files_with(data, HOME.encode())
            assert {".db"} <= files_with(data, CARD)

            store.delete(METERS, [(HOME,)], 2)
            store.purge(METERS, [(HOME,)])
            nodetool(jmx_port, "flush", KEYSPACE)
            assert files_with(data, HOME.encode(), CARD), "so the search can fail"
            nodetool(jmx_port, "compact", KEYSPACE)
            assert files_with(data, HOME.encode(), CARD) == set()
            assert store.read(METERS, [(HOME,), (OTHER,)]) == [None, meter(OTHER, 1)]
            assert files_with(data, OTHER.encode())
