"""The least that a route can be: FastAPI, the raw reads, JSON. No status, age, limit or deadline.

python serving_bare.py ONLINE.sqlite|CASSANDRA_PORT TABLES_JSON PORT
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvicorn
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.io.libevreactor import LibevConnection
from cassandra.query import PreparedStatement, tuple_factory
from fastapi import FastAPI, Request, Response

Rows = list[tuple[Any, ...]]
# Gives the rows of some keys of each table.
Read = Callable[[list[list[Any]]], Awaitable[list[Rows]]]
# Keys to a statement: the fastest of those that ``tests.bench.online_store`` tries.
CHUNK = 25


def from_sqlite(path: str, tables: list[dict[str, Any]]) -> Read:
    """Read all keys of a request by one statement."""
    store = sqlite3.connect(path, isolation_level=None)
    sql = [
        f"SELECT {table['key']}, {', '.join(table['columns'])} FROM {table['name']} "
        f"WHERE {table['key']} IN "
        for table in tables
    ]

    async def read(asked: list[list[Any]]) -> list[Rows]:
        found = []
        for statement, keys in zip(sql, asked, strict=True):
            marks = ",".join("?" * len(keys))
            found.append(store.execute(f"{statement}({marks})", keys).fetchall())
        return found

    return read


def from_cassandra(port: int, tables: list[dict[str, Any]]) -> Read:
    """Read keys by statements in flight together, as callbacks."""
    profile = ExecutionProfile(row_factory=tuple_factory)
    cluster = Cluster(
        ["127.0.0.1"],
        port=port,
        protocol_version=4,
        connection_class=LibevConnection,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    session = cluster.connect()
    statements = []
    for table in tables:
        key = f'"{table["key"]}"'
        columns = ", ".join(f'"{name}"' for name in [table["key"], *table["columns"]])
        whole = f'SELECT {columns} FROM "{table["keyspace"]}"."{table["name"]}" WHERE {key}'
        statements.append((session.prepare(f"{whole} = ?"), session.prepare(f"{whole} IN ?")))

    def sent(statement: PreparedStatement, bound: list[Any]) -> asyncio.Future[Rows]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Rows] = loop.create_future()
        session.execute_async(statement, bound).add_callbacks(
            lambda rows: loop.call_soon_threadsafe(future.set_result, rows),
            lambda error: loop.call_soon_threadsafe(future.set_exception, error),
        )
        return future

    async def read(asked: list[list[Any]]) -> list[Rows]:
        waited = []
        for (one, many), keys in zip(statements, asked, strict=True):
            parts = [keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK)]
            waited.append([sent(one, keys)] if len(keys) == 1 else [sent(many, [p]) for p in parts])
        return [[row for part in parts for row in await part] for parts in waited]

    return read


def application(read: Read, tables: list[dict[str, Any]]) -> FastAPI:
    """One route that reads each table by its key, all of them at once."""
    app = FastAPI()

    @app.post("/v1/features")
    async def features(request: Request) -> Response:
        entities = orjson.loads(await request.body())["entities"]
        answers: list[dict[str, Any]] = [{} for _ in entities]
        asked = [[entity[table["key"]] for entity in entities] for table in tables]
        for table, keys, rows in zip(tables, asked, await read(asked), strict=True):
            found = {row[0]: row for row in rows}
            for answer, key in zip(answers, keys, strict=True):
                row = found.get(key)
                if row is not None:
                    answer.update(zip(table["columns"], row[1:], strict=True))
        return Response(orjson.dumps({"answers": answers}), media_type="application/json")

    return app


if __name__ == "__main__":
    told = json.loads(sys.argv[2])
    is_server = sys.argv[1].isdecimal()
    reading = (
        from_cassandra(int(sys.argv[1]), told) if is_server else from_sqlite(sys.argv[1], told)
    )
    uvicorn.run(
        application(reading, told),
        port=int(sys.argv[3]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
    )
