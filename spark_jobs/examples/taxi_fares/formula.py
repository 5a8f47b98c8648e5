"""A stand-in for the endpoint that the original asks for fares: a formula behind HTTP.

    GET /predictFare?ride_request_id=20
    {"ride_request_id": 20, "expected_fare": 40.68894898991148}

Without an id, or with 0, it is 400 ``Missing ride_request_id``. Run it with
``python -m examples.taxi_fares.formula [PORT]``; it listens on this machine only.
"""

from __future__ import annotations

import hmac
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

PATH: Final = "/predictFare"
_MISSING: Final = "Missing ride_request_id"


def expected_fare(ride: int) -> float:
    """Give the fare of a ride: the doubles that the original's JavaScript gives.

    Args:
        ride: Its id.

    Returns:
        Dollars, between 8 and 121 for an id above 0.
    """
    # JavaScript's % keeps the sign of the left side, as fmod does and Python's % does not.
    part = math.fmod(math.e * ride, 1.0)
    return math.floor(part * 91 + 10) * (1 + 0.4 * part - 0.2)


class Bucket:
    """Lets so many requests a second through, and a burst before that.

    Args:
        rate: Requests a second.
        burst: Requests at once, after a rest.
        clock: Seconds, only forward.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = float(burst), clock()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take a place; 0 when there is one, else the seconds until there will be."""
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return (1 - self._left) / self._rate
            self._left -= 1
            return 0.0


@contextmanager
def served(
    port: int = 0, *, api_key: str | None = None, rate: float | None = None, burst: int = 100
) -> Iterator[str]:
    """Serve the formula on this machine while the context lasts.

    Args:
        port: Where; 0 for any that is free.
        api_key: Asked for in ``x-api-key``; None for nothing.
        rate: Requests a second, else 429; the original's plan has 20. None for no limit.
        burst: How many more at once.

    Yields:
        The address to ask.
    """
    bucket = None if rate is None else Bucket(rate, burst, time.monotonic)

    class Handler(_Fares):
        key = api_key
        limit = bucket

    server = _Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{PATH}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    # Kept connections end with the clients; nobody waits for them.
    block_on_close = False


class _Fares(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key: str | None = None
    limit: Bucket | None = None
    # Head and body go out together; else the second waits for the first to be acknowledged.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        wait = 0.0 if self.limit is None else self.limit.take()
        if asked.path != PATH:
            self._answer(404, "Not Found")
        elif self.key is not None and not self._is_known():
            self._answer(403, "Forbidden")
        elif wait > 0:
            self._answer(429, "Too Many Requests", {"retry-after": str(math.ceil(wait))})
        else:
            ride = _ride(asked.query)
            if ride is None:
                self._answer(400, _MISSING)
            else:
                self._answer(200, {"ride_request_id": ride, "expected_fare": expected_fare(ride)})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as it is named there)
        """Say nothing."""

    def _is_known(self) -> bool:
        return hmac.compare_digest(
            self.headers.get("x-api-key", "").encode(), (self.key or "").encode()
        )

    def _answer(
        self, status: int, told: str | dict[str, float], headers: dict[str, str] | None = None
    ) -> None:
        body = (told if isinstance(told, str) else json.dumps(told)).encode()
        self.send_response(status)
        kind = "text/plain" if isinstance(told, str) else "application/json"
        for name, value in {"content-type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _ride(query: str) -> int | None:
    """Read an id; what is none, or too large for a double to hold, is missing."""
    found = parse_qs(query).get("ride_request_id", [""])[0]
    digits = found.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
        return None
    return int(found) or None


def main() -> None:
    """Serve until interrupted."""
    with served(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as url:
        print(f"serving at {url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
