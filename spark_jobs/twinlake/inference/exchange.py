"""One call: its tries, its waits and its end, which always comes by its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twinlake.errors import TwinlakeError
from twinlake.inference.contracts import (
    Answers,
    NoAnswer,
    Question,
    Record,
    UnwritableRecord,
    answers,
    question,
)
from twinlake.inference.credentials import ApiKey, Signer
from twinlake.inference.endpoint import Endpoint
from twinlake.inference.outcomes import (
    BAD_ANSWER,
    BAD_RECORD,
    BUDGET,
    CIRCUIT_OPEN,
    FAILED,
    REFUSED,
    THROTTLED,
    TIMEOUT,
    UNREACHABLE,
    Outcome,
)
from twinlake.inference.pacing import PROBE, Breaker, retry_after_s

if TYPE_CHECKING:
    import aiohttp

_LONGEST_DETAIL = 500
_EXCERPT = 200
_PIECE = 1 << 16


class Gate:
    """The circuit of an endpoint, for calls that wait until it closes.

    Args:
        breaker: Its state.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._changed = asyncio.Event()

    async def enter(self, deadline: float) -> str | None:
        """Wait until a call may be made; None when that is not before the deadline."""
        loop = asyncio.get_running_loop()
        while (now := loop.time()) < deadline:
            if (ticket := self._breaker.admit(now)) is not None:
                return ticket
            wait = self._breaker.wait_s(now)
            try:
                async with asyncio.timeout_at(
                    deadline if wait is None else min(deadline, now + wait)
                ):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    def succeeded(self, ticket: str) -> None:
        """Tell that the endpoint answered."""
        was_open = self._breaker.is_open
        self._breaker.succeeded(ticket)
        if was_open:
            self._wake()

    def failed(self, ticket: str) -> None:
        """Tell that it did not."""
        self._breaker.failed(ticket, asyncio.get_running_loop().time())
        if ticket == PROBE:
            self._wake()

    def abandoned(self, ticket: str) -> None:
        """Tell that nobody knows."""
        self._breaker.abandoned(ticket)
        if ticket == PROBE:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a try gave no answer.

    ``is_down`` is None where it tells nothing of the endpoint.
    """

    reason: str
    detail: str
    status: int | None = None
    again: bool = False
    is_down: bool | None = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Answered:
    told: Answers
    status: int


@dataclass(slots=True)
class _Course:
    """How far a call has come, in seconds of the loop's time."""

    began: float
    deadline: float
    is_cut: bool
    attempts: int = 0
    last: _Trouble | None = None


