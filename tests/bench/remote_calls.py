"""Calls to a remote model against what its latencies allow.

python -m tests.bench.remote_calls [--records 6000] [--rounds 3] [--capacity 20]

A stub in a process of its own answers each record after a time drawn for that record: lognormal,
median 20 ms, sigma 0.5; one in a hundred never. With so many calls under way and no time between
two calls, it would be capacity / mean time of a call records a second, a hang counted with the
timeout. The rate is taken from the first record to the last one that is pulled: after that, calls
run out, and whether one of the last hangs is luck. Ordered and unordered are asked for the same
records, in turn with as many bare loops of aiohttp, which do nothing but ask: what those miss is
the machine's and the stub's. Its last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

import aiohttp
import uvloop
from aiohttp import web

from tests.bench.measuring import give, machine, say
from twinlake.inference.caller import Caller
from twinlake.inference.endpoint import Endpoint
from twinlake.inference.outcomes import Outcome

MEDIAN_S, SIGMA, HANGS, TIMEOUT_S = 0.020, 0.5, 0.01, 1.0
LATE_MS = 50


def latency_s(record: int) -> float | None:
    """How long the stub takes for a record; None for ever."""
    draw = random.Random(record)
    hangs = draw.random() < HANGS
    taken = MEDIAN_S * draw.lognormvariate(0, SIGMA)
    return None if hangs else taken


def serve(told: Connection) -> None:
    """The stub."""

    async def answer(request: web.Request) -> web.Response:
        (one,) = (await request.json())["instances"]
        taken = latency_s(one["record"])
        await asyncio.sleep(3_600 if taken is None else taken)
        return web.json_response({"predictions": [one["record"]]})

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/invocations", answer)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        told.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    uvloop.run(run())


def timed(caller: Caller, records: int) -> tuple[float, list[Outcome]]:
    """Call for all records, and check that each has its own answer or its timeout."""
    ended = began = time.perf_counter()

    def pulled() -> Iterator[dict[str, int]]:
        nonlocal ended
        for number in range(records):
            ended = time.perf_counter()
            yield {"record": number}

    made = list(caller.call(pulled()))
    taken = ended - began
    assert sorted(one.index for one in made) == list(range(records))
    for one in made:
        if latency_s(one.index) is None:
            assert one.reason == "timeout", one
        elif (latency_s(one.index) or 0) < TIMEOUT_S / 2:
            assert one.value == one.index, one
    return taken, made


def bare(url: str, records: int, capacity: int) -> float:
    """Seconds that loops of aiohttp take to begin the last record."""
    left = iter(range(records))
    began = ended = time.perf_counter()

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal ended
        for number in left:
            ended = time.perf_counter()
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(TIMEOUT_S),
                    session.post(url, json={"instances": [{"record": number}]}) as response,
                ):
                    assert (await response.json())["predictions"] == [number]

    async def run() -> None:
        nonlocal began
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            began = time.perf_counter()
            await asyncio.gather(*(work(session) for _ in range(capacity)))

    asyncio.run(run())
    return ended - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--capacity", type=int, default=20)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    stub = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    stub.start()
    url = f"http://127.0.0.1:{ours.recv()}/invocations"
    every = [latency_s(record) for record in range(options.records)]
    mean_s = statistics.fmean(TIMEOUT_S if one is None else min(one, TIMEOUT_S) for one in every)
    possible = options.capacity / mean_s
    rates: dict[str, list[float]] = {"unordered": [], "ordered": []}
    bare_rates = []
    late_ms, processor_s = 0.0, 0.0
    try:
        callers = {
            name: Caller(
                Endpoint(
                    url,
                    capacity=options.capacity,
                    timeout_s=TIMEOUT_S,
                    ordered=name == "ordered",
                )
            )
            for name in rates
        }
        for caller in callers.values():
            list(caller.call({"record": number} for number in range(1_000_000, 1_000_200)))
        for _ in range(options.rounds):
            taken = bare(url, options.records, options.capacity)
            bare_rates.append((options.records - options.capacity) / taken)
            for name, caller in callers.items():
                spent = time.process_time()
                taken, made = timed(caller, options.records)
                processor_s += time.process_time() - spent
                rates[name].append((options.records - options.capacity) / taken)
                late_ms = max(late_ms, *(one.latency_ms - TIMEOUT_S * 1_000 for one in made))
        for caller in callers.values():
            caller.close()
    finally:
        stub.kill()
        stub.join()
    unordered, ordered = (statistics.median(rates[name]) for name in ("unordered", "ordered"))
    least = statistics.median(bare_rates)
    calls = options.records * options.rounds * 2
    lines = [
        f"possible   {possible:7.1f} records/s: {options.capacity} calls of {mean_s * 1e3:.1f} ms",
        f"bare       {least:7.1f} records/s, {least / possible:.1%} of it",
        f"unordered  {unordered:7.1f} records/s, {unordered / possible:.1%} of it",
        f"           {unordered / least:.1%} of bare",
        f"ordered    {ordered:7.1f} records/s, {ordered / unordered:.1%} of unordered",
        f"longest    {late_ms:7.1f} ms beyond the timeout, {LATE_MS} ms allowed",
        f"processor  {processor_s / calls * 1e3:7.2f} ms a call",
    ]
    say("\n".join(lines))
    give(
        {
            "machine": machine(),
            "possible": round(possible, 1),
            "bare": round(least, 1),
            "unordered": round(unordered, 1),
            "unordered_share": round(unordered / possible, 4),
            "ordered_share": round(ordered / unordered, 4),
            "late_ms": round(late_ms, 1),
            "processor_ms": round(processor_s / calls * 1e3, 3),
        }
    )


if __name__ == "__main__":
    main()
