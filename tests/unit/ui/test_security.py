"""What another site, a strange name or a long body gets from the pages."""

from __future__ import annotations

import pytest

from tests.unit.ui.conftest import Opened, send, token_of
from twinlake.settings import Settings


@pytest.mark.parametrize(
    "told",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:81"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_starts_nothing(
    opened: Opened, lender: Settings, told: dict[str, str]
) -> None:
    client = opened(lender)
    status, text = send(client, "/parity", None, **told)
    assert (status, "another site sent this form" in text) == (403, True)
    assert "data-job" not in client.get("/parity").text


def test_a_form_that_says_not_where_it_is_from_is_refused(opened: Opened, lender: Settings) -> None:
    client = opened(lender)
    answer = client.post("/parity", data={"_token": token_of(client)})
    assert (answer.status_code, "which site sent this form" in answer.text) == (403, True)


@pytest.mark.parametrize("token", ["", "x", "\u00e9"])
def test_a_form_without_this_runs_token_is_refused(
    opened: Opened, lender: Settings, token: str
) -> None:
    status, text = send(opened(lender), "/parity", {"_token": token})
    assert (status, "of another run" in text) == (403, True)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::"])
def test_a_name_that_is_not_this_machines_sees_nothing(
    opened: Opened, lender: Settings, host: str
) -> None:
    answer = opened(lender).get("/catalogue", headers={"host": host})
    assert (answer.status_code, "is no name of this machine" in answer.text) == (421, True)
    assert "area_features" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8090", "localhost:9", "[::1]:8090"])
def test_own_names_may_ask_at_any_port(opened: Opened, lender: Settings, host: str) -> None:
    assert opened(lender).get("/catalogue", headers={"host": host}).status_code == 200


def test_a_long_body_is_refused(opened: Opened, lender: Settings) -> None:
    status, text = send(opened(lender), "/decide/loans", {"kind": "x" * 70_000})
    assert (status, "longer than 64 kB" in text) == (413, True)


def test_a_page_may_load_nothing_from_elsewhere(opened: Opened, lender: Settings) -> None:
    answer = opened(lender).get("/catalogue")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "style=" not in answer.text
    for shown in ("/static/style.css", "/static/job.js", "/static/icon.svg"):
        found = opened(lender).get(shown)
        assert found.status_code == 200
        assert "content-security-policy" in found.headers


@pytest.mark.parametrize(
    "path",
    [
        "/training-sets/..%2F..%2Fregistry",
        "/training-sets/%2Fetc%2Fpasswd",
        "/catalogue/views/..%2Fsecret",
        "/static/..%2F__init__.py",
        "/training-sets/diff?a=../x&b=../y",
        "/catalogue/__class__/x",
        "/decide/nope",
    ],
)
def test_a_name_is_looked_up_and_is_no_path(opened: Opened, lender: Settings, path: str) -> None:
    answer = opened(lender).get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_what_users_wrote_is_shown_as_text(opened: Opened, lender: Settings) -> None:
    client, script = opened(lender), "<script>alert(1)</script>"
    shown = [
        client.get("/catalogue", params={"q": script}).text,
        client.get("/catalogue/views/<script>").text,
        client.get("/decide/x<script>").text,
        send(client, "/decide/loans", {"person": script, "kind": '"><script>x'})[1],
        send(client, "/parity", {"service": script})[1],
    ]
    for text in shown:
        assert "<script>" not in text.replace('<script src="/static/job.js" defer>', "")
        assert "&lt;script&gt;" in text
