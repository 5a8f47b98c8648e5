"""Alerts on their way: a dead sink delays, never loses, and holds up no other."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest

from twinlake.assurance.alert_sinks import SnsSink, TopicSink, WebhookSink, named_sinks
from twinlake.assurance.alerting import AlertEvent
from twinlake.assurance.outbox import Event, Outbox, Sink
from twinlake.errors import EnvironmentFailure, InputError

END = "1970-01-01T00:01:00Z"


def event(number: int, kind: str = "raised") -> AlertEvent:
    where = ("1970-01-01T00:00:00Z", END, "poor: it is poor")
    return AlertEvent(
        f"{number:032x}", kind, "iris", "poor", "accuracy", None, 0.3, 0.9, 50, 2, *where
    )


class Server:
    """A webhook that answers what the test says, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.hold = 200, threading.Event()
        self.hold.set()
        self.got: list[tuple[dict[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((dict(self.headers), json.loads(body)))
                outer.hold.wait(10)
                self.send_response(outer.status)
                self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/hook/secret"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def ids(self) -> list[str]:
        return [body["id"] for _, body in self.got]

    def stop(self) -> None:
        self.hold.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def test_a_webhook_that_fails_gets_all_in_order_once_it_is_back(
    server: Server, tmp_path: Path
) -> None:
    box = Outbox(tmp_path / "alerts.json", {"webhook": WebhookSink(server.url, "s3cret")})
    assert box.put([event(1), event(2, "cleared")]) == 2
    server.status = 503
    failed = box.deliver(100.0)
    assert (failed.sent, failed.waiting) == (0, {"webhook": 2})
    assert failed.problems == {"webhook": "webhook at 127.0.0.1 answers 503"}
    assert len(server.got) == 1  # what came after it had to wait
    server.status = 200
    assert box.deliver(100.5).sent == 0  # its time has not come
    delivered = box.deliver(101.0)
    assert (delivered.sent, delivered.waiting, delivered.problems) == (2, {"webhook": 0}, {})
    assert server.ids() == [event(1).id, event(1).id, event(2).id]
    headers, body = server.got[-1]
    assert headers["Idempotency-Key"] == body["id"]
    assert headers["Authorization"] == "Bearer s3cret"
    assert body == event(2, "cleared").document()


def test_waits_grow_and_outlive_a_restart(tmp_path: Path) -> None:
    tries: list[float] = []

    def dead(_: Event) -> None:
        tries.append(now)
        raise EnvironmentFailure("topic is gone")

    file, now = tmp_path / "alerts.json", 0.0
    Outbox(file, {"topic": TopicSink(dead)}).put([event(1)])
    for now in range(100):
        box = Outbox(file, {"topic": TopicSink(dead)}, longest_wait_s=16)
        box.deliver(float(now))
    assert tries == [0, 1, 3, 7, 15, 31, 47, 63, 79, 95]


def test_killed_between_sending_and_noting_it_sends_the_same_id_again(
    server: Server, tmp_path: Path
) -> None:
    file, sinks = tmp_path / "alerts.json", {"webhook": WebhookSink(server.url)}
    Outbox(file, sinks).put([event(1)])
    before = file.read_bytes()
    assert Outbox(file, sinks).deliver(0.0).sent == 1
    file.write_bytes(before)  # the note of it was never written
    assert Outbox(file, sinks).deliver(0.0).sent == 1
    assert server.ids() == [event(1).id] * 2


def test_what_was_delivered_is_not_taken_again(server: Server, tmp_path: Path) -> None:
    file, sinks = tmp_path / "alerts.json", {"webhook": WebhookSink(server.url)}
    for _ in range(3):
        box = Outbox(file, sinks)
        box.put([event(1)])
        box.deliver(0.0)
    assert server.ids() == [event(1).id]


def test_a_silent_sink_holds_up_neither_the_round_nor_the_others(
    server: Server, tmp_path: Path
) -> None:
    told: list[Event] = []
    server.hold.clear()
    sinks: dict[str, Sink] = {"webhook": WebhookSink(server.url), "topic": TopicSink(told.append)}
    box = Outbox(tmp_path / "alerts.json", sinks, round_s=2.0)
    box.put([event(1)])
    first = box.deliver(0.0)
    assert (first.sent, first.waiting) == (1, {"webhook": 1, "topic": 0})
    assert first.problems == {"webhook": "has not answered yet"}
    assert [each["id"] for each in told] == [event(1).id]
    server.hold.set()
    assert Outbox.deliver(box, 1.0).waiting == {"webhook": 0, "topic": 0}
    assert len(server.got) == 1


def test_errors_name_no_path_and_no_token(server: Server) -> None:
    server.status = 302
    with pytest.raises(EnvironmentFailure) as failure:
        WebhookSink(server.url, "s3cret").send(event(1).document())
    assert "answers 302" in str(failure.value)
    url = server.url
    server.stop()
    with pytest.raises(EnvironmentFailure) as other:
        WebhookSink(url, "s3cret").send(event(1).document())
    server.__init__()  # type: ignore[misc]  # so that the fixture has one to stop
    told = str(failure.value) + str(other.value)
    assert "Connection refused" in told
    assert "secret" not in told
    assert "s3cret" not in told


@pytest.mark.parametrize("url", ["hook", "ftp://host/x", "http://", "http://host:x/"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="webhook"):
        WebhookSink(url)


def test_sinks_are_those_that_the_environment_names() -> None:
    none = {"webhook": "", "sns_topic": "", "region": ""}
    assert named_sinks(none, {}) == {}
    arn = "arn:aws:sns:eu-west-1:123456789012:alerts"
    every = {"webhook": "https://host/x", "sns_topic": arn, "region": ""}
    assert sorted(named_sinks(every, {})) == ["sns", "webhook"]
    with pytest.raises(InputError, match="sns_topic is 'alerts'"):
        SnsSink("alerts")


def test_sns_takes_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        region = "eu-west-1"
        sqs, sns = (boto3.client(kind, region_name=region) for kind in ("sqs", "sns"))
        queue = sqs.create_queue(QueueName="q")["QueueUrl"]
        topic = sns.create_topic(Name="alerts")["TopicArn"]
        arn = f"arn:aws:sqs:{region}:123456789012:q"
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        SnsSink(topic).send(event(1).document())
        (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
        told = json.loads(message["Body"])
        assert json.loads(told["Message"]) == event(1).document()
        assert told["MessageAttributes"]["id"]["Value"] == event(1).id
        with pytest.raises(EnvironmentFailure, match="answers NotFound"):
            SnsSink(f"{topic}-gone").send(event(1).document())
