"""Every feature row goes to its view's topic, also those that the stream left to the lake."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from tests.spark.benches import Bench
from tests.spark.test_streaming import START_S, STREAM, defined, line, payments, send, stream
from twinlake.definitions.times import to_datetime
from twinlake.flows import stream_lander, view_topics

VIEW = """
told = FeatureView(
    "told", entity=card, source=payments, publish="stream", topic="news", max_events_per_key=10_000,
    features=[Aggregate("count", windows={"count_20m": "20m"})],
)
"""


def news(bench: Bench) -> Counter[str]:
    """What was sent, however often."""
    folder = bench.folder / "state" / "topics" / "news"
    return Counter(text for file in folder.glob("*.json") for text in file.read_text().splitlines())


def written(bench: Bench) -> Counter[str]:
    """All rows of the table, those that others supersede too, as messages."""
    names = ("card", "event_timestamp", "count_20m")
    told = []
    for row in bench.feature_rows("told", every=True):
        at = to_datetime(row["event_timestamp"]).isoformat()
        told.append(json.dumps({name: row[name] for name in names} | {"event_timestamp": at}))
    return Counter(told)


def test_rows_of_batches_that_look_far_back_are_sent_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_lander, "_SLACK_US", 600_000_000)
    defined(bench, STREAM, VIEW)
    rows = payments(random.Random(41), 300)
    send(bench, "0", map(line, rows[:280]))
    assert stream(bench, "told").slow_batches == 0
    assert news(bench) == written(bench)
    old = {"tid": "old", "card": 3, "amount": 5, "at": (START_S - 4 * 86_400) * 1_000_000}
    send(bench, "1", [line(old), *map(line, rows[280:])])
    assert stream(bench, "told").slow_batches == 1
    assert news(bench) == written(bench)


def test_what_was_not_sent_when_a_stream_ended_is_sent_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    defined(bench, STREAM, VIEW)
    rows = payments(random.Random(42), 120)
    send(bench, "0", map(line, rows[:40]))
    stream(bench, "told")

    def fail(*_: object) -> None:
        raise OSError("the broker is gone")

    send(bench, "1", map(line, rows[40:80]))
    with monkeypatch.context() as broken:
        broken.setattr(view_topics.ViewTopic, "send", fail)
        with pytest.raises(OSError, match="broker"):
            stream(bench, "told")
    assert news(bench) != written(bench)
    send(bench, "2", map(line, rows[80:]))
    stream(bench, "told")
    assert news(bench) == written(bench)
