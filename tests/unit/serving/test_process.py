"""The server as a process: several workers, slow clients, and an end that loses no request."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator

import httpx2
import pytest

from tests.unit.serving.server import Server, served
from twinlake.settings import Settings

AREA = {"service": "area_service", "entities": [{"zipcode": 76104}]}
BODY = json.dumps(AREA).encode()
HEAD = f"POST /v1/features HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n".encode()


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def answer_of(client: socket.socket) -> tuple[int, bytes]:
    """Read one answer until its body is whole."""
    got = b""
    while b"\r\n\r\n" not in got:
        part = client.recv(65_536)
        if not part:
            break
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    while length is not None and len(body) < int(length[1]):
        body += client.recv(65_536)
    return int(head.split()[1]), body


@pytest.fixture(scope="module")
def server(lender: Settings) -> Iterator[Server]:
    conf = "workers = 2\nslow_s = 1"
    with served(lender, "--without-tokens", conf=conf) as running:
        yield running


def counted(client: httpx2.Client, url: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (.*)$", client.get(f"{url}/metrics").text, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


def test_processes_share_a_port_and_count_together(server: Server) -> None:
    requests = 'twinlake_requests_total{route="/v1/features",status="200"}'
    values = 'twinlake_values_total{service="area_service",status="present"}'
    with httpx2.Client() as client:
        before = [counted(client, server.url, name) for name in (requests, values)]
        for _ in range(20):
            head = {"connection": "close"}  # each by whichever process takes it
            answer = client.post(f"{server.url}/v1/features", content=BODY, headers=head)
            assert answer.status_code == 200
        after = [counted(client, server.url, name) for name in (requests, values)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [20.0, 60.0]


def test_who_says_nothing_is_not_waited_for(server: Server) -> None:
    with connected(server) as client:
        assert client.recv(100) == b""


def test_a_slow_head_is_not_waited_for(server: Server) -> None:
    with connected(server) as client:
        client.sendall(b"POST /v1/features HTTP/1.1\r\nhost:")
        assert client.recv(100) == b""


def test_a_slow_second_head_neither(server: Server) -> None:
    with connected(server) as client:
        client.sendall(HEAD + BODY)
        assert answer_of(client)[0] == 200
        client.sendall(b"POST /v1")
        assert client.recv(100) == b""


def test_a_slow_body_is_told(server: Server) -> None:
    with connected(server) as client:
        client.sendall(HEAD + BODY[:5])
        status, body = answer_of(client)
        assert (status, json.loads(body)["detail"]) == (408, "the body did not come within 1 s")
        assert client.recv(100) == b""


def test_a_head_without_end_is_cut(server: Server) -> None:
    with connected(server) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        endless = b"".join([b"x-pad: " + b"x" * 8_192 + b"\r\n"] * 10_000)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            client.sendall(endless)


def test_a_body_of_100_mb_is_not_read(server: Server) -> None:
    with connected(server) as client:
        client.sendall(HEAD.replace(str(len(BODY)).encode(), b"104857600") + b"x" * 1_000)
        status, body = answer_of(client)
        assert (status, json.loads(body)["detail"]) == (413, "the body is longer than 1,024 kB")


def test_a_body_of_unknown_length_is_cut(server: Server) -> None:
    head = b"POST /v1/features HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with connected(server) as client:
        client.sendall(head)
        chunk = b"%x\r\n" % 262_144 + b"x" * 262_144 + b"\r\n"
        for _ in range(5):
            client.sendall(chunk)
        assert answer_of(client)[0] == 413


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_requests_under_way_are_finished(lender: Settings, workers: int, kind: int) -> None:
    told = ["--without-tokens", "--workers", str(workers)]
    with served(lender, *told) as server, connected(server) as client:
        client.sendall(HEAD + BODY[:5])
        with connected(server) as idle:
            # Once this is answered, the other's head has been read, too, if by one process.
            idle.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert answer_of(idle)[0] == 200
            server.process.send_signal(kind)
            assert idle.recv(100) == b""  # it ends what waits for nothing
        client.sendall(BODY[5:])
        status, body = answer_of(client)
        assert status == 200
        assert json.loads(body)["answers"][0]["values"]["city"] == "FORT WORTH"
        assert server.process.wait(60) == 0
    assert "Traceback" not in "".join(server.said)


def test_a_port_that_is_taken_is_told(lender: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with (
            pytest.raises(AssertionError, match="cannot listen on"),
            served(lender, "--without-tokens", "--port", port),
        ):
            pass
