"""Serving from Cassandra: the same answers as from SQLite, and a network that stalls or is cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.faults.proxy import Proxy
from tests.unit.serving.conftest import now_us
from tests.unit.serving.shop import make_project, options_of, publish
from twinlake.online.opening import open_store
from twinlake.registry.state import Registry
from twinlake.serving.api import make_api
from twinlake.settings import CassandraSettings, Settings

ROWS = [
    {"zipcode": 76104, "person": "ann", "amount": 5},
    {"zipcode": 10001, "person": "bob", "amount": 6},
    {"zipcode": 1, "person": "nobody", "amount": 7},
]
LOANS = {"service": "loan_features", "entities": ROWS}
DEADLINE_MS = 5_000


@pytest.fixture(scope="module")
def proxy(cassandra_port: int) -> Iterator[Proxy]:
    with Proxy(cassandra_port) as running:
        yield running


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, cassandra_port: int) -> Settings:
    """The lender's project with its rows in Cassandra."""
    made = make_project(tmp_path_factory.mktemp("lender"))
    there = CassandraSettings(
        port=cassandra_port,
        datacenter="datacenter1",
        keyspace="serving_{id}",
        replication=1,
        request_ms=20_000,
        read_s=120,
    )
    stored = replace(made, online_kind="cassandra", cassandra=there)
    definitions = Registry(made.state).current().definitions
    with open_store(stored) as store:
        # That they were published is told of already; what is told once more lies elsewhere.
        publish(replace(stored, state=made.state.parent / "other"), definitions, store)
    return stored


@pytest.fixture
def client(settings: Settings, proxy: Proxy) -> Iterator[TestClient]:
    linked = replace(settings, cassandra=replace(settings.cassandra, port=proxy.port))
    told: dict[str, Any] = {"refresh_ms": 1_000, "champion_s": 3_600, "deadline_ms": DEADLINE_MS}
    with TestClient(make_api(linked, options_of(linked, **told), now_us)) as made:
        wait_for_store(made)
        yield made


def wait_for_store(client: TestClient) -> None:
    while "online store" in client.get("/readyz").json()["missing"]:
        pass


def answers(client: TestClient, body: Any = LOANS) -> Any:
    answer = client.post("/v1/features", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["answers"]


def statuses(found: Any) -> set[str]:
    return {status for one in found for status in one["statuses"].values()}


def test_it_answers_as_sqlite_does(
    client: TestClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    beside = make_project(tmp_path_factory.mktemp("beside"))
    told: dict[str, Any] = {"champion_s": 3_600, "deadline_ms": 60_000}
    with TestClient(make_api(beside, options_of(beside, **told), now_us)) as other:
        for count in (1, 2, 3):
            body = {"service": "loan_features", "entities": ROWS[:count] * count}
            assert answers(client, body) == answers(other, body)


def test_a_network_that_stalls(client: TestClient, proxy: Proxy) -> None:
    assert "error" not in statuses(answers(client))
    proxy.stall()
    try:
        for _ in range(3):
            found = answers(client)
            assert statuses(found) == {"error"}
            assert [one["key"]["person"] for one in found] == ["ann", "bob", "nobody"]
        assert "online store" in client.get("/readyz").json()["missing"]
        assert client.get("/healthz").status_code == 200
    finally:
        proxy.go_on()
    wait_for_store(client)
    assert "error" not in statuses(answers(client))


def test_a_network_that_is_cut(client: TestClient, proxy: Proxy) -> None:
    proxy.cut()
    wait_for_store(client)
    assert "error" not in statuses(answers(client))


def test_a_server_that_is_not_there_yet(settings: Settings, cassandra_port: int) -> None:
    with Proxy(cassandra_port) as proxy:
        port = proxy.port
    gone = replace(settings, cassandra=replace(settings.cassandra, port=port))
    told: dict[str, Any] = {"champion_s": 3_600, "deadline_ms": DEADLINE_MS}
    with TestClient(make_api(gone, options_of(gone, **told), now_us)) as client:
        assert statuses(answers(client)) == {"error"}
        assert "online store" in client.get("/readyz").json()["missing"]
