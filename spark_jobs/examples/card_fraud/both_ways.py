"""A month of transactions, once by a single batch and once by the stream only: are they equal?

The stream takes them in shuffled pieces, so that most batches hold late events, and some of them
twice. Every feature row and every online row of both views is compared; exit code 1 where one
differs.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np
import pyarrow as pa

from examples.card_fraud import messages
from examples.card_fraud.generator import Extent, generate, write
from examples.card_fraud.live import SOURCE
from examples.card_fraud.to_folder import send_to_folder
from examples.card_fraud.to_kafka import TOPIC
from examples.stages import Stages
from twinlake.cli.main import report
from twinlake.clock import now_us
from twinlake.flows import applying, materializing, streaming
from twinlake.flows.project import Project, online_table
from twinlake.flows.tables_by_name import view_rows
from twinlake.lake.streams import Limits
from twinlake.settings import load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PROJECT: Final = Path(__file__).parent
VIEWS: Final = ("card_activity", "card_history")
MONTH: Final = Extent(
    cards=500, transactions=45_000, start=dt.date(2022, 3, 1), end=dt.date(2022, 4, 1)
)
_TWICE: Final = 500


def run(batch: Project, stream: Project, month: Extent, pieces: int) -> dict[str, Any]:
    """Go both ways and compare.

    Args:
        batch: A project that lands the transactions at once.
        stream: The same definitions, with another state.
        month: Which transactions.
        pieces: In how many files, one a batch, the stream gets them.
    """
    stage = Stages(batch)
    made = stage("generate", lambda: generate(month))
    data = batch.settings.state / "data"
    write(made, data)
    send_to_folder(_shuffled(made, pieces), stream.places.topic(TOPIC))
    with batch.reading_from(SOURCE, data):
        stage("apply", lambda: (applying.apply(batch), applying.apply(stream)))
        stage("batch", lambda: materializing.materialize(batch, list(VIEWS)))
    progress = stage(
        "stream", lambda: streaming.stream(stream, VIEWS, once=True, limits=Limits(files=1))
    )[SOURCE]
    compared = {
        name: stage(f"compare {name}", partial(_compared, batch, stream, name)) for name in VIEWS
    }
    return {
        "transactions": len(made),
        "batches": progress.batches,
        "duplicate": progress.duplicate,
        "late": progress.late,
        "compared": compared,
        "seconds": stage.seconds,
    }


def _shuffled(made: pa.Table, pieces: int) -> list[pa.Table]:
    """Cut transactions into pieces, in any order and some of them twice."""
    random = np.random.default_rng(11)
    again = random.integers(0, len(made), min(_TWICE, len(made)))
    order = random.permutation(np.concatenate([np.arange(len(made)), again]))
    parts = np.array_split(order, pieces)
    return [messages.conform(made.take(pa.array(part)).combine_chunks()) for part in parts]


def _compared(batch: Project, stream: Project, name: str) -> dict[str, int]:
    """Count rows on both sides, and those that only one side has."""
    left, right = (
        view_rows(project, project.view(name)).drop("_event_version", "_event_row", "_view_version")
        for project in (batch, stream)
    )
    online = [_online(project, name) for project in (batch, stream)]
    keys = online[0].keys() | online[1].keys()
    return {
        "batch_rows": left.count(),
        "stream_rows": right.count(),
        "differing_rows": left.exceptAll(right).count() + right.exceptAll(left).count(),
        "online_rows": len(keys),
        "differing_online": sum(online[0].get(key) != online[1].get(key) for key in keys),
    }


def _online(project: Project, name: str) -> Mapping[Any, Any]:
    """Read all online rows, but for what says by which landing they were written."""
    rows = project.store.scan(online_table(project.view(name)))
    return {row.key: row._replace(state=b"", write_us=0) for row in rows}


@click.command()
@click.option("--cards", default=MONTH.cards, show_default=True)
@click.option("--transactions", default=MONTH.transactions, show_default=True)
@click.option("--pieces", default=30, show_default=True)
def main(cards: int, transactions: int, pieces: int) -> int:
    """Take a month by batch and by stream, and compare everything."""
    began = time.monotonic()

    def tell(text: str) -> None:
        click.echo(f"[{time.monotonic() - began:6.1f} s] {text}", err=True)

    month = replace(MONTH, cards=cards, transactions=transactions)
    with tempfile.TemporaryDirectory() as name:

        def opened(way: str, spark: SparkSession | None) -> Project:
            settings = load_settings(PROJECT, "local", Path(name) / way, environ=os.environ)
            return Project(settings, environ=os.environ, now_us=now_us, tell=tell, spark=spark)

        with opened("batch", None) as batch, opened("stream", batch.spark) as stream:
            figures = run(batch, stream, month, pieces)
    click.echo(json.dumps(figures))
    differing = [d[n] for d in figures["compared"].values() for n in d if n.startswith("differing")]
    return 1 if any(differing) else 0


if __name__ == "__main__":
    sys.exit(report(main, as_json=False))
