"""The stream of the example while it runs: send transactions, wait for them, read what was said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from examples.card_fraud import messages
from examples.card_fraud.to_folder import send_to_folder
from examples.card_fraud.to_kafka import TOPIC, KafkaTopic, send_to_kafka
from twinlake.errors import EnvironmentFailure
from twinlake.flows import streaming
from twinlake.flows.project import Project
from twinlake.flows.stream_lander import Progress
from twinlake.flows.stream_scoring import Scoring
from twinlake.lake import tables

SOURCE = "transactions"
MODEL = "card_fraud"
PREDICTIONS = "predictions"
_PATIENCE_S = 600


@dataclass
class Live:
    """A running stream.

    Attributes:
        project: The project, for reading; the stream has one of its own.
        progress: What the stream did so far.
        sent: How many transactions were sent.
        sent_us: When, by transaction.
        read: How many came through: landed, scored and published.
    """

    project: Project
    progress: Progress = field(default_factory=Progress)
    sent: int = 0
    sent_us: dict[str, int] = field(default_factory=dict)
    read: int = 0
    failure: BaseException | None = None

    def send(self, pieces: Iterable[pa.Table]) -> None:
        """Send transactions to the topic, or into the folder that plays it."""
        servers = self.project.settings.stream_bootstrap
        if servers:
            self.sent += send_to_kafka(self._noted(pieces), KafkaTopic(",".join(servers)))
        else:
            self.sent += send_to_folder(self._noted(pieces), self.project.places.topic(TOPIC))

    def _noted(self, pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for piece in pieces:
            now_us = self.project.now_us()
            self.sent_us.update(dict.fromkeys(piece.column("tid").to_pylist(), now_us))
            yield messages.conform(piece)

    def wait(self) -> None:
        """Wait until all that was sent is landed and published.

        Raises:
            EnvironmentFailure: It takes too long.
        """
        until = time.monotonic() + _PATIENCE_S
        while self.read < self.sent:
            if self.failure is not None:
                raise self.failure
            if time.monotonic() > until:
                raise EnvironmentFailure(
                    f"{self.read:,} of {self.sent:,} transactions came through in {_PATIENCE_S} s"
                )
            time.sleep(0.05)

    def freshness_ms(self) -> dict[str, float]:
        """Give from sending to readable online, as p50 and p99 in milliseconds."""
        path = self.project.places.events(SOURCE)
        frame = tables.read(self.project.spark, path)
        oldest = min(self.progress.readable_us, default=0)
        rows = frame.where(f"_version >= {oldest}").select("tid", "_version").collect()
        readable = self.progress.readable_us
        waits = [
            readable[row["_version"]] - self.sent_us[row["tid"]]
            for row in rows
            if row["tid"] in self.sent_us and row["_version"] in readable
        ]
        if not waits:
            return {}
        p50, p99 = np.percentile(np.array(waits), [50, 99]) / 1000
        return {"p50_ms": round(float(p50)), "p99_ms": round(float(p99))}

    def said(self, tids: Iterable[str]) -> list[Mapping[str, Any]]:
        """Give what the model said of transactions, in the order asked for."""
        listed = list(tids)
        path = self.project.places.predictions(MODEL)
        frame = tables.read(self.project.spark, path)
        rows = frame.where(frame.tid.isin(listed)).collect()
        by_tid = {row["tid"]: row.asDict() for row in rows}
        return [by_tid[tid] for tid in listed]


@contextmanager
def running(project: Project, other: Project) -> Iterator[Live]:
    """Run the stream beside the caller: views fresh, events scored.

    Args:
        project: The caller's project.
        other: The same project, opened once more for the stream.
    """
    live, stopped = Live(project), threading.Event()

    def note(_source: str, progress: Progress) -> None:
        live.progress, live.read = progress, progress.read

    def run() -> None:
        try:
            streaming.stream(
                other, stopped=stopped, after_batch=note, models={MODEL: Scoring(PREDICTIONS)}
            )
        except BaseException as failure:
            live.failure = failure

    worker = threading.Thread(target=run, name="stream")
    worker.start()
    try:
        yield live
    finally:
        stopped.set()
        worker.join(_PATIENCE_S)
    if live.failure is not None:
        raise live.failure


def line(said: Mapping[str, Any]) -> str:
    """Say it as the original system does."""
    verdict = "FRAUD" if said["is_positive"] else "NOT FRAUD"
    head = f"Prediction: {verdict} ({said['prediction']:.6f}), "
    if said["is_positive"]:
        head += (
            f"num last 10m: {said['num_trans_last_10m']}, "
            f"avg amt last 10m: {said['avg_amt_last_10m']:.4f}, "
        )
    return f"{head}card num: {said['cc_num']}, amount: {said['amount']:.2f}"
