"""What the driver's errors mean, which of them are worth another attempt, and when to make it."""

from __future__ import annotations

import random
from typing import Final

from cassandra import (
    AuthenticationFailed,
    DriverException,
    InvalidRequest,
    RequestValidationException,
    Unauthorized,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException, ProtocolError
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ErrorMessage
from cassandra.protocol import RequestValidationException as InvalidMessage

from twinlake.errors import EnvironmentFailure, StateError, TwinlakeError

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0

# No attempt will end in another way.
FINAL = (RequestValidationException, InvalidMessage, AuthenticationFailed)
REFUSALS = (
    DriverException,
    NoHostAvailable,
    ErrorMessage,
    ConnectionException,
    ConnectionBusy,
    ProtocolError,
    NoConnectionsAvailable,
    OSError,
)
"""All that the driver raises; it has no one class for it."""


def meaning(
    place: str, error: Exception, attempts: int = 0, seconds: float | None = None
) -> TwinlakeError:
    """What an error of the driver means for the user."""
    cause = _cause(error)
    if isinstance(error, InvalidRequest) and _says_missing(cause):
        return StateError(
            f"the online store at {place} lacks a table: {cause}",
            hint="`twinlake apply` and `twinlake materialize` make it anew from the events",
        )
    if isinstance(error, Unauthorized | AuthenticationFailed):
        return EnvironmentFailure(
            f"the online store at {place} refuses: {cause}",
            hint="check the rights of the user that connects",
        )
    if isinstance(error, RequestValidationException | InvalidMessage):
        return EnvironmentFailure(f"the online store at {place} refuses: {cause}")
    tried = "" if seconds is None else f" within {seconds:g} s, {attempts} attempts"
    return EnvironmentFailure(
        f"the Cassandra store at {place} did not answer{tried}: {cause}",
        hint="start it (the local stack: bootstrap/stack up), or correct [online] hosts and "
        "port in the environment's file; what was written is kept, and running again goes on",
    )


def _says_missing(cause: str) -> bool:
    """Whether a refusal says that a table or keyspace is not there."""
    return "unconfigured table" in cause or "does not exist" in cause


def _cause(error: Exception) -> str:
    """The innermost reason, in one line."""
    if isinstance(error, NoHostAvailable) and error.errors:
        reasons = error.errors.values() if isinstance(error.errors, dict) else error.errors
        return "; ".join(sorted({_cause(one) for one in reasons if isinstance(one, Exception)}))
    text = " ".join(str(error).split())
    if "Last error: " in text:  # how the driver tells why it could not connect
        text = text.rpartition("Last error: ")[2]
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"


def pause_s(attempts: int) -> float:
    """Longer after each attempt, and never the same for two: callers must not come together."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempts, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311 (no secret)
