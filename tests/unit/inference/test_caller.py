from __future__ import annotations

import asyncio
import pickle
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from tests.unit.inference.server import Seen, answering, doubled, hang, text
from twinlake.errors import InputError, StateError
from twinlake.inference.caller import Caller, shared
from twinlake.inference.endpoint import Endpoint
from twinlake.inference.outcomes import REASONS


def rows(count: int) -> Iterator[dict[str, int]]:
    return ({"x": number} for number in range(count))


async def slow_for_some(request: web.Request, seen: Seen) -> web.Response:
    asked = await request.json()
    await asyncio.sleep(0.05 if asked["instances"][0]["x"] % 10 == 0 else 0.001)
    return await doubled(request, seen)


@pytest.mark.parametrize("ordered", [True, False])
def test_each_record_has_its_own_answer_and_capacity_is_kept(ordered: bool) -> None:
    with answering(slow_for_some) as seen:
        endpoint = Endpoint(seen.url, capacity=7, ordered=ordered)
        with Caller(endpoint) as caller:
            made = list(caller.call(rows(200)))
            again = list(caller.call(rows(50)))
    indices = [one.index for one in made]
    assert sorted(indices) == list(range(200))
    assert (indices == list(range(200))) is ordered
    assert all(one.value == 2 * one.index and one.attempts == 1 for one in [*made, *again])
    assert seen.most_at_once == 7
    assert len(seen.connections) == 7


