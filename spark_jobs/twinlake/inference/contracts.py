"""How questions are written and answers read, by contract; strict, for a guess is no result."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import orjson

from twinlake.inference.endpoint import (
    INVOCATIONS_CSV,
    INVOCATIONS_JSON,
    PREDICT_FARE,
    TWINLAKE_PREDICT,
    Endpoint,
)
from twinlake.inference.outcomes import FAILED

JSON, CSV = "application/json", "text/csv"
RIDE: Final = "ride_request_id"
FARE: Final = "expected_fare"
_PRESENT: Final = "present"

Record = Mapping[str, Any]
Value = Mapping[str, Any] | float


class UnwritableRecord(ValueError):
    """A record that cannot be put as the contract asks; the message says why."""


class NoAnswer(ValueError):
    """A body that is no answer to what was asked; the message says what was found."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it is sent, but for keys and signatures."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """An answer to one record: a value, else why this record has none."""

    value: Value | None
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a body holds: a row per record, in their order, and the model's version if it says."""

    rows: Sequence[Row]
    model_version: str | None = field(default=None)


def question(endpoint: Endpoint, records: Sequence[Record]) -> Question:
    """Write down what is asked for some records.

    Raises:
        UnwritableRecord: A record holds what the contract cannot say.
    """
    return _WRITERS[endpoint.contract](endpoint, records)


def answers(
    endpoint: Endpoint, records: Sequence[Record], body: bytes, content_type: str
) -> Answers:
    """Read what was answered for some records.

    Raises:
        NoAnswer: The body is of another form, has other rows, or holds what is no number.
    """
    return _READERS[endpoint.contract](records, body, content_type)


def _instances(endpoint: Endpoint, records: Sequence[Record]) -> Question:
    return _post(endpoint, _json({"instances": [dict(one) for one in records]}), JSON)


def _entities(endpoint: Endpoint, records: Sequence[Record]) -> Question:
    return _post(endpoint, _json({"entities": [dict(one) for one in records]}), JSON)


