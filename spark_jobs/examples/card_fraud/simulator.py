"""Play the shops: send transactions to Kafka, or into a folder, fast or at a rate.

    python -m examples.card_fraud.simulator DATA --folder FOLDER
    python -m examples.card_fraud.simulator DATA [--env stack] [--rate 1000]

DATA is a Parquet file, or a folder of them, read in the order of their names, as generator.py
writes them; messages.py says what is sent. To Kafka, the key is the card and the time of a record
is when its transaction happened; the topic is made where it is not there, and keeps records
however old they say they are. In a folder, a file appears whole or not at all.

With --live each transaction happens at the moment it is sent, in microseconds, and gets an id that
no other run gives.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from examples.card_fraud import messages
from examples.card_fraud.to_folder import send_to_folder
from examples.card_fraud.to_kafka import TOPIC, KafkaTopic, send_to_kafka
from twinlake.cli.main import report
from twinlake.clock import now_us
from twinlake.errors import InputError
from twinlake.settings import load_settings

AT_ONCE: Final = 20_000
_TICK_S: Final = 0.01  # how often Kafka is sent what is due
_FILE_S: Final = 1.0  # how often a file is


def read(data: Path, limit: int | None = None) -> Iterator[pa.Table]:
    """Read transactions piece by piece; never all of them are in memory.

    Args:
        data: A Parquet file, or a folder of them.
        limit: How many at most.

    Raises:
        InputError: There is none, or one that does not fit.
    """
    files = sorted(data.glob("*.parquet")) if data.is_dir() else [data]
    if not files or not all(file.is_file() for file in files):
        raise InputError(
            f"there are no transactions in {data}",
            hint="python -m examples.card_fraud.generator makes some",
        )
    left = limit
    for file in files:
        try:
            with pq.ParquetFile(file) as opened:
                for batch in opened.iter_batches(batch_size=AT_ONCE):
                    piece = pa.Table.from_batches([batch])
                    piece = piece if left is None else piece.slice(0, left)
                    if len(piece):
                        yield messages.conform(piece)
                    left = None if left is None else left - len(piece)
                    if left == 0:
                        return
        except pa.ArrowInvalid as error:
            raise InputError(f"{file} cannot be read as Parquet: {error}") from error


def paced(
    pieces: Iterable[pa.Table],
    rate: float | None,
    tick_s: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[pa.Table]:
    """Cut pieces so that each comes when it is due.

    A receiver that was slow is caught up with, so that over any longer time the rate holds.

    Args:
        pieces: What there is, in its order.
        rate: Rows a second; none: all at once, as they come.
        tick_s: How long to wait at least between two pieces.
        now: A clock that counts seconds.
        sleep: What waits.
    """
    if rate is None:
        yield from pieces
        return
    began, given = now(), 0
    for piece in pieces:
        at = 0
        while at < len(piece):
            passed = now() - began
            due = int(passed * rate) - given
            if due < 1:
                sleep(max(tick_s, (given + 1) / rate - passed))
                continue
            part = piece.slice(at, due)
            yield part
            at, given = at + len(part), given + len(part)
            if at < len(piece):
                sleep(tick_s)


def live(pieces: Iterable[pa.Table], moment_us: Callable[[], int]) -> Iterator[pa.Table]:
    """Let every transaction happen now, under an id of this run."""
    run = f"-{moment_us():x}"
    for piece in pieces:
        moments = pa.array([moment_us()] * len(piece), messages.SENT.field("trans_ts").type)
        ids = pc.binary_join_element_wise(piece["tid"], run, "")
        for name, column in (("trans_ts", moments), ("tid", ids)):
            piece = piece.set_column(messages.SENT.get_field_index(name), name, column)  # noqa: PLW2901
        yield piece


def _bootstrap(env: str) -> str:
    """The Kafka of an environment."""
    settings = load_settings(Path(__file__).parent, env, environ=os.environ)
    if not settings.stream_bootstrap:
        raise InputError(
            f"the environment {env} has no Kafka",
            hint="choose another with --env, set TWINLAKE_STREAM_BOOTSTRAP, or send to a --folder",
        )
    return ",".join(settings.stream_bootstrap)


@click.command(context_settings={"show_default": True})
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--folder", type=click.Path(path_type=Path), help="Send into files here.")
@click.option("--env", default="stack", help="Whose Kafka to send to, where no folder is given.")
@click.option("--topic", default=TOPIC)
@click.option("--partitions", type=click.IntRange(1), default=4, help="Of a topic that is made.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Transactions a second.")
@click.option("--limit", type=click.IntRange(1), help="How many transactions at most.")
@click.option("--live", "is_live", is_flag=True, help="Each happens when it is sent.")
def run(
    data: Path,
    folder: Path | None,
    env: str,
    topic: str,
    partitions: int,
    rate: float | None,
    limit: int | None,
    *,
    is_live: bool,
) -> None:
    """Send the transactions in DATA; one line of JSON says what was sent."""
    began = time.monotonic()
    pieces = paced(read(data, limit), rate, _FILE_S if folder is not None else _TICK_S)
    pieces = live(pieces, now_us) if is_live else pieces
    if folder is not None:
        sent, place = send_to_folder(pieces, folder), str(folder)
    else:
        target = KafkaTopic(_bootstrap(env), topic, partitions)
        sent, place = send_to_kafka(pieces, target), f"{topic} at {target.bootstrap}"
    seconds = time.monotonic() - began
    document = {"sent": sent, "to": place, "seconds": round(seconds, 2)}
    print(json.dumps(document | {"per_second": round(sent / seconds)}))


if __name__ == "__main__":
    raise SystemExit(report(run, as_json=False))
