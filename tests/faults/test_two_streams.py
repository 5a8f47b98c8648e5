"""Two streams on one source, definitions applied beside a stream, and a clock that is stepped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.faults.processes import Ended, no_process_left, wait_for
from tests.faults.streamed import Streamed
from tests.spark.benches import Cells
from tests.spark.test_streaming import DEFINITIONS, STREAM, VIEWS, defined, line, send
from twinlake.flows import pushing

# What a process of its own sees as the time of day is moved by the seconds in a file. Java has its
# own clock, so the times of commits stay right.
STEPPED = """
import os, pathlib, time
right = time.time_ns
file = pathlib.Path(os.environ["TEST_CLOCK_STEP"])
time.time_ns = lambda: right() + int(file.read_text()) * 10**9
"""


@pytest.fixture
def streamed(spark: SparkSession, tmp_path: Path) -> Iterator[Streamed]:
    with Streamed(tmp_path, spark) as made:
        made.draw(61, 150)
        defined(made)
        made.send(30)
        yield made


def test_a_second_stream_is_refused_and_the_first_goes_on(streamed: Streamed) -> None:
    with streamed.streaming() as running:
        streamed.wait_until_taken(running)
        second = streamed.run("stream", *VIEWS)
        assert second.code == 3, second.told
        assert "another process is the lander of payments" in second.message
        assert "wait for it to end, or end it" in second.message
        # Records have a field that nobody defined; what is defined cannot change its type.
        send(streamed, "longer", map(coloured, streamed.next_rows(30)))
        streamed.wait_until_taken(running)
        text = DEFINITIONS.replace("amount decimal(12,2)", "amount double")
        streamed.define(text % {"stream": STREAM})
        refused = streamed.run("plan")
        assert refused.code == 2, refused.told
        assert "column amount is decimal(12,2) in its events table, not double" in refused.told
        streamed.send(30)
        streamed.wait_until_taken(running)
    streamed.check()


def test_a_column_is_added_beside_a_stream_which_reads_it_from_then_on(
    streamed: Streamed,
) -> None:
    with streamed.streaming() as running:
        streamed.wait_until_taken(running)
        text = DEFINITIONS.replace("tid string,", "tid string, colour string,")
        applied = streamed.define(text % {"stream": STREAM}).run("apply")
        assert applied.code == 0, applied.told
        plain = {row["tid"] for row in streamed.sent}
        # What is asked of a stream waits until it reads the column.
        (pushed,) = streamed.next_rows(1)
        told = pushing.push(streamed.open(), "payments", [{**pushed, "colour": "red"}])
        assert told["accepted"] == (pushed["tid"] not in plain)
        # A row that comes again must be the same, or it is another one of that id.
        for name in ("longer", "longest"):
            rows = streamed.next_rows(30)
            lines = [line(r) if r["tid"] in plain else coloured(r) for r in rows]
            send(streamed, name, lines)
            streamed.wait_until_taken(running)
        assert "further columns are read from here on: colour" in running.told
    for row in streamed.events("payments", "tid", "colour"):
        assert row["colour"] == (None if row["tid"] in plain else "red")
    streamed.check()


def coloured(row: Cells) -> str:
    """A record with a field that is new."""
    return line(row)[:-1] + ', "colour": "red"}'


def change(streamed: Streamed, before: str, after: str) -> Ended:
    """Change a window of a view, and apply it by another process."""
    text = DEFINITIONS.replace(before, after) % {"stream": STREAM}
    return streamed.define(text).run("apply")


def test_definitions_that_another_applies_end_a_stream_or_it_begins_again(
    streamed: Streamed,
) -> None:
    streamed.take_in()
    streamed.views = ("activity",)
    with no_process_left() as started:
        running = streamed.start("stream", *streamed.views)
        started.append(running)
        wait_for(lambda: "streaming payments" in running.told, "the stream to begin")
        refused = change(streamed, '"mean_1h": "1h"', '"mean_1h": "2h"')
        assert refused.code == 3, refused.told
        assert "a stream publishes activity, whose definition changed" in refused.message
        assert change(streamed, '"sum_1d": "1d"', '"sum_1d": "2d"').code == 0
        streamed.send(30)
        ended = streamed.refused_by(running, 30)
    assert ended.code == 3, ended.told
    told = ended.document
    assert "the definitions of payments or its views changed while it streamed" in told["error"]
    assert "start the stream again" in told["hint"]
    with streamed.streaming("--supervise") as running:
        streamed.wait_until_taken(running)
        assert change(streamed, '"sum_1d": "1d"', '"sum_1d": "3d"').code == 0
        streamed.send(30)
        streamed.wait_until_taken(running)
        assert "beginning again" in running.told
    streamed.views = VIEWS
    streamed.take_in()
    streamed.check()


def test_a_clock_that_is_set_back_stops_publishing_and_one_ahead_does_not(
    streamed: Streamed, tmp_path: Path
) -> None:
    step = tmp_path / "step"
    (tmp_path / "sitecustomize.py").write_text(STEPPED)
    streamed.environ = {"PYTHONPATH": str(tmp_path), "TEST_CLOCK_STEP": str(step)}
    step.write_text("0")
    with no_process_left() as started:
        running = streamed.start("stream", *VIEWS)
        started.append(running)
        streamed.wait_until_taken(running)
        before = streamed.all_online()
        step.write_text("-3600")
        streamed.send(30)
        ended = running.wait()
    assert ended.code == 3, ended.told
    assert "s ahead of this machine's clock" in ended.document["error"]
    assert "set the clock right" in ended.document["hint"]
    assert streamed.all_online() == before
    step.write_text("86400")
    with streamed.streaming() as running:
        streamed.wait_until_taken(running)
        streamed.send(30)
        streamed.wait_until_taken(running)
        step.write_text("0")
        streamed.send(30)
        streamed.wait_until_taken(running)
    streamed.check_not_back(before)
    streamed.check()
