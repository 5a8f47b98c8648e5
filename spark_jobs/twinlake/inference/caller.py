"""Calls an endpoint for many records at once, and gives each exactly one outcome.

The calls run on an event loop in a thread of its own, not in the thread that takes the outcomes:
else a slow consumer would stop the clock of every call that is under way, and connections would end
with each batch. Records are pulled, and outcomes handed out, in the consumer's thread alone.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import ssl
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self

from twinlake.errors import InputError, StateError
from twinlake.inference.contracts import Record
from twinlake.inference.credentials import ApiKey, Signer
from twinlake.inference.endpoint import Endpoint
from twinlake.inference.exchange import Exchange, Gate
from twinlake.inference.outcomes import Outcome
from twinlake.inference.pacing import Breaker

if TYPE_CHECKING:
    import aiohttp

# An idle connection is given up before most servers and balancers do, which would break a call.
_IDLE_S = 30.0
_CLOSE_S = 10.0
_LOOK_S = 1.0
_CLOSED = "the caller was closed while calls were under way"

_Call = tuple[int, "asyncio.Task[list[Outcome]]"]


class Caller:
    """Holds the connections to an endpoint and the state of its circuit, from batch to batch.

    It belongs to the process that made it: send the endpoint elsewhere, and make a caller there.
    Several threads may call at once; each has its own ``capacity``, the circuit is one.

    While the circuit is open nothing is sent but one probe at a time, and records wait: at most
    ``capacity`` of them, each up to its timeout or the end of the budget, and no more are pulled.
    They are not made dead letters at once, for then a short outage would cost a stream thousands of
    records that it could have scored a second later. A long one costs ``capacity`` records per
    timeout; a stream that shall lose none gives a long timeout.

    Args:
        endpoint: What is called, and how.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._key = ApiKey(endpoint)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exchange: Exchange | None = None
        self._session: aiohttp.ClientSession | None = None
        self._signer = Signer(endpoint)
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, records: Iterable[Record]) -> Iterator[Outcome]:
        """Ask for some records; nothing is raised for a record.

        A record is pulled only when a call can be made for it, and none while nobody takes
        outcomes, so an endless iterator is fine; one that blocks holds up outcomes. Closing the
        iterator that this gives ends the calls that are under way.

        Args:
            records: What is asked for, by name; as the contract takes it.

        Returns:
            One outcome per record: as they are known, or in the records' order where the endpoint
            says ``ordered``.

        Raises:
            InputError: The key of the endpoint is not there.
            EnvironmentFailure: There are no credentials to sign with.
            StateError: The caller was closed.
        """
        if self._is_closed:
            raise StateError("this caller was closed", hint="make another")
        self._key.read()
        self._signer.require()
        return self._outcomes(iter(records))

    def close(self) -> None:
        """End the calls under way, the connections and the thread; again is no harm."""
        with self._lock:
            self._is_closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(_CLOSE_S)

    def _outcomes(self, records: Iterator[Record]) -> Iterator[Outcome]:
        loop, exchange = self._running()
        rows = self.endpoint.rows_per_call
        budget = self.endpoint.budget_s
        budget_end = None if budget is None else loop.time() + budget
        done: SimpleQueue[_Call] = SimpleQueue()
        tasks: set[asyncio.Task[list[Outcome]]] = set()
        order = _Order(self.endpoint)
        number = under_way = 0
        is_over = False
        try:
            while True:
                while not is_over and under_way < self.endpoint.capacity and order.has_room:
                    chunk = list(islice(records, rows))
                    is_over = len(chunk) < rows
                    if chunk:
                        asked = exchange.ask(number * rows, chunk, budget_end)
                        _send(loop, asked, partial(_begin, asked, number, tasks, done))
                        number, under_way = number + 1, under_way + 1
                yield from order.ready()
                if not under_way:
                    return
                for one, task in _taken(done, loop):
                    under_way -= 1
                    order.add(one, _made(task))
        finally:
            _end(loop, tasks, done, under_way)

    def _running(self) -> tuple[asyncio.AbstractEventLoop, Exchange]:
        """Give the loop, started with the first batch."""
        with self._lock:
            if self._is_closed:
                raise StateError("this caller was closed", hint="make another")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="twinlake-inference", daemon=True
                )
                self._thread.start()
                self._exchange = asyncio.run_coroutine_threadsafe(
                    self._opened(), self._loop
                ).result()
            if self._exchange is None:
                raise StateError("this caller could not start", hint="make another")
            return self._loop, self._exchange

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.run_until_complete(self._shut())
        loop.close()

    async def _shut(self) -> None:
        own = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not own]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _opened(self) -> Exchange:
        import aiohttp

        endpoint = self.endpoint
        # How many there are at once is bounded by the calls; every timeout is the exchange's.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_IDLE_S, ssl=_trust(endpoint)
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept-encoding": "identity", "user-agent": "twinlake"},
        )
        gate = Gate(Breaker(endpoint.breaker_failures, endpoint.breaker_open_s))
        return Exchange(endpoint, self._session, gate, self._key, self._signer)


