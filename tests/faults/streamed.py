"""A stream that is a real process, what was sent to it, and what must hold after each fault."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer

from tests.faults.processes import Ended, Running, no_process_left, wait_for
from tests.spark.benches import NOW_US, Bench, Cells
from tests.spark.test_streaming import VIEWS, line, payments, send
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.flows import checking, streaming
from twinlake.flows.project import Project
from twinlake.flows.stream_lander import Progress
from twinlake.settings import load_settings

_DELIVERY_S = 120


class Streamed(Bench):
    """A bench whose records come from one list, piece after piece.

    Attributes:
        environ: What processes of it run with, beside the environment of the test.
        env: The name of their environment.
        views: What is streamed.
        sent: The rows that were sent.
    """

    environ: Mapping[str, str] = {}
    env = "local"
    views: tuple[str, ...] = VIEWS

    def draw(self, seed: int, count: int) -> None:
        """Make the rows that are going to be sent."""
        self.sent: list[Cells] = []
        self._rows = iter(payments(random.Random(seed), count))

    def next_rows(self, count: int) -> list[Cells]:
        """Give rows that count as sent from now on."""
        taken = [row for row, _ in zip(self._rows, range(count), strict=False)]
        assert len(taken) == count, "draw more rows"
        self.sent += taken
        return taken

    def send(self, count: int) -> None:
        """Put a file of records into the folder that plays the topic."""
        send(self, f"{len(self.sent):04}", map(line, self.next_rows(count)))

    def open(self) -> Project:
        """Open the project in this process; it reads the same stores."""
        environ = {**os.environ, **self.environ}
        state = self.folder / "state"
        settings = load_settings(self.root, self.env, state=state, environ=environ)
        project = Project(
            settings, environ=environ, now_us=lambda: NOW_US, tell=lambda _: None, spark=self.spark
        )
        self._opened.append(project)
        return project

    def start(self, *verb: str, **environ: str) -> Running:
        """Start a verb of the command."""
        before = ("-C", self.root, "--env", self.env, "--state", self.folder / "state", "--json")
        return Running([*map(str, before), *verb], {**self.environ, **environ})

    def run(self, *verb: str, **environ: str) -> Ended:
        """Run a verb to its end, and see that no process is left."""
        with no_process_left() as started:
            started.append(self.start(*verb, **environ))
            return started[0].wait()

    @contextmanager
    def streaming(self, *options: str, **environ: str) -> Iterator[Running]:
        """Stream in a process, which is told to end after the body and must end well."""
        with no_process_left() as started:
            running = self.start("stream", *self.views, *options, **environ)
            started.append(running)
            yield running
            running.process.terminate()
            ended = running.wait()
        assert ended.code == 0, ended.told

    def take_in(self) -> Progress:
        """Stream what is there in this process, which takes a second, not ten."""
        return streaming.stream(self.open(), self.views, once=True)["payments"]

    def wait_until_taken(self, running: Running) -> None:
        """Wait until all that was sent is landed and published."""

        def is_taken() -> bool:
            assert running.process.poll() is None, running.told
            if self.landed < len(self.sent):
                return False
            newest = self.project.landings("payments").newest_version()
            return all(self.published(view) == newest for view in self.views)

        wait_for(is_taken, f"{len(self.sent)} records")

    def refused_by(self, running: Running, landed: int) -> Ended:
        """Wait until a stream ends, and see that it landed no more than it had."""
        wait_for(lambda: running.process.poll() is not None or self.landed > landed, "its end")
        assert self.landed == landed
        return running.wait()

    @property
    def landed(self) -> int:
        """How many records are written down as landed."""
        return sum(one.read for one in self.project.landings("payments").all())

    def published(self, view: str) -> int:
        """Up to which ingest version a view is published."""
        fingerprint = view_fingerprint(self.project.view(view))
        done = self.project.publications(view).all(fingerprint)
        return max((one.events_version for one in done), default=0)

    def check(self, *, again: int = 0) -> None:
        """Check that each record is one row, each id accepted once, and the stores agree.

        Args:
            again: How many records were read once more, and are duplicates.
        """
        rows = self.events("payments", "tid", "_verdict", "_version", "_row")
        assert len({(row["_version"], row["_row"]) for row in rows}) == len(rows)
        assert len(rows) == len(self.sent) + again
        told = self.project.landings("payments").all()
        assert sum(one.read for one in told) == len(rows)
        verdicts = Counter(row["_verdict"] for row in rows)
        ids = {row["tid"] for row in self.sent}
        assert {row["tid"] for row in rows if row["_verdict"] == "accepted"} == ids
        assert (verdicts["accepted"], verdicts["quarantined"]) == (len(ids), 0)
        with self.open() as project:
            project._spark = self.spark
            views = list(project.applied().definitions.views.values())
            found = checking.check_parity(project, views, None)
        assert found.mismatches == 0
        cards = {row["card"] for row in self.sent if row["amount"] < 900}
        assert found.keys == len(cards)

    def check_not_back(self, before: Mapping[str, Mapping[Any, Any]]) -> None:
        """Check that no key is served less than ``before`` served: law 7."""
        for view, rows in before.items():
            now = self.online(view)
            assert now.keys() >= rows.keys()
            for key, row in rows.items():
                assert now[key].write_us >= row.write_us
                assert now[key].event_us >= row.event_us

    def all_online(self) -> dict[str, dict[Any, Any]]:
        """The online rows of both views."""
        return {view: self.online(view) for view in VIEWS}


def send_records(
    servers: str, topic: str, lines: list[str], partition_of: Callable[[int], int]
) -> None:
    """Send records and wait until the server has all of them."""
    refused: list[Any] = []
    producer = Producer(
        {"bootstrap.servers": servers, "delivery.timeout.ms": _DELIVERY_S * 1000, "log_level": 2}
    )
    for number, text in enumerate(lines):
        producer.produce(
            topic,
            text.encode(),
            partition=partition_of(number),
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
    assert producer.flush(_DELIVERY_S) == 0
    assert refused == []
