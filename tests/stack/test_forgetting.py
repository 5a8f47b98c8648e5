"""Forgetting with rows in Cassandra: all of twinlake's work, then the server's, and no byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from bootstrap.stack import Stack
from tests.spark.benches import Bench
from tests.spark.conftest import spark
from tests.spark.test_forgetting import TRACES, areas, everywhere, forget, parity, sequences
from tests.stack.servers import client, port_of, private_stack
from tests.stack.test_forgotten_bytes import AT_ONCE, holds, wait_until
from twinlake.flows.project import online_table
from twinlake.online.opening import keyspace_of

__all__ = ["everywhere", "spark"]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with private_stack(tmp_path / "servers") as own:
        yield own


@pytest.fixture
def bench(
    spark: SparkSession, tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A bench whose online store is Cassandra; ``everywhere`` fills it."""
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "local.toml").write_text(
        f'[online]\nkind = "cassandra"\nport = {port_of(stack)}\ndatacenter = "datacenter1"\n'
        "replication = 1\nrequest_ms = 20_000\nread_s = 120\n"
    )
    monkeypatch.setenv("TWINLAKE_CONF", str(conf))
    with Bench(tmp_path, spark) as made:
        yield made


def test_no_byte_is_left_in_either_store(everywhere: Bench, stack: Stack, tmp_path: Path) -> None:
    bench, project = everywhere, everywhere.project
    data = tmp_path / "servers" / "cassandra"
    keyspace = keyspace_of(project.settings)
    assert "{id}" not in keyspace
    session = client(port_of(stack))
    stored = [online_table(view) for view in project.applied().definitions.views.values()]
    for table in stored:
        session.execute(f'ALTER TABLE "{keyspace}"."{table.name}" WITH {AT_ONCE}')
    wait_until(lambda: holds(data / "data" / keyspace, *TRACES))
    before = sequences(bench)

    done = forget(bench)

    assert areas(bench.folder / "state") == set()
    assert sequences(bench) < before
    assert parity(bench) == 0
    assert {one.table.split("__")[0] for one in done.tables} >= {"online activity"}
    told = {left.what: left for left in done.left}["the online tables of Cassandra"]
    assert told.where == (keyspace,)
    assert "compaction" in told.do

    rows = {table.name: list(project.store.scan(table)) for table in stored}
    assert all(rows.values())

    def is_gone() -> bool:
        for table in stored:  # the same rows, so that there is a further file to compact
            project.store.write(table, rows[table.name])
        return not holds(data / "data" / keyspace, *TRACES)

    wait_until(is_gone)
    bench.close()
    stack.down()  # which writes all that the commit log holds to the tables, and empties it
    assert [file for file in data.rglob("*") if file.is_file() and holds_one(file)] == []


def holds_one(file: Path) -> bool:
    content = file.read_bytes()
    return any(trace in content for trace in TRACES)
