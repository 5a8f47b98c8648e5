"""POST /v1/features gives what get_online_features gives, by the same way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.serving.conftest import Opened, now_us
from tests.unit.serving.shop import AS_OF_US, NEW_US
from twinlake.definitions.times import format_instant
from twinlake.flows.project import Project
from twinlake.flows.reading import read_service
from twinlake.settings import Settings

ANN = {"zipcode": 76104, "person": "ann", "amount": 5}
BOB = {"zipcode": 10001, "person": "bob", "amount": 6}
NOBODY = {"zipcode": 1, "person": "nobody", "amount": 7}


def test_every_value_has_status_age_and_times(lender: Settings, opened: Opened) -> None:
    asked = {"service": "loan_features", "entities": [ANN, BOB, NOBODY]}
    answer = opened(lender).post("/v1/features", json=asked)
    assert answer.status_code == 200
    document = answer.json()
    assert document["service"] == "loan_features"
    assert document["as_of"]["credit"] == {"at": format_instant(AS_OF_US), "clock": "instant"}
    ann, bob, nobody = document["answers"]
    assert ann["values"]["debt"] == 125.0
    assert (ann["values"]["due"], ann["statuses"]["due"]) == (120, "present")
    newest = {
        "event_timestamp": format_instant(NEW_US),
        "known_timestamp": format_instant(NEW_US + 1_000_000),
        "age_s": 86_400.0,
    }
    assert ann["times"][document["views"]["due"]] == newest
    # What is computed is as old as the newest of what it is computed from.
    assert ann["times"][document["views"]["debt"]] == newest | {"known_timestamp": None}
    assert ann["values"]["wages"] == "12.50"
    assert (ann["values"]["reports_7d"], ann["statuses"]["reports_7d"]) == (1, "present")
    assert bob["statuses"]["population"] == "null"
    assert (bob["values"]["due"], bob["statuses"]["due"]) == (None, "expired")
    assert {status for name, status in nobody["statuses"].items() if name != "debt"} == {"missing"}
    assert document["answers"][1]["key"] == {"zipcode": 10001, "person": "bob"}
    assert document["answers"][1]["request"] == {"amount": 6}


@pytest.mark.parametrize("as_of", [None, "data", "wall", "2024-03-01T12:00:00Z"])
def test_it_is_what_the_store_gives_in_process(
    lender: Settings, opened: Opened, as_of: str | None
) -> None:
    rows = [ANN, NOBODY, BOB, ANN]
    asked = {"service": "loan_features", "entities": rows, "as_of": as_of}
    document = opened(lender).post("/v1/features", json=asked).json()
    with Project(lender, environ={}, now_us=now_us, tell=lambda _: None) as project:
        answers = read_service(project, "loan_features", rows, as_of)
    assert len(document["answers"]) == len(answers) == 4
    for told, answer in zip(document["answers"], answers, strict=True):
        assert list(told["values"]) == list(told["statuses"]) == list(answer.features)
        for name, served in answer.features.items():
            assert told["values"][name] == json.loads(json.dumps(served.value, default=str))
            assert told["statuses"][name] == served.status
            at_us, times = served.event_us, told["times"][document["views"][name]]
            assert times["event_timestamp"] == (None if at_us is None else format_instant(at_us))
    moments = {view: moment.clock for view, moment in answers[0].as_of.items()}
    assert {view: one["clock"] for view, one in document["as_of"].items()} == moments


def test_fields_that_all_share_are_told_once(lender: Settings, opened: Opened) -> None:
    client = opened(lender)
    each: list[dict[str, Any]] = [
        {"zipcode": 76104, "person": "ann", "amount": 5},
        {"zipcode": 10001, "person": "bob", "amount": 9},
    ]
    once = [{"zipcode": 76104, "person": "ann"}, {"zipcode": 10001, "person": "bob", "amount": 9}]
    apart = client.post("/v1/features", json={"service": "loan_features", "entities": each})
    shared = {"service": "loan_features", "entities": once, "request": {"amount": 5}}
    assert client.post("/v1/features", json=shared).json() == apart.json()


def test_no_entities_are_no_answers(lender: Settings, opened: Opened) -> None:
    answer = opened(lender).post("/v1/features", json={"service": "area_service", "entities": []})
    assert (answer.status_code, answer.json()["answers"]) == (200, [])


def test_the_pages_list_the_addresses_and_load_nothing(lender: Settings, opened: Opened) -> None:
    client = opened(lender)
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/features", "/v1/predict/{model}", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert document["paths"]["/v1/features"]["post"]["security"] == [{"token": []}]
    page = client.get("/docs")
    assert all(path in page.text for path in document["paths"])
    assert "://" not in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
