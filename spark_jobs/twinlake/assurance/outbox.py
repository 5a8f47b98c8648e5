"""Alert events on their way: kept in a small file until every sink has them.

At least once, in order, for each sink by itself: an event is written down before it is tried, and
crossed out after a sink took it. Who is killed between the two sends it once more, with its id.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from twinlake.assurance.alerting import AlertEvent
from twinlake.errors import TwinlakeError
from twinlake.registry import notes

# So many delivered events are remembered, so that windows computed again are told once.
_REMEMBERED = 1_000
Event = Mapping[str, Any]


class Sink(Protocol):
    """Where alerts go."""

    def send(self, event: Event) -> None:
        """Deliver an event, or raise an error that says why not."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a round came to.

    Attributes:
        sent: How many events were taken, over all sinks.
        waiting: How many still wait, by sink.
        problems: Why, by sink.
    """

    sent: int
    waiting: Mapping[str, int]
    problems: Mapping[str, str]


class Outbox:
    """What waits for which sink. One process uses a file at a time.

    It grows with the events that a dead sink did not take: two for each alert.

    Args:
        file: Where it is kept.
        sinks: By the name under which deliveries are noted.
        first_wait_s: After the first failure in a row a sink is tried again that much later, ...
        longest_wait_s: ... after each further one twice as late, up to this.
        round_s: No round lasts longer.
    """

    def __init__(
        self,
        file: Path,
        sinks: Mapping[str, Sink],
        *,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 300.0,
        round_s: float = 5.0,
    ) -> None:
        self._file, self._sinks = file, dict(sinks)
        self._first_wait_s, self._longest_wait_s = first_wait_s, longest_wait_s
        self._round_s = round_s
        kept = notes.read(file) or {"events": [], "done": [], "sinks": {}}
        self._events: list[dict[str, Any]] = kept["events"]
        self._done: list[str] = kept["done"]
        self._tried: dict[str, dict[str, Any]] = kept["sinks"]
        self._told: queue.Queue[tuple[str, str, str | None]] = queue.Queue()
        self._busy: set[str] = set()

    def put(self, events: Sequence[AlertEvent]) -> int:
        """Write events down, once each; give how many are new. They are safe when it returns."""
        known = {entry["event"]["id"] for entry in self._events} | set(self._done)
        new = [event for event in events if event.id not in known]
        if not new or not self._sinks:
            return len(new)
        for event in new:
            self._events.append({"event": event.document(), "to": sorted(self._sinks)})
        self._write()
        return len(new)

    def deliver(self, now_s: float) -> Delivery:
        """Try every sink whose time has come, side by side, for one round.

        A sink that takes longer is left to itself; a later round hears of it. Nothing is raised.

        Args:
            now_s: The present, in seconds since any fixed instant that outlives a restart.
        """
        sent = self._hear(now_s)
        for name in self._sinks:
            waiting = self._waiting(name)
            is_due = now_s >= self._tried.get(name, {}).get("next_s", now_s)
            if waiting and is_due and name not in self._busy:
                self._busy.add(name)
                work = threading.Thread(
                    target=self._send, args=(name, waiting), name=f"alerts-{name}", daemon=True
                )
                work.start()
        until = time.monotonic() + self._round_s
        while self._busy and (left := until - time.monotonic()) > 0:
            sent += self._hear(now_s, left)
        problems = {
            name: self._tried[name]["error"]
            for name in self._sinks
            if self._tried.get(name, {}).get("error")
        }
        problems |= dict.fromkeys(self._busy, "has not answered yet")
        return Delivery(sent, {name: len(self._waiting(name)) for name in self._sinks}, problems)

    def _waiting(self, name: str) -> list[Event]:
        return [entry["event"] for entry in self._events if name in entry["to"]]

    def _send(self, name: str, events: Sequence[Event]) -> None:
        """Send in order until one fails; runs beside, and tells what happened."""
        for event in events:
            try:
                self._sinks[name].send(event)
            except Exception as error:
                # What others raise may hold an address or a token.
                is_ours = isinstance(error, TwinlakeError)
                why = str(getattr(error, "message", "")) if is_ours else type(error).__name__
                self._told.put((name, "", why))
                return
            self._told.put((name, event["id"], None))
        self._told.put((name, "", None))

    def _hear(self, now_s: float, wait_s: float = 0.0) -> int:
        """Note what sinks told; wait for the first of it."""
        sent = 0
        while True:
            try:
                name, event, why = (
                    self._told.get(timeout=wait_s) if wait_s else self._told.get_nowait()
                )
            except queue.Empty:
                return sent
            wait_s = 0.0
            if event:
                self._cross_out(name, event)
                sent += 1
                self._tried.pop(name, None)
            else:
                self._busy.discard(name)
                if why is not None:
                    self._fail(name, why, now_s)
            self._write()

    def _cross_out(self, name: str, event: str) -> None:
        for entry in self._events:
            if entry["event"]["id"] == event and name in entry["to"]:
                entry["to"].remove(name)
        done = [entry["event"]["id"] for entry in self._events if not entry["to"]]
        self._events = [entry for entry in self._events if entry["to"]]
        self._done = (self._done + done)[-_REMEMBERED:]

    def _fail(self, name: str, why: str, now_s: float) -> None:
        failures = int(self._tried.get(name, {}).get("failures", 0)) + 1
        wait_s = min(self._first_wait_s * 2.0 ** min(failures - 1, 60), self._longest_wait_s)
        self._tried[name] = {"failures": failures, "next_s": now_s + wait_s, "error": why}

    def _write(self) -> None:
        kept = {"events": self._events, "done": self._done, "sinks": self._tried}
        notes.write(self._file, json.dumps(kept))
