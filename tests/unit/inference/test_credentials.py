from __future__ import annotations

import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.inference.server import Seen, answering, doubled, text
from twinlake.errors import EnvironmentFailure, InputError
from twinlake.inference.caller import Caller
from twinlake.inference.endpoint import Endpoint

KEY = "k-0123456789abcdef"
REGION, SERVICE = "eu-west-1", "sagemaker"


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place of its own for AWS's files, and none of the user's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def test_a_key_is_read_from_a_variable_when_a_call_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with answering(doubled) as seen:
        endpoint = Endpoint(seen.url, api_key_variable="TWINLAKE_TEST_KEY")
        with Caller(endpoint) as caller:
            monkeypatch.delenv("TWINLAKE_TEST_KEY", raising=False)
            with pytest.raises(InputError, match="TWINLAKE_TEST_KEY holds no key"):
                caller.call([{"x": 1}])
            for key in (KEY, "another"):
                monkeypatch.setenv("TWINLAKE_TEST_KEY", key)
                assert next(caller.call([{"x": 1}])).value == 2
    assert [one["x-api-key"] for one in seen.headers] == [KEY, "another"]


def test_a_key_file_is_its_owners_only_and_may_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    file.chmod(0o644)
    with answering(doubled) as seen:
        endpoint = Endpoint(seen.url, api_key_file=file, api_key_header="Authorization")
        with Caller(endpoint) as caller:
            with pytest.raises(InputError, match="read by others") as caught:
                caller.call([{"x": 1}])
            assert KEY not in str(caught.value)
            file.chmod(0o600)
            assert next(caller.call([{"x": 1}])).value == 2
            file.write_text("a key of another length")
            assert next(caller.call([{"x": 1}])).value == 2
    assert [one["authorization"] for one in seen.headers] == [
        f"Bearer {KEY}",
        "Bearer a key of another length",
    ]


def test_a_key_that_the_endpoint_repeats_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINLAKE_TEST_KEY", KEY)
    for body, status in (
        (f"unknown key {KEY}", 403),
        (KEY, 200),
        (f'{{"predictions": "{KEY}"}}', 200),
    ):
        with answering(text(body, status)) as seen:
            endpoint = Endpoint(seen.url, api_key_variable="TWINLAKE_TEST_KEY")
            with Caller(endpoint) as caller:
                (made,) = caller.call([{"x": 1}])
        assert made.value is None
        assert KEY not in made.detail


@pytest.mark.parametrize("contract", ["invocations-json", "invocations-csv", "predict-fare"])
def test_a_signature_is_the_one_that_botocore_makes(
    no_aws: Path, monkeypatch: pytest.MonkeyPatch, contract: str
) -> None:
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")

    async def keep(request: web.Request, seen: Seen) -> web.Response:
        seen.data["got"] = (request.method, request.raw_path, await request.read())
        return web.Response(status=400)

    with answering(keep) as seen:
        endpoint = Endpoint(
            seen.url + "?a=b%20c", contract, sigv4_region=REGION, sigv4_service=SERVICE
        )
        with Caller(endpoint) as caller:
            assert next(caller.call([{"x": 1, "ride_request_id": 20}])).status == 400
    (headers,) = seen.headers
    method, path, body = seen.data["got"]
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(signed)
    request = AWSRequest(
        method=method,
        url=f"http://{headers['host']}{path}",
        data=body,
        headers={name: headers[name] for name in signed},
    )
    request.context["timestamp"] = headers["x-amz-date"]
    signer = auth.SigV4Auth(Credentials("AKIATEST", "not-a-secret", "a-token"), SERVICE, REGION)
    canonical = signer.canonical_request(request)
    expected = signer.signature(signer.string_to_sign(request, canonical), request)
    assert headers["authorization"].endswith(f"Signature={expected}")


def test_credentials_that_end_are_renewed(no_aws: Path) -> None:
    pytest.importorskip("botocore")
    program = no_aws / "give.py"
    # They end within botocore's margin, so that each call renews them.
    program.write_text(
        "import json, pathlib, datetime\n"
        f"file = pathlib.Path({str(no_aws / 'count')!r})\n"
        "count = int(file.read_text()) + 1 if file.exists() else 1\n"
        "file.write_text(str(count))\n"
        "end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'KEY{count}', 'SecretAccessKey': 's',\n"
        "                  'SessionToken': 't', 'Expiration': end.isoformat()}))\n"
    )
    (no_aws / "config").write_text(
        f"[default]\ncredential_process = {sys.executable} -S {program}\n"
    )
    with answering(doubled) as seen:
        endpoint = Endpoint(
            seen.url, capacity=1, timeout_s=1, sigv4_region=REGION, sigv4_service=SERVICE
        )
        with Caller(endpoint) as caller:
            assert [one.value for one in caller.call([{"x": 1}, {"x": 2}])] == [2, 4]
            program.write_text("raise SystemExit(1)")
            (lost,) = caller.call([{"x": 3}])
    keys = [
        one["authorization"].partition("Credential=")[2].partition("/")[0] for one in seen.headers
    ]
    assert len(set(keys)) == 2
    assert lost.reason == "refused"
    assert "could not be renewed" in lost.detail


def test_without_credentials_nothing_is_asked(no_aws: Path) -> None:
    pytest.importorskip("botocore")
    endpoint = Endpoint("http://127.0.0.1:1/", sigv4_region=REGION, sigv4_service=SERVICE)
    with Caller(endpoint) as caller, pytest.raises(EnvironmentFailure, match="no credentials"):
        caller.call([{"x": 1}])
