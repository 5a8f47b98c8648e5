"""Send flowers to the topic of the example, one random row of the sample after the other.

    python -m examples.iris_stream.producer [--env stack] [--rate 1] [--count 600] [--seed 1]

The original's producer sends a random row a second; so does this one, at any rate. Only rows that
no model learned from are sent. A message has the original's fields, and two that it lacks: ``id``,
without which a message that is sent twice could not be told from two flowers that are alike, and
``measuredAt``, in milliseconds since 1970.

    {"sepalLength": 5.1, "sepalWidth": 3.5, "petalLength": 1.4, "petalWidth": 0.2,
     "species": "setosa", "id": "1-0", "measuredAt": 1604302260000}
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import numpy as np
import pyarrow as pa

from examples.iris_stream.features import MEASURES
from examples.iris_stream.spine import replayed
from twinlake.cli.main import report
from twinlake.clock import now_us
from twinlake.flows.project import Project
from twinlake.flows.stream_outputs import TopicOutput
from twinlake.settings import load_settings

TOPIC: Final = "iris"
_TICK_S: Final = 0.25


def flowers(count: int, seed: int, first_ms: int, apart_ms: float) -> pa.Table:
    """Draw flowers among those that no model learned from.

    Args:
        count: How many.
        seed: Chooses them, and is part of their ids.
        first_ms: When the first was measured, in milliseconds since 1970.
        apart_ms: How long after it the next one was, and so on.
    """
    rows = replayed()
    drawn = np.random.default_rng(seed).integers(0, len(rows), count)
    numbers = np.arange(count)
    return (
        rows.select([*MEASURES, "species"])
        .take(pa.array(drawn))
        .append_column("id", pa.array([f"{seed}-{number}" for number in numbers]))
        .append_column("measuredAt", pa.array(first_ms + (numbers * apart_ms).astype(np.int64)))
    )


class Producer:
    """Sends flowers to the topic, or into the folder that plays it.

    Args:
        project: The project.
    """

    def __init__(self, project: Project) -> None:
        self._topic = TopicOutput(project, TOPIC, ["id"])
        self._batch = max((int(file.stem) for file in _sent_before(project)), default=-1)

    def send(self, rows: pa.Table) -> int:
        """Send rows and wait until all are acknowledged; how many."""
        self._batch += 1
        self._topic.send(rows, self._batch)
        return len(rows)


def _sent_before(project: Project) -> Iterator[Path]:
    """Give the files of the folder that plays the topic; a file's name is never used twice."""
    return project.places.topic(TOPIC).glob("*.json")


@click.command(context_settings={"show_default": True})
@click.option("--env", default="stack", help="Whose Kafka to send to; local: a folder plays it.")
@click.option("--state", type=click.Path(path_type=Path), help="Where the example is kept.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1.0, help="A second.")
@click.option("--count", type=click.IntRange(1), default=600)
@click.option("--seed", type=int, default=1)
def run(env: str, state: Path | None, rate: float, count: int, seed: int) -> None:
    """Send flowers that are measured as they are sent."""
    settings = load_settings(Path(__file__).parent, env, state, environ=os.environ)
    began, sent = time.monotonic(), 0
    with Project(settings, environ=os.environ, now_us=now_us, tell=click.echo) as project:
        producer = Producer(project)
        rows = flowers(count, seed, now_us() // 1000, 1000 / rate)
        while sent < count:
            due = min(count, int((time.monotonic() - began) * rate) + 1)
            if due > sent:
                sent += producer.send(rows.slice(sent, due - sent))
            time.sleep(_TICK_S)
    print(json.dumps({"sent": sent, "to": TOPIC, "seconds": round(time.monotonic() - began, 2)}))


if __name__ == "__main__":
    raise SystemExit(report(run, as_json=False))
