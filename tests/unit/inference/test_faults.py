from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from examples.taxi_fares.formula import expected_fare, served
from tests.unit.inference.server import Answer, Seen, answering, doubled, hang, text
from twinlake.inference.caller import Caller
from twinlake.inference.endpoint import Endpoint
from twinlake.inference.outcomes import Outcome

ROW = {"x": 21}


def one(url: str, record: dict[str, Any] = ROW, **told: Any) -> Outcome:
    endpoint = Endpoint(url, **{"timeout_s": 0.4, "retry_first_s": 0.01, **told})
    with Caller(endpoint) as caller:
        (made,) = caller.call([record])
    return made


async def truncated(request: web.Request, _: Seen) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-length": "1000"})
    await response.prepare(request)
    await response.write(b'{"predictions": [')
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (text("<html>sorry", content_type="text/html"), "bad_answer", "text/html"),
        (text('{"predictions": [NaN]}'), "bad_answer", "no JSON"),
        (text('{"predictions": [1e999]}'), "bad_answer", ""),
        (text('{"predictions": [1, 2]}'), "bad_answer", "2 rows, asked were 1"),
        (text('{"predictions": []}'), "bad_answer", "0 rows, asked were 1"),
        (text('{"predictions": [null]}'), "bad_answer", "None"),
        (text('{"predictions": [true]}'), "bad_answer", "True"),
        (text('{"predictions": ["4"]}'), "bad_answer", "'4'"),
        (text('{"predictions": 4}'), "bad_answer", "no list"),
        (text("[4]"), "bad_answer", "no JSON object"),
        (text(""), "bad_answer", "no JSON"),
        (text("", 204), "bad_answer", "status 204"),
        (text(f'{{"predictions": [{"1" * 3_000_000}]}}'), "bad_answer", "1,048,576 B"),
        (truncated, "bad_answer", "broke off"),
        (text("", 307, location="http://127.0.0.1:1/"), "bad_answer", "not followed"),
        (text("no such thing", 404), "refused", "status 404: 'no such thing'"),
        (text("later", 429), "throttled", "status 429: 'later'"),
        (text("oh", 500), "failed", "status 500: 'oh'"),
        (text("oh", 503, retry_after="5"), "failed", "next try would be in 5.00 s"),
        (hang, "timeout", "within 0.4 s"),
    ],
)
def test_a_bad_answer_is_a_dead_letter_that_says_why(
    answer: Answer, reason: str, said: str
) -> None:
    with answering(answer) as seen:
        made = one(seen.url, longest_answer=1 << 20)
    assert (made.value, made.reason) == (None, reason)
    assert said in made.detail
    assert len(made.detail) <= 500


def test_what_will_not_change_is_asked_once_and_what_may_is_asked_again() -> None:
    for status, times in ((400, 1), (404, 1), (429, 3), (500, 3), (503, 3)):
        with answering(text("", status)) as seen:
            made = one(seen.url, retry_first_s=0.1, retry_factor=1, retry_jitter=0, timeout_s=0.29)
        assert (seen.requests, made.attempts, made.status) == (times, times, status)


def test_a_failure_that_passes_is_no_dead_letter() -> None:
    async def third_time(request: web.Request, seen: Seen) -> web.Response:
        return await doubled(request, seen) if seen.requests == 3 else web.Response(status=500)

    with answering(third_time) as seen:
        made = one(seen.url)
    assert (made.value, made.reason, made.attempts, made.status) == (42, None, 3, 200)


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "1"},
        {"retry-after": "Sun, 01 Mar 2026 12:00:01 GMT", "date": "Sun, 01 Mar 2026 12:00:00 GMT"},
    ],
)
def test_retry_after_is_honoured_where_it_fits(headers: dict[str, str]) -> None:
    async def once(request: web.Request, seen: Seen) -> web.Response:
        if seen.requests == 1:
            return web.Response(status=429, headers=headers)
        return await doubled(request, seen)

    with answering(once) as seen:
        short = one(seen.url, timeout_s=0.5)
        assert (short.reason, short.attempts) == ("throttled", 1)
        seen.requests = 0
        made = one(seen.url, timeout_s=5)
    assert (made.value, made.attempts) == (42, 2)
    assert made.latency_ms >= 1_000


def test_an_endpoint_that_is_not_there_yet_is_waited_for() -> None:
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
    made = one(f"http://127.0.0.1:{port}/invocations")
    assert made.reason == "unreachable"
    assert made.attempts > 1
    done: list[Outcome] = []
    url = f"http://127.0.0.1:{port}/invocations"
    waiting = threading.Thread(target=lambda: done.append(one(url, timeout_s=10)))
    waiting.start()
    with answering(doubled, port=port):
        waiting.join(10)
    assert done[0].value == 42


def test_what_speaks_no_http_is_a_bad_answer() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def speak() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail ready\r\n\r\n")

        threading.Thread(target=speak, daemon=True).start()
        made = one(f"http://127.0.0.1:{listening.getsockname()[1]}/")
    assert made.reason == "bad_answer"
    assert "no HTTP" in made.detail


