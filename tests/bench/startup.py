"""How long the command takes to answer without Spark.

python -m tests.bench.startup [--rounds 15]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.measuring import give, machine, race, say, table

CHECKOUT = Path(__file__).resolve().parents[2]
TWINLAKE = str(Path(sys.executable).with_name("twinlake"))


def command(*arguments: str) -> Callable[[], None]:
    """Give what runs a command to its end."""

    def run() -> None:
        subprocess.run(arguments, check=True, capture_output=True, cwd=CHECKOUT)

    return run


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        example = ("-C", "spark_jobs/examples/smart_meters", "--state", state)
        runs = {
            "python -c pass": command(sys.executable, "-c", "pass"),
            "twinlake --help": command(TWINLAKE, "--help"),
            "twinlake plan": command(TWINLAKE, *example, "plan"),
        }
        timings = race(runs, options.rounds)
    say(table("Starting", timings, "twinlake --help"))
    give({"machine": machine(), "seconds": {n: t.median for n, t in timings.items()}})


if __name__ == "__main__":
    main()