def _lines(endpoint: Endpoint, records: Sequence[Record]) -> Question:
    """One line per record, cells in its order, no line of names: SageMaker's form."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for record in records:
        if not record:
            raise UnwritableRecord("the record has no cells")
        if any(isinstance(cell, (bytes, list, dict, tuple, set)) for cell in record.values()):
            raise UnwritableRecord("the record holds a list or an object, which is no cell of CSV")
        writer.writerow(record.values())
    try:
        return _post(endpoint, text.getvalue().encode(), CSV)
    except UnicodeEncodeError:
        raise UnwritableRecord("the record holds text that is no Unicode") from None


def _ride(endpoint: Endpoint, records: Sequence[Record]) -> Question:
    """Ask for one ride; without an id none is named, and the endpoint says what it thinks."""
    ride = records[0].get(RIDE)
    if ride is not None and (isinstance(ride, bool) or not isinstance(ride, int | str)):
        raise UnwritableRecord(f"{RIDE} is of type {type(ride).__name__}, expected an integer")
    url = endpoint.url
    if ride is not None:
        try:
            query = urlencode({RIDE: ride})
        except UnicodeEncodeError:
            raise UnwritableRecord(f"{RIDE} is text that is no Unicode") from None
        url += ("&" if urlsplit(url).query else "?") + query
    return Question("GET", url, {"accept": JSON}, b"")


def _post(endpoint: Endpoint, body: bytes, kind: str) -> Question:
    return Question("POST", endpoint.url, {"content-type": kind, "accept": kind}, body)


def _json(document: object) -> bytes:
    try:
        # Decimals and times as text, as the serving API writes and reads them.
        return orjson.dumps(document, default=_text)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise UnwritableRecord(f"the record cannot be written as JSON: {error}"[:200]) from None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        raise TypeError("bytes are no text")
    return str(value)


def _predictions(records: Sequence[Record], body: bytes, content_type: str) -> Answers:
    document = _object(body, content_type)
    found = _listed(document, len(records))
    return Answers([Row(_value(one, place)) for place, one in enumerate(found)])


def _numbers(records: Sequence[Record], body: bytes, content_type: str) -> Answers:
    try:
        lines = [line.strip() for line in body.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise NoAnswer(f"the body is no text, sent as {_kind(content_type)}") from None
    if len(lines) == 1 and len(records) > 1:
        lines = lines[0].split(",")  # built-in algorithms answer in one line
    _same_count(len(lines), len(records))
    rows = []
    for place, line in enumerate(lines):
        try:
            number = float(line)
        except ValueError:
            raise NoAnswer(
                f"row {place} is {_shown(line)}, expected a number; sent as {_kind(content_type)}"
            ) from None
        rows.append(Row(_finite(number, place)))
    return Answers(rows)


def _fare(records: Sequence[Record], body: bytes, content_type: str) -> Answers:
    document = _object(body, content_type)
    asked, found = records[0].get(RIDE), document.get(RIDE)
    if isinstance(found, bool) or str(found) != str(asked):
        raise NoAnswer(f"the answer is of {RIDE} {_shown(found)}, asked was {_shown(asked)}")
    if FARE not in document:
        raise NoAnswer(f"the answer has no {FARE}")
    fare = document[FARE]
    if isinstance(fare, bool) or not isinstance(fare, int | float):
        raise NoAnswer(f"{FARE} is {_shown(fare)}, expected a number")
    return Answers([Row({RIDE: asked, FARE: _finite(float(fare), 0)})])


def _forecasts(records: Sequence[Record], body: bytes, content_type: str) -> Answers:
    document = _object(body, content_type)
    found = _listed(document, len(records))
    version = document.get("model_version")
    rows = [
        _forecast(record, one, n)
        for n, (record, one) in enumerate(zip(records, found, strict=True))
    ]
    return Answers(rows, None if version is None else str(version))


def _forecast(record: Record, one: object, place: int) -> Row:
    if not isinstance(one, dict) or not isinstance(one.get("key"), dict):
        raise NoAnswer(f"row {place} has no key")
    for name, key in one["key"].items():
        if name not in record or not _same(record[name], key):
            raise NoAnswer(f"row {place} is of {name} {_shown(key)}, which was not asked there")
    if one.get("status", _PRESENT) != _PRESENT:
        return Row(None, FAILED, f"the endpoint could not read the vector: {_shown(one['status'])}")
    value = {name: cell for name, cell in one.items() if name not in {"key", "status"}}
    if value.get("prediction") is None:
        raise NoAnswer(f"row {place} has no prediction")
    return Row(_value(value, place))


def _same(asked: Any, told: object) -> bool:  # noqa: ANN401 (a cell of any type)
    return _json(asked).strip(b'"') == _json(told).strip(b'"')


def _object(body: bytes, content_type: str) -> dict[str, Any]:
    try:
        # Strict: NaN and Infinity are no JSON, nor is half a letter.
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NoAnswer(
            f"the body is no JSON ({error.msg}), sent as {_kind(content_type)}: {_excerpt(body)}"
        ) from None
    if not isinstance(document, dict):
        raise NoAnswer(f"the body is no JSON object: {_excerpt(body)}")
    return document


def _listed(document: Mapping[str, Any], expected: int) -> list[Any]:
    found = document.get("predictions")
    if not isinstance(found, list):
        raise NoAnswer("the answer has no list of predictions")
    _same_count(len(found), expected)
    return found


def _same_count(found: int, expected: int) -> None:
    if found != expected:
        raise NoAnswer(f"the answer has {found} rows, asked were {expected}")


def _value(one: object, place: int) -> Value:
    if isinstance(one, int | float) and not isinstance(one, bool):
        return _finite(float(one), place)
    if isinstance(one, dict) and one:
        return one
    raise NoAnswer(f"row {place} is {_shown(one)}, expected a number or an object")


def _finite(number: float, place: int) -> float:
    if not math.isfinite(number):
        raise NoAnswer(f"row {place} is {number}, expected a finite number")
    return number


def _shown(value: object) -> str:
    return repr(value)[:100]


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip()[:100] or "nothing"


def _excerpt(body: bytes) -> str:
    return repr(body[:100].decode("utf-8", "replace"))


_WRITERS: Final[Mapping[str, Callable[[Endpoint, Sequence[Record]], Question]]] = {
    INVOCATIONS_JSON: _instances,
    INVOCATIONS_CSV: _lines,
    PREDICT_FARE: _ride,
    TWINLAKE_PREDICT: _entities,
}
_READERS: Final[Mapping[str, Callable[[Sequence[Record], bytes, str], Answers]]] = {
    INVOCATIONS_JSON: _predictions,
    INVOCATIONS_CSV: _numbers,
    PREDICT_FARE: _fare,
    TWINLAKE_PREDICT: _forecasts,
}
