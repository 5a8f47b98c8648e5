"""The least that a route can be: FastAPI, the raw reads, JSON. No status, age, limit or deadline.

python serving_bare.py ONLINE.sqlite TABLES_JSON PORT
"""

from __future__ import annotations

import json
import sqlite3
import sys
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response


def application(path: str, tables: list[dict[str, Any]]) -> FastAPI:
    """One route that reads each table by its key, all keys of a request by one statement."""
    store = sqlite3.connect(path, isolation_level=None)
    app = FastAPI()
    sql = [
        "SELECT {key}, {columns} FROM {name} WHERE {key} IN ".format(
            key=table["key"], columns=", ".join(table["columns"]), name=table["name"]
        )
        for table in tables
    ]

    @app.post("/v1/features")
    async def features(request: Request) -> Response:
        entities = orjson.loads(await request.body())["entities"]
        marks = f"({','.join('?' * len(entities))})"
        answers: list[dict[str, Any]] = [{} for _ in entities]
        for statement, table in zip(sql, tables, strict=True):
            keys = [entity[table["key"]] for entity in entities]
            found = {row[0]: row for row in store.execute(statement + marks, keys)}
            for answer, key in zip(answers, keys, strict=True):
                row = found.get(key)
                if row is not None:
                    answer.update(zip(table["columns"], row[1:], strict=True))
        return Response(orjson.dumps({"answers": answers}), media_type="application/json")

    return app


if __name__ == "__main__":
    told = json.loads(sys.argv[2])
    uvicorn.run(
        application(sys.argv[1], told),
        port=int(sys.argv[3]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
    )
