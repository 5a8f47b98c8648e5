"""SageMaker's contract: /ping and /invocations, JSON and CSV, and the container's own command."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.unit.serving.conftest import Opened
from twinlake.settings import Settings

RICH = {"zipcode": 76104, "person": "ann", "amount": 900, "kind": "rent"}
POOR = {"zipcode": 10001, "person": "ann", "amount": 3, "kind": None}
JSON, CSV = "application/json", "text/csv"
SERVE = Path(__file__).resolve().parents[3] / "bootstrap" / "serve-container"


@pytest.fixture
def client(judging_lender: Settings, opened: Opened, tmp_path: Path) -> TestClient:
    # The platform decides who may ask, so these addresses know no tokens.
    told: dict[str, Any] = {"with_tokens": True, "tokens": tmp_path / "none.json"}
    return opened(judging_lender, sagemaker="loans", **told)


def invoked(client: TestClient, body: str | bytes, kind: str, accept: str = "*/*") -> Any:
    head = {"content-type": kind, "accept": accept}
    return client.post("/invocations", content=body, headers=head)


def test_json_and_csv_say_the_same(client: TestClient) -> None:
    assert client.get("/ping").status_code == 200
    as_json = invoked(client, json.dumps({"instances": [RICH, POOR]}), JSON).json()["predictions"]
    assert len(as_json) == 2
    assert as_json[0] > 0.5 > as_json[1]
    for body in ([RICH, POOR], {"entities": [RICH, POOR]}):
        assert invoked(client, json.dumps(body), JSON).json()["predictions"] == as_json
    assert invoked(client, json.dumps(RICH), JSON).json()["predictions"] == as_json[:1]
    rows = "76104,ann,900,rent\n10001,ann,3,\n"
    in_order = invoked(client, rows, f"{CSV}; charset=utf-8")
    assert in_order.json()["predictions"] == as_json
    named = "kind,person,amount,zipcode\r\nrent,ann,900,76104\r\n,ann,3,10001\r\n"
    answer = invoked(client, named, CSV, CSV)
    assert answer.headers["content-type"].startswith(CSV)
    assert answer.headers["x-model-version"] == "1"
    assert [float(line) for line in answer.text.splitlines()] == as_json


@pytest.mark.parametrize(
    ("body", "kind", "accept", "status"),
    [
        ("{", JSON, JSON, 400),
        ('{"instances": 3}', JSON, JSON, 400),
        ('{"instances": [{"zipcode": 1}]}', JSON, JSON, 400),
        ("76104,ann", CSV, JSON, 400),
        ("76104,ann,900,rent\n76104,ann,900", CSV, JSON, 400),
        ('76104,"ann', CSV, JSON, 400),
        (b"\xff", CSV, JSON, 400),
        ("x,ann,900,rent", CSV, JSON, 400),
        ("", "application/x-npy", JSON, 415),
        ("76104,ann,900,rent", CSV, "image/png", 406),
        ("76104,ann,900,rent\n" * 1_001, CSV, JSON, 413),
    ],
)
def test_what_does_not_fit(
    client: TestClient, body: str | bytes, kind: str, accept: str, status: int
) -> None:
    answer = invoked(client, body, kind, accept)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


def test_no_store_is_no_forecast(client: TestClient) -> None:
    desk = client.app.state.desk  # type: ignore[attr-defined]  # of FastAPI
    desk.link.close()
    assert client.get("/ping").status_code == 503
    assert invoked(client, json.dumps([RICH]), JSON).status_code == 503


def test_a_model_that_is_not_there(judging_lender: Settings, opened: Opened) -> None:
    client = opened(judging_lender, sagemaker="loan")
    assert client.get("/ping").status_code == 503
    assert client.get("/readyz").json()["missing"] == ["model loan"]
    assert invoked(client, json.dumps([RICH]), JSON).status_code == 404


def test_other_addresses_still_ask_for_a_token(client: TestClient) -> None:
    assert client.post("/v1/predict/loans", json={"entities": [RICH]}).status_code == 401


def test_the_container_starts_what_it_should(tmp_path: Path) -> None:
    shown = tmp_path / "python"
    shown.write_text('#!/bin/sh\necho "$@"\n')
    shown.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "PYTHON": str(shown), "TWINLAKE_MODEL": "loans"}
    done = subprocess.run([SERVE], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "-m", "twinlake.cli.main", "-C", "/opt/ml/model/project", "--env", "local",
        "--state", "/opt/ml/model/state", "serve", "--host", "0.0.0.0",  # noqa: S104 (in a container)
        "--port", "8080", "--workers", "1", "--sagemaker", "loans",
    ]  # fmt: skip
    refused = subprocess.run(
        [SERVE], env={"PATH": environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert (refused.returncode, "TWINLAKE_MODEL is not set" in refused.stderr) == (2, True)
