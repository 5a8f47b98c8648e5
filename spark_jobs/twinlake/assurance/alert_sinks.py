"""Where alerts go: each place has a queue of its own, so one that is dead delays no other.

An event leaves a queue when its place has taken it, and queues are kept with the state of who fills
them. So nothing is lost; after a crash an event may be delivered once more, under the same id.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twinlake.errors import EnvironmentFailure, InputError

Event = Mapping[str, Any]
Sink = Callable[[Sequence[Event]], None]
_WEBHOOK_S = 5.0
# How long to wait after a failure: twice as long each time.
_FIRST_WAIT_S, _LAST_WAIT_S = 5.0, 300.0


class Outbox:
    """Events that wait for some places.

    Args:
        sinks: By name, what delivers events, all or none of them, and raises ``EnvironmentFailure``
            where it cannot.
        waiting: What waits for each, as ``document`` gave it.
    """

    def __init__(
        self, sinks: Mapping[str, Sink], waiting: Mapping[str, Sequence[Event]] | None = None
    ) -> None:
        told = waiting or {}
        self._sinks = dict(sinks)
        self._waiting = {name: list(told.get(name, ())) for name in sinks}
        # When each may be tried again, and how long it is waited for after the next failure.
        self._next: dict[str, tuple[float, float]] = {}

    def add(self, events: Sequence[Event]) -> None:
        """Let events wait for all places; one that waits already is not added again."""
        for waiting in self._waiting.values():
            known = {event["id"] for event in waiting}
            waiting += [event for event in events if event["id"] not in known]

    def document(self) -> dict[str, list[Event]]:
        """Write down what waits."""
        return {name: list(waiting) for name, waiting in self._waiting.items() if waiting}

    def deliver(self, now_s: float) -> list[str]:
        """Deliver what waits, in its order, where it is time to try.

        Args:
            now_s: Seconds since some moment.

        Returns:
            What went wrong, a line each.
        """
        troubles = []
        for name, waiting in self._waiting.items():
            at_s, wait_s = self._next.get(name, (now_s, _FIRST_WAIT_S))
            if not waiting or now_s < at_s:
                continue
            try:
                self._sinks[name](waiting)
            except EnvironmentFailure as failure:
                self._next[name] = (now_s + wait_s, min(2 * wait_s, _LAST_WAIT_S))
                troubles.append(
                    f"{len(waiting)} alerts wait for {name}: {failure.message}; "
                    f"next try in {wait_s:.0f} s"
                )
            else:
                self._next.pop(name, None)
                waiting.clear()
        return troubles


def webhook(address: str) -> Sink:
    """Make what posts events to an address, one request with all that wait: ``{"alerts": [...]}``.

    Raises:
        InputError: It is no address of HTTP.
    """
    if not address.startswith(("http://", "https://")):
        raise InputError(
            f"alerts.webhook is {address[:20]!r}, which is no address of HTTP",
            hint="write it as https://host/path",
        )

    def post(events: Sequence[Event]) -> None:
        request = urllib.request.Request(  # noqa: S310 (the scheme was looked at)
            address,
            data=json.dumps({"alerts": list(events)}).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=_WEBHOOK_S):  # noqa: S310
                pass
        except urllib.error.HTTPError as error:
            raise EnvironmentFailure(f"the webhook answers {error.code}") from error
        except OSError as error:  # the address may hold a secret, so it is not told
            told = getattr(error, "reason", None) or error
            raise EnvironmentFailure(f"the webhook does not answer: {told}") from error

    return post
