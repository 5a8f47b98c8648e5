"""Load for a server on this machine: closed loops, and an open loop that keeps to its schedule."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Load:
    """What a server did under a load, in milliseconds and requests a second."""

    p50_ms: float
    p99_ms: float
    rate: float


def request(path: str, body: Any) -> bytes:
    """A request as it goes over the wire."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(content) + content


class Client:
    """One connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))

    async def ask(self, sent: bytes) -> bytes:
        self._writer.write(sent)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise AssertionError(head)
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


async def closed_loop(port: int, requests: list[bytes], clients: int = 1) -> Load:
    """Each client asks as soon as it was answered."""
    opened = [await Client.to(port) for _ in range(clients)]
    taken: list[float] = []
    left = iter(requests)

    async def run(client: Client) -> None:
        for sent in left:
            began = time.perf_counter()
            await client.ask(sent)
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*map(run, opened))
    seconds = time.perf_counter() - began
    for client in opened:
        client.close()
    return _load(taken, len(requests) / seconds)


async def open_loop(port: int, requests: list[bytes], rate: float, clients: int = 64) -> Load:
    """Ask at a rate, whatever the answers take; each wait counts from when it was due."""
    free: asyncio.Queue[Client] = asyncio.Queue()
    for _ in range(clients):
        free.put_nowait(await Client.to(port))
    taken: list[float] = []
    began = time.perf_counter() + 0.05

    async def one(sent: bytes, due: float) -> None:
        client = await free.get()
        await client.ask(sent)
        taken.append(time.perf_counter() - due)
        free.put_nowait(client)

    tasks = []
    for number, sent in enumerate(requests):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(sent, due)))
    await asyncio.gather(*tasks)
    seconds = time.perf_counter() - began
    while not free.empty():
        free.get_nowait().close()
    return _load(taken, len(requests) / seconds)


def _load(taken: list[float], rate: float) -> Load:
    ordered = sorted(taken)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Load(1000 * statistics.median(ordered), 1000 * p99, rate)
