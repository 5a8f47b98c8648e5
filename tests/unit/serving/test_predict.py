"""POST /v1/predict/{model}: the champion's forecasts, and the change to a new one."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from tests.unit.serving.conftest import Opened
from tests.unit.serving.shop import make_champion
from twinlake.models.mlflow_session import tracking_store
from twinlake.models.registered import load_champion
from twinlake.settings import Settings

RICH = {"zipcode": 76104, "person": "ann", "amount": 900, "kind": "rent"}
POOR = {"zipcode": 10001, "person": "ann", "amount": 3, "kind": None}


def predicted(client: TestClient, *rows: dict[str, Any], **more: Any) -> Any:
    answer = client.post("/v1/predict/loans", json={"entities": list(rows), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def judge(judging_lender: Settings, opened: Opened) -> TestClient:
    client = opened(judging_lender)
    assert client.get("/readyz").json() == {"status": "ready", "missing": []}
    return client


def test_forecast_verdict_and_version(judge: TestClient, judging_lender: Settings) -> None:
    document = predicted(judge, RICH, POOR, features=True)
    assert (document["model"], document["threshold"]) == ("loans", 0.5)
    champion = load_champion(tracking_store(judging_lender, "loans"), "loans")
    assert document["model_version"] == champion.version
    rich, poor = document["predictions"]
    assert (rich["is_positive"], rich["status"]) == (True, "present")
    assert (poor["is_positive"], poor["status"]) == (False, "present")
    vector = {
        "population": [10_534, None], "debt": [1020.0, 123.0], "amount": [900, 3],
        "kind": ["rent", None],
    }  # fmt: skip
    assert [rich["prediction"], poor["prediction"]] == champion.predict(pa.table(vector)).tolist()
    assert rich["values"]["debt"] == 1020.0
    assert poor["statuses"]["population"] == "null"
    assert "values" not in predicted(judge, RICH)["predictions"][0]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"zipcode": 76104, "person": "ann"}, "without amount, without kind"),
        (RICH | {"age": 3}, "entity 0: age"),
        (RICH | {"kind": 3}, "kind does not fit"),
        (RICH | {"amount": "much"}, "amount='much' is no bigint"),
        ({}, "without zipcode"),
    ],
)
def test_a_form_left_half_empty(judge: TestClient, row: dict[str, Any], told: str) -> None:
    answer = judge.post("/v1/predict/loans", json={"entities": [row]})
    assert answer.status_code == 400
    assert told in answer.json()["detail"]


def test_a_new_champion_takes_over(own_lender: Settings, opened: Opened) -> None:
    first = make_champion(own_lender)
    client = opened(own_lender)
    before = predicted(client, RICH)
    assert before["model_version"] == first
    second = make_champion(own_lender, sign=-1.0)
    assert predicted(client, RICH)["model_version"] == first  # nobody has looked yet
    client.app.state.desk.look_for_champions()  # type: ignore[attr-defined]  # of FastAPI
    after = predicted(client, RICH)
    assert (after["model_version"], second) == (second, first + 1)
    assert after["predictions"][0]["is_positive"] is not before["predictions"][0]["is_positive"]
    assert f'model_version{{model="loans"}} {second}.0' in client.get("/metrics").text


def test_no_request_fails_while_a_champion_takes_over(own_lender: Settings, opened: Opened) -> None:
    first = make_champion(own_lender)
    client = opened(own_lender)
    second = make_champion(own_lender, sign=-1.0)
    desk = client.app.state.desk  # type: ignore[attr-defined]  # of FastAPI
    looking = Thread(target=desk.look_for_champions)
    seen = [predicted(client, RICH)]
    looking.start()
    while looking.is_alive() or seen[-1]["model_version"] == first:
        seen.append(predicted(client, RICH))
        assert looking.is_alive() or len(seen) < 10_000
    looking.join()
    versions = [one["model_version"] for one in seen]
    assert versions == sorted(versions)
    assert set(versions) == {first, second}
    # A forecast and the version beside it are of one model.
    forecasts = {(one["model_version"], one["predictions"][0]["prediction"]) for one in seen}
    assert len(forecasts) == 2


def test_a_spoilt_model_is_not_loaded(own_lender: Settings, opened: Opened) -> None:
    make_champion(own_lender)
    (file,) = Path(own_lender.state, "models").rglob("model.ubj")
    file.write_bytes(file.read_bytes() + b" ")
    client = opened(own_lender)
    assert client.get("/readyz").json() == {"status": "not ready", "missing": ["champion of loans"]}
    answer = client.post("/v1/predict/loans", json={"entities": [RICH]})
    assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")
    assert 'failures_total{what="champion of loans"} 1.0' in client.get("/metrics").text


def test_unknown_model(judge: TestClient) -> None:
    answer = judge.post("/v1/predict/loan", json={"entities": []})
    assert answer.status_code == 404
    assert "did you mean 'loans'" in answer.json()["hint"]
