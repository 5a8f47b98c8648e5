"""How long a killed stream takes to go on, with one and with five million past events.

python -m tests.bench.restart [--events 1000000 5000000] [--rounds 3]

Transactions of cards at one rate, one month of them for every million, landed by the stream itself.
Then a stream is killed between the landing of a batch and its publication, and the next one is
timed from the start of its process to the end of what it finishes and takes in.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

import twinlake
from examples.card_fraud import messages
from examples.card_fraud.generator import Extent, generate
from examples.card_fraud.to_folder import send_to_folder
from tests.bench.measuring import give, machine, say
from twinlake.flows import streaming
from twinlake.lake.streams import Limits

PROJECT = Path(twinlake.__file__).parents[1] / "examples" / "card_fraud"
FIRST = dt.date(2022, 1, 1)
PIECE = 100_000
VIEWS = ("card_activity", "card_history")


def transactions(events: int) -> pa.Table:
    """Make them, a month for every million, in the order of time."""
    days = 30 * events // 1_000_000
    extent = Extent(transactions=events, start=FIRST, end=FIRST + dt.timedelta(days=days))
    return messages.conform(generate(extent)).sort_by("trans_ts")


def past(state: Path, made: pa.Table) -> None:
    """Land and publish all but the last events by the stream itself, batch by batch."""
    pieces = [made.slice(at, PIECE) for at in range(0, len(made), PIECE)]
    with twinlake.open(PROJECT, state=state, tell=say) as store:
        store.apply()
        folder = store.project.places.topic("cctopic")
        send_to_folder(pieces, folder)
        streaming.stream(store.project, VIEWS, once=True, limits=Limits(files=1))


def start(state: Path, **environ: str) -> tuple[int, float]:
    """Start a stream that takes in what is there; its exit code, and how long it took."""
    command = [sys.executable, "-m", "twinlake.cli.main", "-C", PROJECT, "--state", state]
    began = time.monotonic()
    done = subprocess.run(
        [*map(str, command), "stream", *VIEWS, "--once"],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    if done.returncode not in (0, -signal.SIGKILL):
        sys.exit(done.stderr)
    return done.returncode, time.monotonic() - began


def measure(events: int, rounds: int) -> float:
    """Give the median time of a restart with so many past events."""
    made = transactions(events)
    kept = 1000 * 2 * rounds
    seconds = []
    with tempfile.TemporaryDirectory() as name:
        state = Path(name) / "state"
        past(state, made.slice(0, len(made) - kept))
        folder = state / "topics" / "cctopic"
        for number in range(rounds):
            for half in (0, 1):
                at = len(made) - kept + 1000 * (2 * number + half)
                send_to_folder([made.slice(at, 1000)], folder)
                point = {"TWINLAKE_CRASH_POINT": "streaming.written_down"} if half == 0 else {}
                code, took = start(state, **point)
                if (code == 0) != (half == 1):
                    sys.exit(f"the stream ended with {code}")
            seconds.append(took)
            say(f"  {events:,} past events: {took:.2f} s")
    return statistics.median(seconds)


def main() -> None:
    """Measure each size and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, nargs=2, default=(1_000_000, 5_000_000))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    few, many = (measure(events, options.rounds) for events in options.events)
    give({"machine": machine(), "events": options.events, "s": [few, many], "ratio": many / few})


if __name__ == "__main__":
    main()
