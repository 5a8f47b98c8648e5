"""Alerts: when they are raised and cleared, and where they go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlake.assurance.alert_sinks import Outbox, webhook
from twinlake.assurance.alerting import CLEARED, RAISED, Alerting
from twinlake.assurance.quality import Figure, FinalWindow
from twinlake.definitions.quality import Alert
from twinlake.errors import EnvironmentFailure, InputError

MINUTE = 60_000_000
LOW = Alert("low", "accuracy", below=0.8, windows=2, minimum_records=10)


def window(number: int, value: float, records: int = 20, version: int | None = 1) -> FinalWindow:
    told = [Figure("accuracy", "", value, records)]
    return FinalWindow(number * MINUTE, (number + 1) * MINUTE, version, [], told)


def kinds(alert: Alert, windows: Sequence[FinalWindow]) -> list[tuple[int, str]]:
    events = Alerting("iris", [alert]).take(windows)
    return [(int(event.id.split("/")[2]) // MINUTE, event.kind) for event in events]


def test_it_is_raised_after_some_windows_and_cleared_by_the_first_good_one() -> None:
    values = [0.9, 0.5, 0.9, 0.5, 0.5, 0.5, 0.8, 0.5]
    assert kinds(LOW, [window(n, v) for n, v in enumerate(values)]) == [(4, RAISED), (6, CLEARED)]


def test_windows_of_few_records_say_nothing() -> None:
    windows = [window(0, 0.1), window(1, 0.9, 9), window(2, 0.1), window(3, 0.9, 9)]
    assert kinds(LOW, windows) == [(2, RAISED)]


def test_after_it_was_over_it_is_held_off() -> None:
    alert = Alert("low", "accuracy", below=0.8, hold_off="3m")
    values = [0.1, 0.9, 0.1, 0.1, 0.1, 0.9]
    found = kinds(alert, [window(n, v) for n, v in enumerate(values)])
    assert found == [(0, RAISED), (1, CLEARED), (4, RAISED), (5, CLEARED)]


def test_of_a_window_the_newest_version_counts() -> None:
    alert = Alert("low", "accuracy", below=0.8)
    mixed = [window(0, 0.1, version=1), window(0, 0.9, version=2), window(1, 0.1, version=None)]
    assert kinds(alert, mixed) == []
    assert kinds(alert, [window(0, 0.9, version=1), window(0, 0.1, version=2)]) == [(0, RAISED)]


def test_above_and_of_a_class() -> None:
    alert = Alert("wrong", "error", above=0.2, of="bee")
    told = [Figure("error", "ant", 0.9, 5), Figure("error", "bee", 0.3, 5)]
    (event,) = Alerting("iris", [alert]).take([FinalWindow(0, MINUTE, 3, [], told)])
    assert (event.value, event.bound, event.is_upper, event.model_version) == (0.3, 0.2, True, 3)
    assert event.text() == (
        "ALERT raised: wrong: error of bee of iris version 3 is 0.3, above 0.2, over 5 records "
        "from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z"
    )


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(5, 15)), max_size=30), st.data())
def test_who_begins_again_tells_the_same(told: list[tuple[float, int]], data: Any) -> None:
    alert = Alert("low", "accuracy", below=0.5, windows=2, minimum_records=10, hold_off="2m")
    windows = [window(n, value, records) for n, (value, records) in enumerate(told)]
    whole = list(Alerting("iris", [alert]).take(windows))
    cut = data.draw(st.integers(0, len(windows)))
    first = Alerting("iris", [alert])
    events = list(first.take(windows[:cut]))
    kept = json.loads(json.dumps(first.document()))
    events += Alerting("iris", [alert], kept).take(windows[cut:])
    assert events == whole
    in_turn = [RAISED, CLEARED] * len(whole)
    assert [event.kind for event in whole] == in_turn[: len(whole)], "one when it starts, one after"
    assert len({event.id for event in whole}) == len(whole)


# Where they go


def event(number: int) -> dict[str, Any]:
    return {"id": f"a/{number}", "kind": RAISED}


def test_a_dead_place_delays_its_own_events_only_and_loses_none() -> None:
    taken: dict[str, list[str]] = {"good": [], "bad": []}
    is_dead = True

    def good(events: Sequence[Any]) -> None:
        taken["good"] += [each["id"] for each in events]

    def bad(events: Sequence[Any]) -> None:
        if is_dead:
            raise EnvironmentFailure("nobody is there")
        taken["bad"] += [each["id"] for each in events]

    outbox = Outbox({"good": good, "bad": bad})
    outbox.add([event(1)])
    (trouble,) = outbox.deliver(0.0)
    assert trouble == "1 alerts wait for bad: nobody is there; next try in 5 s"
    outbox.add([event(2), event(1)])
    assert outbox.deliver(4.9) == [], "not tried before it is time"
    (trouble,) = outbox.deliver(5.0)
    assert trouble.endswith("next try in 10 s")
    kept = json.loads(json.dumps(outbox.document()))
    assert [each["id"] for each in kept["bad"]] == ["a/1", "a/2"]
    is_dead = False
    again = Outbox({"good": good, "bad": bad}, kept)
    assert again.deliver(100.0) == []
    assert again.document() == {}
    assert taken["bad"] == ["a/1", "a/2"]
    assert taken["good"] == ["a/1", "a/2", "a/1"]


@contextmanager
def listening(answers: Sequence[int]) -> Iterator[tuple[str, list[Any]]]:
    """A server of HTTP that gives one answer after the other, and what it was sent."""
    got: list[Any] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(left.pop(0))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret-path", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_that_fails_gets_the_same_events_again() -> None:
    with listening([500, 200]) as (address, got):
        outbox = Outbox({"the webhook": webhook(address)})
        outbox.add([event(1), event(2)])
        (trouble,) = outbox.deliver(0.0)
        assert "the webhook answers 500" in trouble
        assert outbox.deliver(5.0) == []
    assert got == [{"alerts": [event(1), event(2)]}] * 2
    outbox.add([event(3)])
    (trouble,) = outbox.deliver(6.0)
    assert "the webhook does not answer" in trouble
    assert "secret" not in trouble


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"alerts\.webhook is 'file:///etc'"):
        webhook("file:///etc")