def test_a_certificate_is_trusted_only_when_it_is_named(tmp_path: Path) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    key = ec.generate_private_key(ec.SECP256R1())
    import ipaddress

    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "both.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with answering(doubled, tls=context) as seen:
        refused = one(seen.url)
        assert (refused.reason, refused.attempts) == ("unreachable", 1)
        assert refused.detail.startswith("TLS: ")
        assert seen.requests == 0
        assert one(seen.url, ca_file=file).value == 42


def test_a_record_that_cannot_be_written_harms_no_other() -> None:
    with answering(doubled) as seen:
        endpoint = Endpoint(seen.url, rows_per_call=3, ordered=True)
        with Caller(endpoint) as caller:
            made = list(caller.call([{"x": 1}, {"x": b"raw"}, {"x": 3}, {"x": 4}]))
    assert [(each.index, each.value, each.reason) for each in made] == [
        (0, 2, None),
        (1, None, "bad_record"),
        (2, 6, None),
        (3, 8, None),
    ]


def test_the_version_that_answered_is_told() -> None:
    with answering(text('{"predictions": [4]}', x_model_version="7")) as seen:
        made = one(seen.url)
    assert (made.value, made.model_version) == (4.0, "7")


@pytest.mark.parametrize(
    ("body", "value", "said"),
    [
        ("4.5\n", 4.5, ""),
        ("nan\n", None, "finite"),
        ("Infinity", None, "finite"),
        ("<html>", None, "expected a number"),
        ("1\n2\n", None, "2 rows, asked were 1"),
        ("", None, "0 rows"),
    ],
)
def test_csv_is_one_line_a_record(body: str, value: float | None, said: str) -> None:
    async def answer(request: web.Request, seen: Seen) -> web.Response:
        seen.data["body"] = await request.text()
        return web.Response(text=body, content_type="text/csv")

    with answering(answer) as seen:
        made = one(seen.url, {"a": 1.5, "b": None, "c": 'x,"y'}, contract="invocations-csv")
    assert seen.data["body"] == '1.5,,"x,""y"\n'
    assert made.value == value
    assert made.reason == (None if value else "bad_answer")
    assert said in made.detail


def test_fares_are_those_of_the_formula() -> None:
    with served() as url:
        made = one(url, {"ride_request_id": 20}, contract="predict-fare")
        assert made.value == {"ride_request_id": 20, "expected_fare": 40.68894898991148}
        none = one(url, {"trip": 4}, contract="predict-fare")
        assert (none.reason, none.status) == ("refused", 400)
        assert "Missing ride_request_id" in none.detail
        with Caller(Endpoint(url, contract="predict-fare", ordered=True)) as caller:
            fares = list(caller.call({"ride_request_id": ride} for ride in range(1, 100)))
    assert [each.value["expected_fare"] for each in fares] == [  # type: ignore[index]
        expected_fare(ride) for ride in range(1, 100)
    ]


@pytest.mark.parametrize("told", ['{"ride_request_id": 21, "expected_fare": 1.0}', "{}"])
def test_an_answer_of_another_ride_is_none(told: str) -> None:
    with answering(text(told)) as seen:
        made = one(seen.url, {"ride_request_id": 20}, contract="predict-fare")
    assert made.reason == "bad_answer"
    assert "asked was 20" in made.detail


def test_a_service_of_twinlake_tells_version_and_status() -> None:
    async def answer(request: web.Request, _: Seen) -> web.Response:
        asked = (await request.json())["entities"]
        rows = [
            {
                "key": {"card": each["card"] + each.get("off", 0)},
                "prediction": 0.25 if each["card"] != 2 else None,
                "status": "present" if each["card"] != 2 else "error",
                "is_positive": False,
            }
            for each in asked
        ]
        return web.json_response({"model": "m", "model_version": 3, "predictions": rows})

    with answering(answer) as seen:
        told = {"contract": "twinlake-predict"}
        good = one(seen.url, {"card": 1}, **told)
        unread = one(seen.url, {"card": 2}, **told)
        other = one(seen.url, {"card": 3, "off": 1}, **told)
    assert good.value == {"prediction": 0.25, "is_positive": False}
    assert good.model_version == "3"
    assert (unread.value, unread.reason) == (None, "failed")
    assert (other.value, other.reason) == (None, "bad_answer")


def test_an_endpoint_that_goes_down_in_the_middle_ends_every_record() -> None:
    async def dies(request: web.Request, seen: Seen) -> web.Response:
        if seen.requests > 30:
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(0)
        return await doubled(request, seen)

    with answering(dies) as seen:
        endpoint = Endpoint(seen.url, capacity=10, timeout_s=0.2, breaker_open_s=0.05)
        with Caller(endpoint) as caller:
            made = list(caller.call({"x": n} for n in range(60)))
    assert sorted(each.index for each in made) == list(range(60))
    assert sum(each.value is not None for each in made) == 30
    assert {each.reason for each in made} <= {None, "unreachable", "circuit_open"}