class _Order:
    """Known outcomes, by call, until their turn comes.

    Args:
        endpoint: Says whether there is an order, and how many may wait.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._is_ordered = endpoint.ordered
        self._most = endpoint.most_waiting
        self._next = 0
        self._waiting: dict[int, Sequence[Outcome]] = {}
        self._held = 0
        self._ready: deque[Outcome] = deque()

    @property
    def has_room(self) -> bool:
        """Whether more may be asked for; what is under way then still finds its place."""
        return self._held < self._most

    def add(self, number: int, made: Sequence[Outcome]) -> None:
        """Take the outcomes of a call."""
        if not self._is_ordered:
            self._ready.extend(made)
            return
        self._waiting[number] = made
        self._held += len(made)
        while (turn := self._waiting.pop(self._next, None)) is not None:
            self._ready.extend(turn)
            self._held -= len(turn)
            self._next += 1

    def ready(self) -> Iterator[Outcome]:
        """Hand out those whose turn it is."""
        while self._ready:
            yield self._ready.popleft()


def shared(endpoint: Endpoint) -> Caller:
    """Give this process's caller of an endpoint, so that batches and tasks share connections.

    Workers of Spark run task after task in one process. It is closed when the process ends.

    Args:
        endpoint: What is called; equal ones have one caller.
    """
    # A process that was forked off holds its parent's callers, whose threads it does not have.
    place = (os.getpid(), endpoint)
    with _shared_lock:
        caller = _shared.get(place)
        if caller is None or caller._is_closed:  # noqa: SLF001 (of this module)
            caller = _shared[place] = Caller(endpoint)
            atexit.register(caller.close)
        return caller


_shared: dict[tuple[int, Endpoint], Caller] = {}
_shared_lock = threading.Lock()


def _trust(endpoint: Endpoint) -> ssl.SSLContext | bool:
    if endpoint.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(endpoint.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{endpoint.ca_file} cannot be read as certificates: {type(error).__name__}",
            hint="give a file in PEM form",
        ) from None


def _send(
    loop: asyncio.AbstractEventLoop,
    asked: Coroutine[object, None, list[Outcome]],
    begin: Callable[[], None],
) -> None:
    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError:
        asked.close()
        raise StateError(_CLOSED) from None


def _begin(
    asked: Coroutine[object, None, list[Outcome]],
    number: int,
    tasks: set[asyncio.Task[list[Outcome]]],
    done: SimpleQueue[_Call],
) -> None:
    task = asyncio.get_running_loop().create_task(asked)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(partial(_put, done, number))


def _put(done: SimpleQueue[_Call], number: int, task: asyncio.Task[list[Outcome]]) -> None:
    done.put((number, task))


def _taken(done: SimpleQueue[_Call], loop: asyncio.AbstractEventLoop) -> Iterator[_Call]:
    """Wait for a call that is done, and give it with all others that are."""
    while True:
        try:
            yield done.get(timeout=_LOOK_S)
            break
        except Empty:
            if loop.is_closed():
                raise StateError(_CLOSED) from None
    while True:
        try:
            yield done.get_nowait()
        except Empty:
            return


def _made(task: asyncio.Task[list[Outcome]]) -> list[Outcome]:
    if task.cancelled():
        raise StateError(_CLOSED)
    return task.result()


def _end(
    loop: asyncio.AbstractEventLoop,
    tasks: set[asyncio.Task[list[Outcome]]],
    done: SimpleQueue[_Call],
    under_way: int,
) -> None:
    """Cancel what is under way and wait until it is gone, or the loop is."""
    if not under_way:
        return
    try:
        loop.call_soon_threadsafe(_cancel, tasks)
    except RuntimeError:
        return  # it was closed just now, and its tasks with it
    while under_way:
        try:
            done.get(timeout=_LOOK_S)
            under_way -= 1
        except Empty:
            if loop.is_closed():
                return


def _cancel(tasks: set[asyncio.Task[list[Outcome]]]) -> None:
    for task in tasks:
        task.cancel()
