"""A store that stalls, is gone, or is another: the deadline is kept, and the status says so."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import Any

from fastapi.testclient import TestClient

from tests.unit.serving.conftest import Opened
from tests.unit.serving.shop import FEATURES, make_champion
from twinlake.definitions.loading import load
from twinlake.registry.state import Registry
from twinlake.settings import Settings

ANN = {"zipcode": 76104, "person": "ann", "amount": 5}
AREA = {"service": "area_service", "entities": [{"zipcode": 76104}, {"zipcode": 1}]}


def statuses(client: TestClient, body: Any) -> set[str]:
    answer = client.post("/v1/features", json=body)
    assert answer.status_code == 200, answer.text
    return {status for one in answer.json()["answers"] for status in one["statuses"].values()}


def test_a_store_that_stalls(own_lender: Settings, opened: Opened) -> None:
    make_champion(own_lender)
    client = opened(own_lender, deadline_ms=300, readers=2)
    with closing(sqlite3.connect(own_lender.online_path, isolation_level=None)) as other:
        # Readers wait for who has the whole file for itself.
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        loan = {"service": "loan_features", "entities": [ANN]}
        for _ in range(4):  # more than there are threads
            assert statuses(client, loan) == {"error"}
        (one,) = client.post("/v1/features", json=loan).json()["answers"]
        assert one["messages"]["debt"] == "no answer within 300 ms"
        assert one["key"] == {"zipcode": 76104, "person": "ann"}
        rows = {"entities": [ANN | {"kind": None}]}
        (forecast,) = client.post("/v1/predict/loans", json=rows).json()["predictions"]
        assert (forecast["prediction"], forecast["status"]) == (None, "error")
        # What does not fit is told all the same.
        wrong = {"service": "loan_features", "entities": [{}]}
        assert client.post("/v1/features", json=wrong).status_code == 400
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["online store"])
        other.execute("ROLLBACK")
    while client.get("/readyz").status_code != 200:
        pass  # the threads that waited come back by themselves
    assert statuses(client, loan) == {"present"}
    assert 'late_total{service="loan_features"} 7.0' in client.get("/metrics").text


def test_a_store_that_is_gone_and_comes_back(own_lender: Settings, opened: Opened) -> None:
    client = opened(own_lender)
    desk = client.app.state.desk  # type: ignore[attr-defined]  # of FastAPI
    assert statuses(client, AREA) == {"present", "missing"}
    kept = own_lender.online_path.with_name("kept.sqlite")
    shutil.copy(own_lender.online_path, kept)
    with closing(sqlite3.connect(kept)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    own_lender.online_path.unlink()
    desk.refresh()
    assert statuses(client, AREA) == {"error"}
    assert "online store" in client.get("/readyz").json()["missing"]
    assert not own_lender.online_path.exists()  # who only reads makes none
    for end in ("-wal", "-shm"):
        own_lender.online_path.with_name(own_lender.online_path.name + end).unlink(missing_ok=True)
    kept.rename(own_lender.online_path)
    desk.refresh()
    assert statuses(client, AREA) == {"present", "missing"}


def test_a_new_meaning_is_served_once_it_is_published(own_lender: Settings, opened: Opened) -> None:
    client = opened(own_lender)
    desk = client.app.state.desk  # type: ignore[attr-defined]  # of FastAPI
    text = FEATURES.replace(', Column("population")', "")
    (own_lender.project / "features.py").write_text(text)
    registry = Registry(own_lender.state)
    registry.write(registry.current(), load(own_lender.project), 2)
    desk.refresh()
    (one, _) = client.post("/v1/features", json=AREA).json()["answers"]
    assert list(one["values"]) == ["city", "population", "wages"]
    assert desk.offer.number == 2
    assert desk.offer.unready["area_service"] == "view area_features was never published"


def test_nothing_applied_is_not_ready(own_lender: Settings, opened: Opened) -> None:
    shutil.rmtree(own_lender.state)
    client = opened(own_lender)
    assert client.get("/readyz").json()["missing"] == ["nothing is applied"]
    assert client.post("/v1/features", json=AREA).status_code == 404
    assert client.get("/healthz").status_code == 200