class Exchange:
    """Asks one endpoint.

    Args:
        endpoint: How.
        session: Holds the connections.
        gate: Its circuit.
        key: Its key.
        signer: Signs for it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: aiohttp.ClientSession,
        gate: Gate,
        key: ApiKey,
        signer: Signer,
    ) -> None:
        self._endpoint = endpoint
        self._session = session
        self._gate = gate
        self._key = key
        self._signer = signer

    async def ask(
        self, first: int, records: Sequence[Record], budget_end: float | None
    ) -> list[Outcome]:
        """Ask for some records in one request.

        Args:
            first: Index of the first record.
            records: Them.
            budget_end: When the time of the whole batch is over, in the loop's time.

        Returns:
            One outcome per record, in their order.
        """
        began = asyncio.get_running_loop().time()
        end = began + self._endpoint.timeout_s
        is_cut = budget_end is not None and budget_end < end
        course = _Course(began, budget_end if is_cut and budget_end is not None else end, is_cut)
        try:
            asked = question(self._endpoint, records)
        except UnwritableRecord as error:
            if len(records) > 1:
                return await self._apart(first, records, budget_end)
            return self._dead(first, 1, course, _Trouble(BAD_RECORD, str(error)))
        made = await self._tried(first, records, asked, course)
        if isinstance(made, _Trouble):
            return self._dead(first, len(records), course, made)
        taken = _ms_since(began)
        return [
            Outcome(
                first + place,
                row.value,
                row.reason,
                row.detail,
                course.attempts,
                taken,
                made.status,
                made.told.model_version,
            )
            for place, row in enumerate(made.told.rows)
        ]

    async def _apart(
        self, first: int, records: Sequence[Record], budget_end: float | None
    ) -> list[Outcome]:
        """Put aside the records that cannot be written, and ask for the others together."""
        fit, made = [], {}
        for place, record in enumerate(records):
            try:
                question(self._endpoint, [record])
                fit.append(place)
            except UnwritableRecord as error:
                made[place] = Outcome(first + place, None, BAD_RECORD, str(error))
        if fit:
            told = await self.ask(0, [records[place] for place in fit], budget_end)
            for place, one in zip(fit, told, strict=True):
                made[place] = replace(one, index=first + place)
        return [made[place] for place in range(len(records))]

    async def _tried(
        self, first: int, records: Sequence[Record], asked: Question, course: _Course
    ) -> _Answered | _Trouble:
        loop = asyncio.get_running_loop()
        waits = self._endpoint.retries.waits(first)
        while True:
            ticket = await self._gate.enter(course.deadline)
            if ticket is None:
                return self._shut(course)
            made = await self._judged(ticket, records, asked, course)
            if isinstance(made, _Answered) or not made.again:
                return made
            course.last = made
            wait = max(next(waits), made.retry_after_s or 0.0)
            left = course.deadline - loop.time()
            if wait >= left:
                return _Trouble(
                    made.reason,
                    f"{made.detail}; the next try would be in {wait:.2f} s, {max(0.0, left):.2f} s"
                    " were left",
                    made.status,
                )
            await asyncio.sleep(wait)

    async def _judged(
        self, ticket: str, records: Sequence[Record], asked: Question, course: _Course
    ) -> _Answered | _Trouble:
        """Try once, by the deadline, and tell the circuit what came of it."""
        course.attempts += 1
        try:
            async with asyncio.timeout_at(course.deadline):
                made = await self._once(records, asked)
        except TimeoutError:
            if course.is_cut:
                # A batch that ran out of time tells nothing of the endpoint.
                self._gate.abandoned(ticket)
            else:
                self._gate.failed(ticket)
            return self._late(course)
        except BaseException:
            self._gate.abandoned(ticket)
            raise
        if isinstance(made, _Answered) or made.is_down is False:
            self._gate.succeeded(ticket)
        elif made.is_down:
            self._gate.failed(ticket)
        else:
            self._gate.abandoned(ticket)
        return made

    async def _once(self, records: Sequence[Record], asked: Question) -> _Answered | _Trouble:
        import aiohttp
        from yarl import URL

        try:
            key = self._key.read()
            headers = {**await self._signer.headers(asked), **self._key.headers(key)}
        except TwinlakeError as error:
            return _Trouble(REFUSED, error.message, again=True, is_down=None)
        try:
            async with self._session.request(
                asked.method,
                URL(asked.url, encoded=True),
                headers=headers,
                data=asked.body or None,
                allow_redirects=False,
            ) as response:
                body = await self._read(response)
                return self._understood(records, response, body, key)
        except aiohttp.ClientSSLError as error:
            return _Trouble(UNREACHABLE, f"TLS: {_cause(error)}", is_down=True)
        except aiohttp.ClientPayloadError:
            return _Trouble(BAD_ANSWER, "the answer broke off", again=True, is_down=True)
        except aiohttp.ClientResponseError as error:
            return _Trouble(BAD_ANSWER, f"the answer is no HTTP: {error.message}"[:_EXCERPT])
        except (aiohttp.ClientError, OSError) as error:
            return _Trouble(UNREACHABLE, _cause(error), again=True, is_down=True)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """Read an answer; None when it is longer than any may be, and the rest is left unread."""
        parts, size = [], 0
        async for part in response.content.iter_chunked(_PIECE):
            size += len(part)
            if size > self._endpoint.longest_answer:
                return None
            parts.append(part)
        return b"".join(parts)

    def _understood(
        self,
        records: Sequence[Record],
        response: aiohttp.ClientResponse,
        body: bytes | None,
        key: str | None,
    ) -> _Answered | _Trouble:
        status = response.status
        headers = response.headers
        if status != 200:
            said = _excerpt(body or b"", key)
            asked_s = retry_after_s(headers.get("retry-after"), headers.get("date"))
            return _refused(status, f"status {status}{said}", asked_s)
        if body is None:
            return _Trouble(
                BAD_ANSWER, f"the answer has more than {self._endpoint.longest_answer:,} B", status
            )
        try:
            told = answers(self._endpoint, records, body, headers.get("content-type", ""))
        except NoAnswer as error:
            return _Trouble(BAD_ANSWER, _without(str(error), key), status)
        version = headers.get(self._endpoint.version_header)
        if version is not None:
            told = Answers(told.rows, version[:100])
        return _Answered(told, status)

    def _shut(self, course: _Course) -> _Trouble:
        if course.is_cut:
            return self._late(course)
        if course.last is None:
            return _Trouble(CIRCUIT_OPEN, "the endpoint was down and did not come back in time")
        last = course.last
        return _Trouble(last.reason, f"{last.detail}; then the circuit was open", last.status)

    def _late(self, course: _Course) -> _Trouble:
        if course.is_cut:
            reason, text = BUDGET, f"the {self._endpoint.budget_s:g} s of the batch were over"
        else:
            reason, text = TIMEOUT, f"no answer within {self._endpoint.timeout_s:g} s"
        last = course.last
        return _Trouble(
            reason,
            text if last is None else f"{text}; before: {last.detail}",
            None if last is None else last.status,
        )

    def _dead(self, first: int, count: int, course: _Course, trouble: _Trouble) -> list[Outcome]:
        taken = _ms_since(course.began)
        return [
            Outcome(
                index,
                None,
                trouble.reason,
                trouble.detail[:_LONGEST_DETAIL],
                course.attempts,
                taken,
                trouble.status,
            )
            for index in range(first, first + count)
        ]


def _refused(status: int, detail: str, asked_s: float | None) -> _Trouble:
    if 300 <= status < 400:
        return _Trouble(BAD_ANSWER, f"{detail}: redirects are not followed", status)
    if status == 429:
        # It is up, but a probe that it turns away is no reason to send it everything.
        return _Trouble(THROTTLED, detail, status, again=True, is_down=None, retry_after_s=asked_s)
    if 400 <= status < 500:
        return _Trouble(REFUSED, detail, status)
    if status >= 500:
        return _Trouble(FAILED, detail, status, again=True, is_down=True, retry_after_s=asked_s)
    return _Trouble(BAD_ANSWER, f"{detail}, expected 200", status)


def _ms_since(began: float) -> float:
    return (asyncio.get_running_loop().time() - began) * 1_000


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_EXCERPT]


def _excerpt(body: bytes, key: str | None) -> str:
    """Quote what an endpoint says of its refusal; a key that it repeats is left out."""
    # Cut after the key is gone, so that no half of one is left.
    text = _without(body[: 1 << 12].decode("utf-8", "replace"), key).strip()
    return f": {text[:_EXCERPT]!r}" if text else ""


def _without(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text
