"""Logged vectors: what was served, in whole files that a source can land, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from fastapi.testclient import TestClient

from tests.unit.serving.conftest import Opened, now_us
from twinlake import Files, Source
from twinlake.definitions.times import to_datetime
from twinlake.registry.inputs import list_files
from twinlake.settings import Settings

ANN = {"zipcode": 76104, "person": "ann", "amount": 5}
BOB = {"zipcode": 10001, "person": "bob", "amount": 6}
LOAN = {"service": "loan_features", "entities": [ANN, BOB]}
AREA = {"service": "area_service", "entities": [{"zipcode": 76104}]}


def files_of(settings: Settings, service: str) -> list[Path]:
    return sorted((settings.state / "served" / service).glob("*"))


def ask(client: TestClient, *bodies: Any) -> None:
    for body in bodies:
        assert client.post("/v1/features", json=body).status_code == 200


def test_what_was_served_is_logged_with_its_types(own_lender: Settings, opened: Opened) -> None:
    client = opened(own_lender, log_one_in=1)
    ask(client, LOAN, AREA, LOAN)
    client.__exit__()  # what waits is written when the server stops
    (file,) = files_of(own_lender, "loan_features")
    table = pq.read_table(file)
    assert table["person"].to_pylist() == ["ann", "bob"] * 2
    assert len(set(table["served_id"].to_pylist())) == 4
    assert set(table["served_at"].to_pylist()) == {to_datetime(now_us())}
    (row, *_) = table.to_pylist()
    assert (row["due"], row["due__status"], row["debt"]) == (120, "present", 125.0)
    assert str(row["wages"]) == "12.50"
    assert table["due__status"].to_pylist()[1] == "expired"
    assert table["prediction"].null_count == 4
    (file,) = files_of(own_lender, "area_service")
    assert pq.read_table(file).num_rows == 1
    source = Source(
        "served",
        schema="served_id string, served_at timestamp, person string, due bigint",
        event_timestamp="served_at",
        event_id="served_id",
        batch=Files("served/loan_features"),
    )
    (found,) = list_files(source, own_lender.state / "served" / "loan_features", "parquet")
    assert found.key


def test_some_are_logged(own_lender: Settings, opened: Opened) -> None:
    client = opened(own_lender, log_one_in=4)
    many = {"service": "area_service", "entities": [{"zipcode": 76104}] * 1_000}
    ask(client, many)
    client.__exit__()
    (file,) = files_of(own_lender, "area_service")
    assert 150 < pq.read_table(file).num_rows < 350


def test_none_are_logged_unless_asked_for(own_lender: Settings, opened: Opened) -> None:
    client = opened(own_lender)
    ask(client, LOAN)
    client.__exit__()
    assert files_of(own_lender, "loan_features") == []


def test_a_full_folder_drops_and_counts(own_lender: Settings, opened: Opened) -> None:
    client = opened(own_lender, log_one_in=1, log_mb=1)
    folder = own_lender.state / "served" / "area_service"
    folder.mkdir(parents=True)
    (folder / "other.parquet").write_bytes(bytes(1 << 20) + b" ")
    ask(client, LOAN, AREA)
    desk = client.app.state.desk  # type: ignore[attr-defined]  # of FastAPI
    client.__exit__()
    assert files_of(own_lender, "loan_features") == []
    assert [file.name for file in files_of(own_lender, "area_service")] == ["other.parquet"]
    assert b"twinlake_log_dropped_total 3.0" in desk.metrics.text()


def test_a_folder_that_cannot_be_written_is_not_in_the_way(
    own_lender: Settings, opened: Opened
) -> None:
    client = opened(own_lender, log_one_in=1)
    (own_lender.state / "served").write_text("in the way")
    ask(client, LOAN)
    desk = client.app.state.desk  # type: ignore[attr-defined]  # of FastAPI
    client.__exit__()
    assert b"twinlake_log_dropped_total 2.0" in desk.metrics.text()