@pytest.mark.parametrize("count", [0, 1, 4, 5, 23])
def test_several_rows_go_into_one_request(count: int) -> None:
    with answering(doubled) as seen:
        endpoint = Endpoint(seen.url, rows_per_call=5, ordered=True)
        with Caller(endpoint) as caller:
            made = list(caller.call(rows(count)))
    assert [(one.index, one.value) for one in made] == [(n, 2 * n) for n in range(count)]
    assert seen.requests == -(-count // 5)


def test_records_are_pulled_only_as_outcomes_are_taken() -> None:
    pulled = []

    def endless() -> Iterator[dict[str, int]]:
        number = 0
        while True:
            pulled.append(number)
            yield {"x": number}
            number += 1

    with answering(doubled) as seen, Caller(Endpoint(seen.url, capacity=4)) as caller:
        outcomes = caller.call(endless())
        for taken in range(1, 50):
            next(outcomes)
            # Four under way, and four that ended while nobody looked.
            assert len(pulled) <= taken + 8
        outcomes.close()  # type: ignore[attr-defined]


def test_finished_answers_that_wait_for_an_earlier_one_are_bounded() -> None:
    async def first_hangs(request: web.Request, seen: Seen) -> web.Response:
        asked = await request.json()
        return await (hang if asked["instances"][0]["x"] == 0 else doubled)(request, seen)

    pulled = []

    def counted() -> Iterator[dict[str, int]]:
        for row in rows(100):
            pulled.append(row)
            yield row

    with answering(first_hangs) as seen:
        endpoint = Endpoint(seen.url, capacity=4, ordered=True, waiting=10, timeout_s=0.3)
        with Caller(endpoint) as caller:
            outcomes = caller.call(counted())
            assert next(outcomes).reason == "timeout"
            # Ten that wait, four under way, and four more pulled once the first had its end.
            assert 10 <= len(pulled) <= 10 + 4 + 4
            assert [one.index for one in outcomes] == list(range(1, 100))


def test_an_iterator_closed_early_leaves_nothing_under_way() -> None:
    with answering(hang) as seen:
        with Caller(Endpoint(seen.url, capacity=3)) as caller:
            outcomes = caller.call(rows(10))
            raised: list[StateError] = []

            def take() -> None:
                try:
                    next(outcomes)
                except StateError as error:
                    raised.append(error)

            taker = threading.Thread(target=take)
            taker.start()
            while seen.at_once < 3:
                time.sleep(0.005)
            assert seen.requests == 3
            caller.close()
            taker.join(10)
            assert "closed" in str(raised[0])
        while seen.at_once:
            time.sleep(0.005)
    assert not [one for one in threading.enumerate() if one.name == "twinlake-inference"]


def test_closing_the_outcomes_ends_the_calls_but_not_the_caller() -> None:
    async def only_even(request: web.Request, seen: Seen) -> web.Response:
        asked = await request.json()
        return await (hang if asked["instances"][0]["x"] % 2 else doubled)(request, seen)

    with answering(only_even) as seen, Caller(Endpoint(seen.url, capacity=4)) as caller:
        outcomes = caller.call(rows(100))
        assert next(outcomes).value is not None
        outcomes.close()  # type: ignore[attr-defined]
        assert caller._loop is not None
        left = asyncio.run_coroutine_threadsafe(_tasks(), caller._loop).result(5)
        assert left == 0
        assert next(caller.call([{"x": 8}])).value == 16


async def _tasks() -> int:
    return len([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])


def test_an_error_of_the_records_iterator_is_the_callers() -> None:
    def broken() -> Iterator[dict[str, int]]:
        yield {"x": 1}
        raise KeyError("mine")

    with (
        answering(doubled) as seen,
        Caller(Endpoint(seen.url)) as caller,
        pytest.raises(KeyError, match="mine"),
    ):
        list(caller.call(broken()))


def test_a_batch_that_runs_out_of_time_ends_every_record() -> None:
    with answering(hang) as seen:
        endpoint = Endpoint(seen.url, capacity=5, budget_s=1.0, breaker_failures=1)
        with Caller(endpoint) as caller:
            made = list(caller.call(rows(100)))
            assert {one.reason for one in made} == {"budget"}
            assert sorted(one.index for one in made) == list(range(100))
            assert sum(one.attempts for one in made) == seen.requests == 5


def test_no_call_lasts_beyond_its_timeout() -> None:
    with (
        answering(hang) as seen,
        Caller(Endpoint(seen.url, timeout_s=0.2, breaker_failures=1000)) as caller,
    ):
        made = list(caller.call(rows(60)))
    assert {one.reason for one in made} == {"timeout"}
    assert all(200 <= one.latency_ms < 20_000 for one in made), "not the 30 s of the default"


def test_random_faults_leave_exactly_one_outcome_each() -> None:
    draw = random.Random(11)

    async def moody(request: web.Request, seen: Seen) -> web.StreamResponse:
        luck = draw.random()
        if luck < 0.02:
            return await hang(request, seen)
        if luck < 0.04 and request.transport is not None:
            request.transport.close()
        for below, body, status in (
            (0.08, "no", 500),
            (0.1, "no", 429),
            (0.12, "no", 400),
            (0.14, "<html>", 200),
            (0.16, '{"predictions": [NaN]}', 200),
            (0.18, '{"predictions": []}', 200),
        ):
            if luck < below:
                return web.Response(text=body, status=status)
        return await doubled(request, seen)

    with answering(moody) as seen:
        endpoint = Endpoint(seen.url, capacity=40, timeout_s=0.3, retry_first_s=0.01)
        with Caller(endpoint) as caller:
            made = list(caller.call(rows(2_000)))
    assert sorted(one.index for one in made) == list(range(2_000))
    for one in made:
        assert (one.value is None) == (one.reason is not None) == bool(one.detail)
        assert one.value is None or one.value == 2 * one.index
        assert one.reason is None or one.reason in REASONS
    assert {"refused", "bad_answer", "timeout"} <= {one.reason for one in made if one.reason}
    assert seen.most_at_once <= 40


def test_a_circuit_that_opens_makes_records_wait_and_loses_none() -> None:
    async def down_for_a_while(request: web.Request, seen: Seen) -> web.Response:
        seen.data.setdefault("began", time.monotonic())
        if time.monotonic() - seen.data["began"] < 0.5:
            return web.Response(status=503)
        return await doubled(request, seen)

    with answering(down_for_a_while) as seen:
        endpoint = Endpoint(
            seen.url,
            capacity=10,
            timeout_s=5,
            retry_first_s=0.01,
            breaker_failures=3,
            breaker_open_s=0.1,
        )
        with Caller(endpoint) as caller:
            made = list(caller.call(rows(200)))
    assert all(one.value == 2 * one.index for one in made)
    # Ten at first, then one probe every 0.1 s, then each record once.
    assert seen.requests <= 10 + 6 + 200


def test_while_it_stays_open_at_most_a_capacity_of_records_is_lost_per_timeout() -> None:
    with answering(text("down", 500)) as seen:
        endpoint = Endpoint(
            seen.url, capacity=4, timeout_s=0.3, breaker_failures=2, breaker_open_s=10
        )
        with Caller(endpoint) as caller:
            made = list(caller.call(rows(8)))
    assert sum(one.reason == "circuit_open" for one in made) == 4
    assert all(one.reason in {"failed", "circuit_open"} for one in made)
    assert seen.requests <= 4


def test_an_endpoint_can_be_sent_and_shares_one_caller_per_process() -> None:
    endpoint = Endpoint("http://127.0.0.1:1/invocations", api_key_variable="KEY")
    sent = pickle.loads(pickle.dumps(endpoint))  # noqa: S301 (our own)
    assert sent == endpoint
    caller = shared(endpoint)
    assert shared(sent) is caller
    caller.close()
    caller.close()
    with pytest.raises(StateError, match="closed"):
        caller.call([])
    assert shared(endpoint) is not caller


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"url": "ftp://somewhere/"}, "url"),
        ({"url": "http:///path"}, "url"),
        ({"url": "http://host:99999/"}, "url"),
        ({"url": "http://user:hidden@host/"}, "password"),
        ({"url": "http://host/#part"}, "fragment"),
        ({"contract": "invocations-jsn"}, "invocations-json"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"capacity": 0}, "capacity"),
        ({"budget_s": -1}, "budget_s"),
        ({"waiting": 0}, "waiting"),
        ({"retry_jitter": 2}, "retry_jitter"),
        ({"retry_factor": 0.5}, "retry_factor"),
        ({"contract": "predict-fare", "rows_per_call": 2}, "rows_per_call"),
        ({"sigv4_region": "eu-west-1"}, "sigv4_service"),
        ({"api_key_header": "a\nb"}, "api_key_header"),
    ],
)
def test_wrong_use_is_refused_at_once(told: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Endpoint(**{"url": "http://127.0.0.1/invocations", **told})
    assert "hidden" not in str(caught.value)
