"""Bad input and tricks: each has an answer that says what to do, and nothing leaks."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.unit.serving.conftest import Opened, now_us
from twinlake.serving.tokens import TokenFile
from twinlake.settings import Settings

ANN = {"zipcode": 76104, "person": "ann", "amount": 5}
DAY_US = 86_400_000_000
TRICKS = [
    "'; DROP TABLE credit; --", '" OR 1=1 --', "ann' UNION SELECT sql FROM sqlite_master --",
    "../../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "\x00", "ann\x00", "$(id)", "`id`",
    "{{7*7}}", "<script>alert(1)</script>", "%s%n", "a" * 60_000, "\u202e\ufeff",
]  # fmt: skip


def loan(**changes: Any) -> dict[str, Any]:
    return {"service": "loan_features", "entities": [ANN | changes]}


def deep(levels: int) -> str:
    return '{"service": "loan_features", "entities": ' + "[" * levels + "]" * levels + "}"


REFUSED: dict[str, tuple[Any, int, str]] = {
    "no JSON": ("{", 400, "the body is no JSON"),
    "no text": (b"\xff\xfe", 400, "the body is no JSON"),
    "nothing": (b"", 400, "the body is no JSON"),
    "a list": ([], 400, "no JSON object"),
    "half a letter": ('{"service": "\\ud800"}', 400, "the body is no JSON"),
    "NaN": ('{"service": "loan_features", "entities": [{"amount": NaN}]}', 400, "no JSON"),
    "no service": ({"entities": []}, 400, "names no service"),
    "service of another type": ({"service": 3, "entities": []}, 400, "names no service"),
    "unknown service": ({"service": "loan_feature", "entities": []}, 404, "'loan_feature'"),
    "path for a service": ({"service": "../registry", "entities": []}, 404, "no service named"),
    "no entities": ({"service": "loan_features"}, 400, "entities is no list"),
    "entity no object": ({"service": "loan_features", "entities": [3]}, 400, "entity 0"),
    "unknown entity": (loan(house=3), 400, "house"),
    "key left out": ({"service": "loan_features", "entities": [{"person": "ann"}]}, 400, "zipcode"),
    "list for a key": (loan(person=["ann"]), 400, "'person' is a list or an object"),
    "object for a field": (loan(amount={"a": 1}), 400, "'amount' is a list or an object"),
    "text for a number": (loan(zipcode="ann"), 400, "zipcode='ann' is no bigint"),
    "number for a text": (loan(person=3), 400, "person"),
    "null for a key": (loan(person=None), 400, "person"),
    "truth for a number": (loan(zipcode=True), 400, "zipcode"),
    "part of a number": (loan(zipcode=1.5), 400, "zipcode"),
    "number of 70 bits": (loan(zipcode=2**70), 400, "zipcode"),
    "field of 70 bits": (loan(amount=2**70), 400, "amount"),
    "empty key": (loan(person=""), 400, "an empty key"),
    "key of 100,000 letters": (loan(person="a" * 100_000), 400, "bytes"),
    "no time": ({**loan(), "as_of": "soon"}, 400, "'soon'"),
    "time of another type": ({**loan(), "as_of": 3}, 400, "as_of is no text"),
    "too early": ({**loan(), "as_of": "2020-01-01"}, 400, "cannot be read online"),
    "fields of another form": ({**loan(), "request": [3]}, 400, "request is no object"),
    "unknown name": ({**loan(), "featurs": []}, 400, "'featurs'"),
    "10,000 entities": ({"service": "loan_features", "entities": [ANN] * 10_000}, 413, "10,000"),
    "nested 7 deep": (deep(7), 400, "entity 0 is no object"),
    "nested 900 deep": (deep(900), 400, "entity 0 is no object"),
    "nested 100,000 deep": (deep(100_000), 400, "the body is no JSON"),
    "2 MB": ({**loan(), "pad": "x" * 2_000_000}, 413, "longer than 1,024 kB"),
}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    return TokenFile(tmp_path_factory.mktemp("secret") / "tokens.json")


@pytest.fixture
def client(lender: Settings, opened: Opened) -> TestClient:
    return opened(lender)


def require_no_leak(answer: Any, said: str) -> None:
    """Nothing of the inside is in an answer or a log."""
    for text in (answer.text, str(answer.headers), said):
        assert not re.search(r"Traceback|File \"|line \d+, in |site-packages|/tmp/", text), text[
            :500
        ]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(client: TestClient, caplog: pytest.LogCaptureFixture, name: str) -> None:
    body, status, told = REFUSED[name]
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    caplog.clear()
    answer = client.post("/v1/features", content=content)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert told in problem["detail"], problem["detail"][:300]
    assert len(answer.text) < 2_000
    require_no_leak(answer, caplog.text)


def test_what_is_not_there(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/v1/features", 405),
        ("GET", "/nothing", 404),
        ("POST", "/v1/predict/..%2f..%2fetc%2fpasswd", 404),
        ("POST", "/v1/predict/", 404),
        ("POST", "/invocations", 404),
        ("GET", "/ping", 404),
    ):
        answer = client.request(method, path, json={"entities": []}, follow_redirects=False)
        assert (answer.status_code, answer.json()["status"]) == (status, status), path
        require_no_leak(answer, "")


@pytest.mark.parametrize("trick", TRICKS, ids=range(len(TRICKS)))
def test_tricks_are_texts_like_others(lender: Settings, client: TestClient, trick: str) -> None:
    with closing(sqlite3.connect(lender.online_path)) as store:
        before = store.execute("SELECT name, sql FROM sqlite_master").fetchall()
    answer = client.post("/v1/features", json=loan(person=trick))
    assert answer.status_code == 200
    (one,) = answer.json()["answers"]
    assert one["statuses"]["due"] == "missing"
    assert one["values"]["city"] == "FORT WORTH"
    bodies: list[dict[str, Any]] = [
        {"service": trick, "entities": []},
        loan(zipcode=trick),
        loan(amount=trick),
        {**loan(), "as_of": trick},
        {**loan(), trick: 1},
        loan(**{trick: 1}),
    ]
    for body in bodies:
        refused = client.post("/v1/features", json=body)
        assert refused.status_code in {400, 404}
        assert len(refused.text) < 2_000
        require_no_leak(refused, "")
    with closing(sqlite3.connect(lender.online_path)) as store:
        assert store.execute("SELECT name, sql FROM sqlite_master").fetchall() == before


def test_tokens(
    lender: Settings, opened: Opened, tokens: TokenFile, caplog: pytest.LogCaptureFixture
) -> None:
    client = opened(lender, with_tokens=True, tokens=tokens.path)
    made = {
        "all": tokens.new(["*"], "", now_us(), now_us() + DAY_US),
        "some": tokens.new(["loan_features"], "", now_us(), now_us() + DAY_US),
        "other": tokens.new(["area_service"], "", now_us(), now_us() + DAY_US),
        "expired": tokens.new(["*"], "", now_us() - 2 * DAY_US, now_us()),
    }
    gone = tokens.new(["*"], "", now_us(), now_us() + DAY_US)
    tokens.revoke(gone.split(".")[1])
    name, secret = made["all"].split(".")[1:]
    headers: dict[str, tuple[str | None, int]] = {
        "none": (None, 401),
        "empty": ("Bearer ", 401),
        "another scheme": (f"Basic {made['all']}", 401),
        "garbage": ("Bearer \x7f.;'--", 401),
        "another secret": (f"Bearer tl.{name}.{secret[:-1]}", 401),
        "no secret": (f"Bearer tl.{name}.", 401),
        "unknown": (f"Bearer tl.000000000000.{secret}", 401),
        "revoked": (f"Bearer {gone}", 401),
        "expired": (f"Bearer {made['expired']}", 401),
        "of another service": (f"Bearer {made['other']}", 403),
        "all": (f"Bearer {made['all']}", 200),
        "some": (f"bearer {made['some']}", 200),
    }
    for case, (header, status) in headers.items():
        head = {} if header is None else {"authorization": header}
        answer = client.post("/v1/features", json=loan(), headers=head)
        assert answer.status_code == status, case
        assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)
        predicted = client.post("/v1/predict/loans", json={"entities": []}, headers=head)
        assert predicted.status_code == (503 if status == 200 else status), case
        require_no_leak(answer, caplog.text)
        for text in (answer.text, predicted.text, caplog.text, tokens.path.read_text()):
            assert all(one.split(".")[2] not in text for one in (*made.values(), gone))
    # Who may not read a service does not learn whether it is there.
    head = {"authorization": f"Bearer {made['other']}"}
    for service in ("loan_features", "no_such"):
        empty: dict[str, Any] = {"service": service, "entities": []}
        answer = client.post("/v1/features", json=empty, headers=head)
        assert answer.json()["detail"] == f"this token may not read service {service!r}"
    for model in ("loans", "no_such"):
        assert client.post(f"/v1/predict/{model}", json={}, headers=head).status_code == 403
    for path in ("/healthz", "/metrics", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    assert tokens.path.stat().st_mode & 0o077 == 0


def test_a_damaged_file_of_tokens_lets_nobody_in(
    lender: Settings, opened: Opened, tmp_path: Path
) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    head = {"authorization": f"Bearer {tokens.new(['*'], '', now_us(), now_us() + DAY_US)}"}
    client = opened(lender, with_tokens=True, tokens=tokens.path)
    assert client.post("/v1/features", json=loan(), headers=head).status_code == 200
    tokens.path.write_text("{")
    answer = client.post("/v1/features", json=loan(), headers=head)
    assert answer.status_code == 503
    require_no_leak(answer, "")


def test_without_a_file_of_tokens_nobody_gets_in(
    lender: Settings, opened: Opened, tmp_path: Path
) -> None:
    client = opened(lender, with_tokens=True, tokens=tmp_path / "none.json")
    assert client.post("/v1/features", json=loan()).status_code == 401
    head = {"authorization": "Bearer tl.x."}  # the hash of nothing is nobody's
    assert client.post("/v1/features", json=loan(), headers=head).status_code == 401


def test_what_nobody_foresaw_is_told_without_its_stack(
    own_lender: Settings, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    client = opened(own_lender)
    desk = client.app.state.desk  # type: ignore[attr-defined]  # of FastAPI
    desk.now_us = None  # nothing foresees that
    answer = client.post("/v1/features", json=loan())
    assert (answer.status_code, answer.json()["detail"]) == (500, "the server failed")
    assert "TypeError" not in answer.text
    require_no_leak(answer, caplog.text)
