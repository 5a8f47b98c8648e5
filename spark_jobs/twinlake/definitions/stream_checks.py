"""Check what definitions say of streams and topics."""

from __future__ import annotations

import re
from collections.abc import Iterator

from twinlake.definitions.sources import DeltaTable, Kafka
from twinlake.errors import Problem

# What Kafka allows; it also names a folder.
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
TIME_UNITS = ("s", "ms", "us")


def stream_problems(stream: Kafka | DeltaTable, place: str) -> Iterator[Problem]:
    """Yield what is wrong with a source's stream."""
    if isinstance(stream, DeltaTable):
        return
    yield from topic_problems(stream.topic, place)
    if stream.times_in is not None and stream.times_in not in TIME_UNITS:
        hint = f"use {', '.join(TIME_UNITS)}"
        yield Problem(f"{place}, times_in", f"{stream.times_in!r} is unknown", hint)
    if stream.max_record_bytes < 1:
        found = f"is {stream.max_record_bytes}"
        yield Problem(f"{place}, max_record_bytes", found, "give at least 1")
    if stream.skip_bytes < 0:
        yield Problem(f"{place}, skip_bytes", f"is {stream.skip_bytes}", "give 0 or more")
    if stream.skip_bytes and stream.avro is None:
        hint = "leave it out, or name the schema: avro=..."
        yield Problem(f"{place}, skip_bytes", "nothing is skipped before JSON", hint)


def topic_problems(topic: str, place: str) -> Iterator[Problem]:
    """Yield what is wrong with the name of a topic."""
    if not _TOPIC.fullmatch(topic):
        hint = "use letters, digits, dots, underscores and hyphens"
        yield Problem(f"{place}, topic", f"{topic!r} is no name of a topic", hint)
