"""Iris from end to end: a leaderboard, a species for every flower in the stream, and an alert.

Flowers that no model learned from are replayed, one for every second of event time as the original
does, in fewer seconds. After some minutes a model that takes two species for each other becomes the
champion; the alert is raised; the best one comes back, and the alert is over. In the end windows
are counted once more by SQL, from what was sent and what was said.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from examples.iris_stream import training
from examples.iris_stream.producer import Producer, flowers
from examples.iris_stream.spine import replayed
from examples.iris_stream.swapping import train_swapped
from examples.stages import Stages, rows_by_verdict
from twinlake.cli.monitoring import watch_document
from twinlake.cli.training import leaderboard_document, leaderboard_text
from twinlake.errors import EnvironmentFailure
from twinlake.flows import modelling, monitoring, streaming
from twinlake.flows.modelling import Leaderboard
from twinlake.flows.monitoring import Watch
from twinlake.flows.project import Project
from twinlake.flows.stream_lander import Progress
from twinlake.flows.stream_scoring import Scoring
from twinlake.lake import tables
from twinlake.models.registered import name_champion

SOURCE: Final = "iris"
CLASSIFIED: Final = "iris-classified"
# The moment of the article's first window.
FIRST_MS: Final = 1_604_302_260_000
APART_MS: Final = 1_000.0
_MINUTE_MS: Final = 60_000
# Minutes of flowers: with the best model, with the one that is wrong, with the best again.
MINUTES: Final = (3, 3, 3)
# What comes after the last window, so that it is final.
AFTER: Final = 15
_PATIENCE_S: Final = 300


class Live:
    """The stream and the monitor while they run.

    Args:
        project: The caller's project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.progress = Progress()
        self.seen: Watch | None = None
        self.failure: BaseException | None = None
        self._producer = Producer(project)
        self.sent = 0

    def send(self, count: int, seed: int) -> None:
        """Send flowers, and wait until all are judged and seen."""
        first_ms = FIRST_MS + int(self.sent * APART_MS)
        self.sent += self._producer.send(flowers(count, seed, first_ms, APART_MS))
        until = time.monotonic() + _PATIENCE_S
        while self._seen() < self.sent:
            if self.failure is not None:
                raise self.failure
            if time.monotonic() > until:
                raise EnvironmentFailure(
                    f"{self._seen():,} of {self.sent:,} flowers were judged in {_PATIENCE_S} s"
                )
            time.sleep(0.05)

    def _seen(self) -> int:
        return 0 if self.seen is None else self.seen.sums.predictions

    def note(self, _source: str, progress: Progress) -> None:
        """Take note of what the stream did."""
        self.progress = progress

    def watch(self, seen: Watch) -> None:
        """Take note of what the monitor saw."""
        self.seen = seen


@contextmanager
def running(project: Project, streamed: Project, watched: Project) -> Iterator[Live]:
    """Run the stream and the monitor beside the caller, each with the project opened once more."""
    live, stopped = Live(project), threading.Event()

    def stream() -> None:
        models = {training.MODEL: Scoring(CLASSIFIED)}
        streaming.stream(streamed, stopped=stopped, after_batch=live.note, models=models)

    def watch() -> None:
        monitoring.monitor(
            watched, training.MODEL, every_s=0.5, stopped=stopped, after_look=live.watch
        )

    def guarded(work: Any) -> None:  # noqa: ANN401 (a function)
        try:
            work()
        except BaseException as failure:
            live.failure = live.failure or failure

    workers = [threading.Thread(target=guarded, args=(work,)) for work in (stream, watch)]
    for worker in workers:
        worker.start()
    try:
        yield live
    finally:
        stopped.set()
        for worker in workers:
            worker.join(_PATIENCE_S)
    if live.failure is not None:
        raise live.failure


def run(project: Project) -> dict[str, Any]:
    """Run every stage and give the figures of the run."""
    stage = Stages(project)
    stage("start", lambda: project.spark)
    training_set = stage("prepare", lambda: training.prepare(project))
    board = stage("train", lambda: training.train(project, training_set))
    project.tell(leaderboard_text(leaderboard_document(board)))
    asked = training.ask(board.entries[0].result.scorer)
    best, wrong, again = (minutes * _MINUTE_MS // int(APART_MS) for minutes in MINUTES)
    with (
        project.again() as streamed,
        project.again() as watched,
        running(project, streamed, watched) as live,
    ):
        stage("stream", lambda: live.send(best, 1))
        stage("swap", lambda: train_swapped(project))
        stage("stream the wrong one", lambda: live.send(wrong, 2))
        stage("repair", lambda: _put_back(project, board))
        stage("stream again", lambda: live.send(again + AFTER, 3))
    seen = live.seen
    if seen is None:
        raise EnvironmentFailure("nothing was seen of what the model said")
    compared, mismatching = stage("parity", lambda: _count_again(project))
    figures = {
        "example": "iris_stream",
        "sent": live.sent,
        "rows": rows_by_verdict(project, SOURCE),
        "leaderboard": leaderboard_document(board)["leaderboard"],
        "original": {name: list(told) for name, told in training.ORIGINAL.items()},
        "asked": asked,
        "held_out": len(replayed()),
        "scored": {
            name: {"predictions": counts.predictions, "unscored": counts.unscored}
            for name, counts in live.progress.scored.items()
        },
        "quality": watch_document(seen),
        "alerts": [event.document() for event in seen.recent],
        "parity": {"compared": compared, "mismatching": mismatching},
        "seconds": stage.seconds,
    }
    project.tell("== done")
    project.tell(
        f"{live.sent:,} flowers sent; {seen.final:,} in {seen.windows} final windows, "
        f"{seen.open:,} in open ones, {seen.sums.late:,} late"
    )
    return figures


def _put_back(project: Project, board: Leaderboard) -> None:
    """Make the best of the leaderboard the champion again."""
    store = modelling.tracking_store(project, training.MODEL)
    name_champion(store, training.MODEL, board.tracked.best.version)


def _count_again(project: Project) -> tuple[int, int]:
    """Count final windows by SQL, from the events and what was said of them.

    Returns:
        How many counts there are, and how many differ from those of the monitor.
    """
    spark, places = project.spark, project.places
    for name, path in (
        ("sent", places.events(SOURCE)),
        ("said", places.predictions(training.MODEL)),
        ("counted", places.quality(training.MODEL, "windows")),
    ):
        tables.read(spark, path).createOrReplaceTempView(name)
    row = spark.sql("""
        WITH each AS (
          SELECT unix_micros(sent.measuredAt) AS us, said.model_version, sent.species,
                 said.predictedSpecies AS predicted
          FROM sent JOIN said USING (id) WHERE sent._verdict = 'accepted'
        ),
        again AS (
          SELECT us DIV 60000000 AS minute, model_version, species, predicted, count(*) AS rows
          FROM each
          WHERE (us DIV 60000000 + 1) * 60000000 + 10000000 <= (SELECT max(us) FROM each)
          GROUP BY ALL
        ),
        told AS (
          SELECT unix_micros(window_start) DIV 60000000 AS minute, model_version,
                 label AS species, predicted, `count` AS rows
          FROM counted
        )
        SELECT count(*) AS compared,
               count_if(again.rows IS DISTINCT FROM told.rows) AS mismatching
        FROM again FULL OUTER JOIN told
          ON again.minute = told.minute AND again.model_version <=> told.model_version
         AND again.species <=> told.species AND again.predicted <=> told.predicted
    """).first()
    return (0, 0) if row is None else (row.compared, row.mismatching)
