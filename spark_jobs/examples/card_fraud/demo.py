"""Card fraud from end to end: train on months, then judge every transaction as it arrives.

Months of transactions are landed and trained on in batch. The last days, a live hour and the
original's hand test then come through the topic: the stream keeps one view fresh, scores each
transaction with windows that hold it, and the nightly batch publishes the other view. In the end
both stores are compared, cell by cell.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from examples.card_fraud import simulator, training
from examples.card_fraud.generator import SCHEMA, Extent, card_numbers, generate, write
from examples.card_fraud.live import SOURCE, Live, line, running
from examples.stages import Stages, rows_by_verdict
from twinlake.cli.checks import verdict_document
from twinlake.flows import checking, materializing
from twinlake.flows.project import Project, online_table

# As many transactions a card as the original's, on fewer cards.
HISTORY: Final = Extent(cards=500, transactions=270_000)
STREAMED_FROM: Final = dt.datetime(2022, 5, 30, tzinfo=dt.UTC)
# What comes at a rate, after the months.
LIVE: Final = Extent(
    cards=500, transactions=4_000, start=dt.date(2022, 6, 1), end=dt.date(2022, 6, 2), seed=7
)
LIVE_RATE: Final = 200.0
TESTED_AT: Final = dt.datetime(2022, 6, 2, 1, tzinfo=dt.UTC)
QUIET_CARDS: Final = 3
BURST: Final = 10
# A card that is used now and then: nine times in the week before the burst.
USED_BEFORE: Final = 9


def run(project: Project) -> dict[str, Any]:
    """Run every stage and give the figures of the run."""
    stage = Stages(project)
    history, streamed = stage("generate", lambda: _transactions(project))
    stage("start", lambda: project.spark)
    with project.reading_from(SOURCE, history):
        training_set = stage("prepare", lambda: training.prepare(project))
    judged = stage("train", lambda: training.train(project, training_set))
    training.tell(project, judged)
    with project.again() as other, running(project, other) as live:
        stage("stream", lambda: _stream(live, streamed))
        stage("live", lambda: _stream(live, simulator.paced([generate(LIVE)], LIVE_RATE, 1.0)))
        freshness = live.freshness_ms()
        quiet, burst = stage("burst", lambda: _hand_test(project, live))
    stage("nightly", lambda: materializing.materialize(project, ["card_history"]))
    views = list(project.applied().definitions.views.values())
    verdict = stage("parity", lambda: checking.check_parity(project, views, None))
    parity = verdict_document(verdict)
    figures: dict[str, Any] = {
        "example": "card_fraud",
        "sent": live.sent,
        "rows": rows_by_verdict(project, SOURCE),
        "online_rows": {v.name: project.store.count(online_table(v)) for v in views},
        "model": judged.document(),
        "freshness": freshness,
        "quiet": [said["is_positive"] for said in quiet],
        "burst_counts": [said["num_trans_last_10m"] for said in burst],
        "burst_positive": [said["is_positive"] for said in burst],
        "scored": {
            name: {"predictions": counts.predictions, "positive": counts.positive}
            for name, counts in live.progress.scored.items()
        },
        "parity": parity,
        "seconds": stage.seconds,
    }
    project.tell("== done")
    project.tell("rows by verdict: " + ", ".join(f"{k} {n:,}" for k, n in figures["rows"].items()))
    project.tell(
        f"parity: {parity['compared']:,} of {parity['served']:,} served cells compared, "
        f"{parity['mismatching']:,} differ"
    )
    return figures


def _transactions(project: Project) -> tuple[Path, list[pa.Table]]:
    """Make the transactions; give the folder of those of the past, and those to stream."""
    made = generate(HISTORY)
    is_past = pc.less(made["trans_ts"], pa.scalar(STREAMED_FROM, SCHEMA.field("trans_ts").type))
    folder = project.settings.state / "data"
    if not folder.is_dir():
        write(made.filter(is_past), folder)
    return folder, [made.filter(pc.invert(is_past)).combine_chunks()]


def _stream(live: Live, pieces: Any) -> None:  # noqa: ANN401 (an iterable of tables)
    live.send(pieces)
    live.wait()


def _hand_test(project: Project, live: Live) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The original's last notebook: three quiet cards, then a burst on a fourth."""
    draw = np.random.default_rng(123)
    *_, used = card_numbers(HISTORY.cards + 1).tolist()
    days_before = [dt.timedelta(hours=18 * number + 7) for number in range(USED_BEFORE)]
    before = [
        _row(f"before-{n}", used, draw.uniform(10, 100), TESTED_AT - early)
        for n, early in enumerate(reversed(days_before))
    ]
    cards = draw.choice(card_numbers(HISTORY.cards), QUIET_CARDS, replace=False).tolist()
    quiet = [
        _row(f"quiet-{n}", card, draw.uniform(10, 1000), TESTED_AT + dt.timedelta(minutes=n))
        for n, card in enumerate(cards)
    ]
    moment, burst = TESTED_AT + dt.timedelta(minutes=10), []
    for number in range(BURST):
        moment += dt.timedelta(seconds=float(draw.uniform(1, 2)))
        burst.append(_row(f"burst-{number}", used, draw.uniform(1, 50), moment))
    for rows in (before, quiet, burst):
        _stream(live, [pa.Table.from_pylist(rows, schema=SCHEMA)])
    said = [dict(one) for one in live.said([row["tid"] for row in (*quiet, *burst)])]
    for one in said:
        project.tell(line(one))
    return said[:QUIET_CARDS], said[QUIET_CARDS:]


def _row(tid: str, card: int, amount: float, moment: dt.datetime) -> dict[str, Any]:
    return {
        "tid": tid,
        "cc_num": card,
        "merchant": "merchant 0001",
        "amount": Decimal(round(amount * 100)).scaleb(-2),
        "zip_code": "00000",
        "trans_ts": moment,
        "fraud_label": 0,
    }
