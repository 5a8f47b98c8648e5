"""Feast's side of ``tests.bench.training_set``; its own interpreter runs it, without twinlake.

python feast_training_set.py DATA FOLDER OUT TTL_DAYS

Prints ``ready``, and for each line of standard input joins all loans, writes OUT, prints
``joined``.
"""

from __future__ import annotations

import importlib
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

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
INTEGERS = ("tax_returns_filed", "population", "total_wages")
TEXTS = ("city", "state", "location_type")
CREDIT = (
    "credit_card_due", "mortgage_due", "student_loan_due", "vehicle_loan_due", "hard_pulls",
    "missed_payments_2y", "missed_payments_1y", "missed_payments_6m", "bankruptcies",
)  # fmt: skip


def store_of(data: Path, folder: Path, ttl: timedelta) -> Any:
    feast, types = importlib.import_module("feast"), importlib.import_module("feast.types")
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(SETTINGS)
    made = feast.FeatureStore(repo_path=str(folder))
    for name, key, kind, columns in (
        (
            "zipcode_features",
            "zipcode",
            feast.ValueType.INT64,
            dict.fromkeys(TEXTS, types.String) | dict.fromkeys(INTEGERS, types.Int64),
        ),
        (
            "credit_history",
            "dob_ssn",
            feast.ValueType.STRING,
            dict.fromkeys(CREDIT, types.Int64),
        ),
    ):
        entity = feast.Entity(name=key, join_keys=[key], value_type=kind)
        source = feast.FileSource(
            name=f"{name}_rows",
            path=str(data / f"{name}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )
        view = feast.FeatureView(
            name=name,
            entities=[entity],
            ttl=ttl,
            schema=[feast.Field(name=column, dtype=dtype) for column, dtype in columns.items()],
            source=source,
        )
        made.apply([entity, source, view])
    return made


def main() -> None:
    data, folder, out = (Path(text) for text in sys.argv[1:4])
    store = store_of(data, folder, timedelta(days=int(sys.argv[4])))
    pandas, parquet = importlib.import_module("pandas"), importlib.import_module("pyarrow.parquet")
    features = [f"zipcode_features:{name}" for name in (*TEXTS, *INTEGERS)]
    features += [f"credit_history:{name}" for name in CREDIT]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        # A spine is read from its file here as it is by the others.
        spine = pandas.read_parquet(data / "loan_applications.parquet")
        spine = spine.drop(columns="created_timestamp")
        found = store.get_historical_features(entity_df=spine, features=features).to_arrow()
        parquet.write_table(found, out)
        sys.stdout.write("joined\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
