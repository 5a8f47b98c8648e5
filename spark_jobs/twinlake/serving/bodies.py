"""Bodies of requests: read up to a size and a time, and only taken as what they should be."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from twinlake.serving.options import ServingOptions
from twinlake.serving.problems import Refusal

Row = dict[str, Any]
_SCALARS = frozenset({str, int, float, bool, type(None)})
_FORM = (
    '{"service": NAME, "entities": [{"KEY": VALUE}], "as_of": TIME, "request": {"FIELD": VALUE}}'
)
# The connection ends with such an answer, for the rest of the body is not wanted.
_CLOSE = {"connection": "close"}


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        service: Of which service; None where the address says it.
        rows: Per entity its join keys and fields by name.
        as_of: A time, ``wall`` or ``data``; None for the project's own clock.
        features: Whether a forecast comes with the vector that it was made from.
    """

    service: str | None
    rows: Sequence[Row]
    as_of: str | None = None
    features: bool = False


async def read_body(request: Request, options: ServingOptions) -> bytes:
    """Read a body.

    Raises:
        Refusal: It is too long, or the client too slow.
    """
    most = options.body_kb * 1024
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_long(options)
    parts, size = [], 0
    try:
        async with asyncio.timeout(options.slow_s):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _too_long(options)
                parts.append(part)
    except TimeoutError:
        raise Refusal(
            408, f"the body did not come within {options.slow_s} s", headers=_CLOSE
        ) from None
    except ClientDisconnect:
        raise Refusal(400, "the body ended early", headers=_CLOSE) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def parse_features(body: bytes, options: ServingOptions) -> Asked:
    """Read what ``/v1/features`` is asked.

    Raises:
        Refusal: The body is of another form.
    """
    document = _document(body)
    service = document.pop("service", None)
    if not isinstance(service, str):
        raise Refusal(400, "the body names no service", hint=f"send {_FORM}")
    return _asked(service, document, options, ())


def parse_prediction(body: bytes, options: ServingOptions) -> Asked:
    """Read what ``/v1/predict`` is asked.

    Raises:
        Refusal: The body is of another form.
    """
    return _asked(None, _document(body), options, ("features",))


def parse_instances(body: bytes, options: ServingOptions) -> Asked:
    """Read what SageMaker sends as JSON: ``{"instances": [{...}]}``, one object, or several.

    Raises:
        Refusal: The body is of another form.
    """
    document = _json(body)
    if isinstance(document, dict):
        document = document.get("instances", document.get("entities", [document]))
    return Asked(None, _rows(document, {}, options))


def parse_csv(body: bytes, names: Sequence[str], options: ServingOptions) -> Asked:
    """Read what SageMaker sends as CSV: with a line of names first, or in the order of ``names``.

    An empty cell is null.

    Raises:
        Refusal: It is no text, or a line has more or fewer cells.
    """
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refusal(
            400, f"the body is no CSV: {type(error).__name__}", hint="send UTF-8"
        ) from None
    lines = [line for line in lines if line]
    if lines and set(lines[0]) <= set(names):
        names, lines = lines[0], lines[1:]
    for number, line in enumerate(lines, 1):
        if len(line) != len(names):
            raise Refusal(
                400,
                f"line {number} has {len(line)} cells, expected {len(names)}",
                hint=f"send {','.join(names)}",
            )
    rows = [{name: cell or None for name, cell in zip(names, line, strict=True)} for line in lines]
    return Asked(None, _rows(rows, {}, options))


def _document(body: bytes) -> dict[str, Any]:
    document = _json(body)
    if not isinstance(document, dict):
        raise Refusal(400, "the body is no JSON object", hint=f"send {_FORM}")
    return document


def _json(body: bytes) -> object:
    """Read JSON; what is nested deeply is no matter, for no form has more than two levels."""
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(
            400, f"the body is no JSON: {error.msg} at {error.pos}", hint=f"send {_FORM}"
        ) from None
    return document


def _asked(
    service: str | None, document: dict[str, Any], options: ServingOptions, more: tuple[str, ...]
) -> Asked:
    entities = document.pop("entities", None)
    as_of = document.pop("as_of", None)
    shared = document.pop("request", None) or {}
    wishes = {name: document.pop(name, False) for name in more}
    if document:
        raise Refusal(
            400, f"the body has an unknown name {_shown(min(document))}", hint=f"send {_FORM}"
        )
    if as_of is not None and not isinstance(as_of, str):
        raise Refusal(400, "as_of is no text", hint="send a time such as 2021-08-26, wall or data")
    for name, wish in wishes.items():
        if not isinstance(wish, bool):
            raise Refusal(400, f"{name} is neither true nor false")
    if not isinstance(shared, dict):
        raise Refusal(400, "request is no object", hint=f"send {_FORM}")
    return Asked(service, _rows(entities, shared, options), as_of, **wishes)


def _rows(entities: object, shared: Mapping[str, Any], options: ServingOptions) -> list[Row]:
    if not isinstance(entities, list):
        raise Refusal(400, "entities is no list", hint=f"send {_FORM}")
    if len(entities) > options.entities:
        raise Refusal(
            413,
            f"{len(entities):,} entities, at most {options.entities:,} are served at once",
            hint="send several requests",
        )
    rows = []
    for number, entity in enumerate(entities):
        if not isinstance(entity, dict):
            raise Refusal(400, f"entity {number} is no object", hint=f"send {_FORM}")
        row = {**shared, **entity} if shared else entity
        if not _SCALARS.issuperset(map(type, row.values())):
            nested = next(name for name, value in row.items() if type(value) not in _SCALARS)
            raise Refusal(
                400,
                f"entity {number}: {_shown(nested)} is a list or an object",
                hint="give a text, a number, true, false or null",
            )
        rows.append(row)
    return rows


def _too_long(options: ServingOptions) -> Refusal:
    return Refusal(
        413,
        f"the body is longer than {options.body_kb:,} kB",
        hint="send several requests",
        headers=_CLOSE,
    )


def _shown(name: str) -> str:
    return repr(name[:100])
