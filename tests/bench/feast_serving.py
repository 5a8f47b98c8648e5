"""Feast's side of ``tests.bench.serving``; its own interpreter runs it, without twinlake.

python feast_serving.py FOLDER PORT

FOLDER holds zipcode_features.parquet and credit_history.parquet. Makes a repository there with the
SQLite store, loads the newest rows, then serves until it is ended.
"""

from __future__ import annotations

import importlib
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

KEYS = {"zipcode_features": "zipcode", "credit_history": "dob_ssn"}
SETTINGS = """project: loans
provider: local
registry: registry.db
offline_store:
  type: file
online_store:
  type: sqlite
  path: online.sqlite
entity_key_serialization_version: 3
"""


def main() -> None:
    folder, port = Path(sys.argv[1]), sys.argv[2]
    feast, types = importlib.import_module("feast"), importlib.import_module("feast.types")
    parquet = importlib.import_module("pyarrow.parquet")
    (folder / "feature_store.yaml").write_text(SETTINGS)
    store = feast.FeatureStore(repo_path=str(folder))
    for name, key in KEYS.items():
        file = folder / f"{name}.parquet"
        columns = {
            field.name: types.String if str(field.type) == "string" else types.Int64
            for field in parquet.read_schema(file)
            if field.name not in (key, "event_timestamp")
        }
        kind = feast.ValueType.STRING if key == "dob_ssn" else feast.ValueType.INT64
        entity = feast.Entity(name=key, join_keys=[key], value_type=kind)
        source = feast.FileSource(
            name=f"{name}_rows", path=str(file), timestamp_field="event_timestamp"
        )
        view = feast.FeatureView(
            name=name,
            entities=[entity],
            ttl=timedelta(days=36_500),
            schema=[feast.Field(name=column, dtype=kind) for column, kind in columns.items()],
            source=source,
        )
        store.apply([entity, source, view])
    store.materialize(datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    command = Path(sys.executable).with_name("feast")
    os.chdir(folder)
    told = ["serve", "--host", "127.0.0.1", "--port", port, "--workers", "1", "--no-access-log"]
    # Else a worker ends after a thousand requests, and its connections with it.
    told += ["--max-requests", "0"]
    os.execv(command, [str(command), *told])  # noqa: S606 (nothing but a program to run)


if __name__ == "__main__":
    main()
