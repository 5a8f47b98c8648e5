"""Where questions are answered: what one serving process holds, and keeps up to date.

Reading blocks, so it is done by threads, and a request waits for its thread until the deadline and
no longer. What does not come by then has the status ``error``; the thread ends when its store's own
limit comes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twinlake.definitions.clocks import DATA
from twinlake.errors import EnvironmentFailure, InputError, StateError, TwinlakeError
from twinlake.serving.answers import Answer, answers
from twinlake.serving.bodies import Row
from twinlake.serving.champions import Champions
from twinlake.serving.link import StoreLink
from twinlake.serving.metrics import ServingMetrics
from twinlake.serving.offer import DataClocks, Offer, renewed
from twinlake.serving.options import ServingOptions
from twinlake.serving.problems import Refusal
from twinlake.serving.reading import (
    Reading,
    ReadyService,
    read_views,
    read_views_at_once,
    reading_by,
)
from twinlake.settings import Settings

Result = TypeVar("Result")
logger = logging.getLogger("twinlake.serving")
# A hundred entities: four milliseconds, in which others wait. In a thread it takes five, and for
# three of them others wait as well: these are Python's, whose lock changes hands after five.
_FEW_VALUES = 1_500


@dataclass(frozen=True)
class Answered:
    """The answers to a request.

    Attributes:
        answers: Per entity, in order.
        moments: View name to as of when it was read.
    """

    answers: Sequence[Answer]
    moments: dict[str, Reading]


class Desk:
    """What one process serves from.

    Args:
        settings: Where things are.
        options: The limits.
        now_us: Gives the present.
    """

    def __init__(
        self, settings: Settings, options: ServingOptions, now_us: Callable[[], int]
    ) -> None:
        self.settings = settings
        self.options = options
        self.now_us = now_us
        self.offer = Offer()
        self.link = StoreLink(settings, options)
        self.champions = Champions(settings)
        self.metrics = ServingMetrics()
        self._clocks = DataClocks(settings, now_us)
        self._readers = ThreadPoolExecutor(options.readers, "reader")
        self._stopped = threading.Event()
        self._has_linked = threading.Event()
        self.has_looked = threading.Event()  # for champions, once
        self._told: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=self._keep, args=(*look, seconds), daemon=True)
            for look, seconds in (
                ((self._look_for_store, self._has_linked), options.refresh_ms / 1000),
                ((self.look_for_champions, self.has_looked), float(options.champion_s)),
                ((self._look_at_registry, threading.Event()), options.refresh_ms / 1000),
            )
        ]

    def start(self) -> None:
        """Look what there is to serve, and from now on in the background.

        A store that does not answer is not waited for beyond the deadline.
        """
        self._look_at_registry()
        for thread in self._threads:
            thread.start()
        self._has_linked.wait(self.options.deadline_s)

    def stop(self) -> None:
        """End what runs in the background; requests are over by now."""
        self._stopped.set()
        # A read that nobody waits for any more ends by the store's own limit.
        self._readers.shutdown(wait=True, cancel_futures=True)
        self.link.close()

    def refresh(self) -> None:
        """Look now what is applied, and whether the store is there."""
        self._look_at_registry()
        self._look_for_store()

    def _look_at_registry(self) -> None:
        with self._noticing("registry"):
            self.offer = renewed(self.settings, self.offer)
            for name, why in self.offer.unready.items():
                self.tell(f"service {name}", StateError(why))

    def _look_for_store(self) -> None:
        with self._noticing("store"):
            self.link.refresh()

    def look_for_champions(self) -> None:
        """Ask for each model's champion; one that is new answers from then on."""
        for name in self.offer.models:
            with self._noticing(f"champion of {name}"):
                found = self.champions.look(name)
                if found is not None:
                    self.metrics.uses(name, found.version)
                    logger.info("model %s: version %d answers", name, found.version)

    def service(self, name: str) -> ReadyService:
        """Give a service to be read.

        Raises:
            Refusal: There is no such service.
            StateError: It cannot be read yet.
        """
        ready = self.offer.services.get(name)
        if ready is not None:
            return ready
        if name in self.offer.unready:
            raise StateError(f"service {name} cannot be read: {self.offer.unready[name]}")
        unknown = InputError.unknown("service", name[:100], self.offer.services)
        raise Refusal(404, unknown.message, hint=unknown.hint)

    def require_room(self, ready: ReadyService, rows: Sequence[Row]) -> None:
        """Refuse a request whose answer would be too long.

        Raises:
            Refusal: It would be.
        """
        values = len(rows) * len(ready.names)
        if values > self.options.values:
            raise Refusal(
                413,
                f"the answer would have {values:,} values, at most {self.options.values:,} are "
                "served",
                hint="send several requests",
            )

    def read(self, ready: ReadyService, rows: Sequence[Row], as_of: str | None) -> Answered:
        """Read a service's features; a store that fails gives the status ``error``.

        Raises:
            InputError: The question does not fit, or asks for too early a moment.
            StateError: Nothing was landed that the data clock could tell of.
        """
        try:
            return self._read(ready, rows, as_of)
        except InputError:
            if (as_of or self.offer.clock) != DATA:
                raise
        # The data clock may have been looked at just before something newer was published.
        return self._read(ready, rows, as_of)

    def _read(self, ready: ReadyService, rows: Sequence[Row], as_of: str | None) -> Answered:
        asked, moments = ready.questions(rows), self._moments(ready, as_of)
        try:
            found = read_views(ready, self.link.store(), asked.keys, moments)
        except InputError:
            raise
        except TwinlakeError as error:
            self.tell("read", error)
            return self._without_store(ready, rows, as_of, "the online store failed")
        return Answered(answers(ready, asked, moments, found), moments)

    def _without_store(
        self, ready: ReadyService, rows: Sequence[Row], as_of: str | None, why: str
    ) -> Answered:
        asked, moments = ready.questions(rows), self._moments(ready, as_of)
        nothing = [None] * len(ready.views)
        return Answered(answers(ready, asked, moments, nothing, why), moments)

    def _moments(self, ready: ReadyService, as_of: str | None) -> dict[str, Reading]:
        told, wall_us = as_of or self.offer.clock, self.now_us()
        moments = {}
        for view, _ in ready.views:
            source = view.source.name
            newest_us = partial(self._clocks.newest_us, source)
            moments[view.name] = reading_by(told, lambda: wall_us, newest_us, source)
        return moments

    async def in_time(
        self,
        ready: ReadyService,
        rows: Sequence[Row],
        as_of: str | None,
        then: Callable[[Answered], Result],
    ) -> Result:
        """Read, and make what is wanted of the answers, until the deadline.

        What takes no waiting and little work is done here and now: handing it to a thread and back
        takes longer. Everything else is done in a thread.

        Args:
            ready: The service.
            rows: The questions.
            as_of: A time, ``wall`` or ``data``; None for the project's own clock.
            then: Makes the result, in the same thread.
        """
        if (done := self._at_once(ready, rows, as_of)) is not None:
            return then(done)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.options.deadline_s):
                return await loop.run_in_executor(
                    self._readers, lambda: then(self.read(ready, rows, as_of))
                )
        except TimeoutError:
            self.metrics.late(ready.service.name)
            why = f"no answer within {self.options.deadline_ms:,} ms"
            return then(self._without_store(ready, rows, as_of, why))

    def _at_once(
        self, ready: ReadyService, rows: Sequence[Row], as_of: str | None
    ) -> Answered | None:
        """Read a few rows of which nothing is computed, if the store need not be waited for."""
        if ready.functions or len(rows) * len(ready.names) > _FEW_VALUES:
            return None
        try:
            store = self.link.store()
            asked, moments = ready.questions(rows), self._moments(ready, as_of)
            found = read_views_at_once(ready, store, asked.keys, moments)
        except TwinlakeError:
            return None  # the patient way tells what it is
        if found is None:
            return None
        return Answered(answers(ready, asked, moments, found), moments)

    async def missing(self) -> list[str]:
        """Tell what stands in the way of serving; nothing where the process is ready."""
        if self.offer.number == 0:
            return ["nothing is applied"]
        found = [
            f"service {name}" for name in self.offer.unready if name not in self.offer.services
        ]
        if self.options.sagemaker is not None and self.options.sagemaker not in self.offer.models:
            found.append(f"model {self.options.sagemaker}")
        found += [f"champion of {name}" for name in self.champions.lacking(self.offer.models)]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.options.deadline_s):
                await loop.run_in_executor(self._readers, self.link.probe)
        except (TimeoutError, EnvironmentFailure, StateError):
            found.append("online store")
        return found

    def _keep(self, look: Callable[[], None], done: threading.Event, seconds: float) -> None:
        """Look again and again until stopped."""
        look()
        done.set()
        while not self._stopped.wait(seconds):
            look()

    @contextmanager
    def _noticing(self, what: str) -> Iterator[None]:
        """Tell of what fails inside, and let the process go on with what it has."""
        try:
            yield
        except Exception as error:
            self.tell(what, error)
        else:
            self._told.pop(what, None)

    def tell(self, what: str, error: Exception) -> None:
        """Tell of a failure once, and again when it is another or was over meanwhile."""
        self.metrics.failed(what)
        told = error.message if isinstance(error, TwinlakeError) else type(error).__name__
        if self._told.get(what) != told:
            self._told[what] = told
            logger.warning("%s: %s", what, told)
