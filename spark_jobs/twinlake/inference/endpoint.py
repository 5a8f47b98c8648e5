"""Where a model answers, and how it is asked: plain data, without secrets, that can be sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from twinlake.errors import InputError
from twinlake.inference.pacing import RetrySchedule

INVOCATIONS_JSON: Final = "invocations-json"
INVOCATIONS_CSV: Final = "invocations-csv"
PREDICT_FARE: Final = "predict-fare"
TWINLAKE_PREDICT: Final = "twinlake-predict"
CONTRACTS: Final = (INVOCATIONS_JSON, INVOCATIONS_CSV, PREDICT_FARE, TWINLAKE_PREDICT)

# As many finished answers may wait for their turn, per call in flight: a call that hangs for a
# timeout of one second holds up a thousand others, where each takes 20 ms.
_WAITING_PER_CALL: Final = 100


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model that answers over HTTP.

    It can be pickled and holds no secret: a key is named, and read where the call is made.

    Attributes:
        url: What is asked, such as ``http://127.0.0.1:8080/invocations``; may have a query, holds
            no password.
        contract: How questions and answers look. ``invocations-json`` and ``invocations-csv``:
            ``POST``, as SageMaker's containers take them. ``predict-fare``: ``GET`` with
            ``ride_request_id``. ``twinlake-predict``: ``POST`` as ``/v1/predict/MODEL`` takes it.
        timeout_s: A record's time from when it takes its place among the calls under way: all its
            tries, the waits between them, and the wait for a circuit to close.
        capacity: So many calls are under way at most, per call of ``Caller.call``.
        ordered: Outcomes come in the order of the records, else as they are known.
        waiting: Ordered only: so many known outcomes wait for an earlier record at most; None for
            a hundred times the capacity. The larger, the less one slow answer holds up.
        rows_per_call: So many records go into one request; each still has an outcome of its own.
        budget_s: The time for all records of one ``Caller.call``; None for no end.
        retry_first_s: The wait before the second try.
        retry_factor: How much longer each wait is than the one before.
        retry_longest_s: No wait is longer.
        retry_jitter: Share of each wait that is drawn.
        retry_seed: Of the draws.
        breaker_failures: So many failures in a row (no connection, timeout, 5xx) open the circuit.
        breaker_open_s: How long nothing is asked then, before one call probes.
        api_key_variable: The environment variable that holds the key; None for none.
        api_key_file: Or the file that holds it, which only its owner may read.
        api_key_header: The header that carries the key; ``authorization`` carries it as a bearer.
        sigv4_region: Sign requests for this region of AWS; None to not sign.
        sigv4_service: And for this service: ``sagemaker``, ``execute-api``.
        version_header: The header of an answer that tells the model's version.
        ca_file: Certificates that are trusted; None for those of the system.
        longest_answer: Bytes of an answer that are read at most.
    """

    url: str
    contract: str = INVOCATIONS_JSON
    timeout_s: float = 30.0
    capacity: int = 20
    ordered: bool = False
    waiting: int | None = None
    rows_per_call: int = 1
    budget_s: float | None = None
    retry_first_s: float = 0.1
    retry_factor: float = 2.0
    retry_longest_s: float = 5.0
    retry_jitter: float = 0.5
    retry_seed: int = 0
    breaker_failures: int = 10
    breaker_open_s: float = 1.0
    api_key_variable: str | None = None
    api_key_file: Path | None = None
    api_key_header: str = "x-api-key"
    sigv4_region: str | None = None
    sigv4_service: str | None = None
    version_header: str = "x-model-version"
    ca_file: Path | None = None
    longest_answer: int = 1 << 20

    def __post_init__(self) -> None:
        """Check it as a whole.

        Raises:
            InputError: An attribute does not hold, or does not go with another.
        """
        _check_url(self.url)
        if self.contract not in CONTRACTS:
            raise InputError.unknown("contract", self.contract, CONTRACTS)
        for name in ("timeout_s", "retry_first_s", "retry_longest_s", "breaker_open_s"):
            _positive(name, getattr(self, name))
        if self.budget_s is not None:
            _positive("budget_s", self.budget_s)
        for name in ("capacity", "rows_per_call", "breaker_failures", "longest_answer"):
            _counted(name, getattr(self, name))
        if self.waiting is not None:
            _counted("waiting", self.waiting)
        if not (math.isfinite(self.retry_factor) and self.retry_factor >= 1):
            raise InputError(f"retry_factor is {self.retry_factor!r}", hint="give 1 or more")
        if not 0 <= self.retry_jitter <= 1:
            raise InputError(f"retry_jitter is {self.retry_jitter!r}", hint="give 0 to 1")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.contract == PREDICT_FARE and self.rows_per_call != 1:
            raise InputError(
                f"{PREDICT_FARE} asks for one ride, rows_per_call is {self.rows_per_call}",
                hint="give 1",
            )
        if self.api_key_variable is not None and self.api_key_file is not None:
            raise InputError("the key is said to be in a variable and in a file", hint="name one")
        if (self.sigv4_region is None) != (self.sigv4_service is None):
            raise InputError(
                "a signature needs a region and a service, and only one is given",
                hint="give sigv4_region and sigv4_service, or neither",
            )
        if self.sigv4_region is not None and self.api_key_header.lower() == "authorization":
            raise InputError(
                "a signature and a key would both be the header authorization",
                hint="give api_key_header another name",
            )
        for name in ("api_key_header", "version_header"):
            header = getattr(self, name)
            if not (header.isascii() and header.replace("-", "").isalnum()):
                raise InputError(f"{name} is {header!r}, which is no name of a header")

    @property
    def most_waiting(self) -> int:
        """How many known outcomes may wait for an earlier record."""
        return self.capacity * _WAITING_PER_CALL if self.waiting is None else self.waiting

    @property
    def retries(self) -> RetrySchedule:
        """The waits between tries."""
        return RetrySchedule(
            self.retry_first_s,
            self.retry_factor,
            self.retry_longest_s,
            self.retry_jitter,
            self.retry_seed,
        )


def _check_url(url: str) -> None:
    # The address itself is not repeated where it may hold a password.
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or not url.isascii() or any(one.isspace() or ord(one) < 32 for one in url):
        raise InputError(
            "the url of the endpoint is none", hint="give one such as http://127.0.0.1:8080/path"
        )
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"the url of the endpoint at {parts.hostname} holds a user or a password",
            hint="name the key with api_key_variable or api_key_file",
        )
    if parts.fragment:
        raise InputError("the url of the endpoint has a fragment (#)", hint="leave it out")


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value!r}", hint="give seconds, more than 0")


def _counted(name: str, value: float) -> None:
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}", hint="give 1 or more")
