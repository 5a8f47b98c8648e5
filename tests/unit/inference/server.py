"""A real HTTP server that answers well, badly, late or never, and counts what it sees."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request, "Seen"], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """What a server saw; ``data`` is a test's own."""

    url: str = ""
    requests: int = 0
    most_at_once: int = 0
    at_once: int = 0
    connections: set[object] = field(default_factory=set)
    headers: list[dict[str, str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


@contextmanager
def answering(
    answer: Answer, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[Seen]:
    """Serve every address by one function; ended afterwards, hanging requests too."""
    seen = Seen()
    loop = asyncio.new_event_loop()

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.requests += 1
        seen.at_once += 1
        seen.most_at_once = max(seen.most_at_once, seen.at_once)
        seen.connections.add(request.transport)
        seen.headers.append({name.lower(): value for name, value in request.headers.items()})
        try:
            return await answer(request, seen)
        finally:
            seen.at_once -= 1

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    # A caller that gave up is noticed, so that what counts as being at once is true.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        found = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        seen.url = f"http{'s' if tls else ''}://127.0.0.1:{found}/invocations"
        yield seen
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def doubled(request: web.Request, _: Seen) -> web.Response:
    """Answer each instance with twice its x."""
    asked = await request.json()
    return web.json_response({"predictions": [2 * one["x"] for one in asked["instances"]]})


def text(body: str, status: int = 200, **headers: str) -> Answer:
    """Answer always the same."""

    async def answer(_: web.Request, __: Seen) -> web.Response:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=body, status=status, headers=told)

    return answer


async def hang(_: web.Request, __: Seen) -> web.Response:
    """Answer never."""
    await asyncio.Event().wait()
    raise AssertionError
