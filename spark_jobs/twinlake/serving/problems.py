"""Errors as problem documents (RFC 9457): what was found, what to do next, nothing from inside."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from starlette.responses import Response

from twinlake.errors import InputError, TwinlakeError

# No answer may be kept by what lies between, nor be taken for another type than it has.
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
# Which version of a model answered; an answer in the form of SageMaker has no other place for it.
MODEL_VERSION = "x-model-version"
# A message names what was sent, which may be long.
_LONGEST = 1_000


class Refusal(InputError):
    """A request that is not carried out, with the HTTP status that says why.

    Attributes:
        status: The HTTP status.
        headers: What the answer's head says beside it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = headers or {}


def problem(error: TwinlakeError) -> Response:
    """Tell a client of an error; of the server's own troubles only that there are some."""
    if isinstance(error, Refusal):
        return document(error.status, error.message, error.hint, error.headers)
    if isinstance(error, InputError):
        return document(400, error.message, error.hint)
    return document(
        503,
        "this cannot be served now",
        "try again later; the server's log says what is missing, /readyz when it is there again",
    )


def unforeseen() -> Response:
    """Tell that something failed that nobody foresaw, and nothing of it."""
    return document(500, "the server failed", "its log says where")


def document(
    status: int, message: str, hint: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """Write a problem down."""
    told = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message[:_LONGEST],
        "hint": hint,
    }
    return Response(
        # What a client sent may hold half a letter, which is no text.
        orjson.dumps(told),
        status,
        {**HEADERS, **(headers or {})},
        "application/problem+json",
    )
