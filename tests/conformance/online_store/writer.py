"""A second writing process: ``python -m tests.conformance.online_store.writer STORE LOCATION ...``.

``compete SEED`` writes the keys of METERS in its own order; ``endless SIZE`` writes them until it
is killed and prints a line per thousand rows.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator

from tests.conformance.online_store.samples import METERS, meter
from tests.conformance.online_store.stores import STORES
from twinlake.online.store import OnlineRow

HOMES = [f"home{number}" for number in range(200)]
ROUNDS = range(1, 31)


def competing(seed: int) -> list[list[OnlineRow]]:
    """Batches in which every home comes with every round of this seed, shuffled."""
    rows = [meter(home, number * 1000 + seed) for home in HOMES for number in ROUNDS]
    random.Random(seed).shuffle(rows)
    return [rows[start : start + 100] for start in range(0, len(rows), 100)]


def endless(size: int) -> Iterator[OnlineRow]:
    for number in itertools.count():
        if number % 1000 == 0:
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
        yield meter(f"home{number}", 2000, size=size)


def main(name: str, location: str, what: str, argument: str) -> None:
    with STORES[name].opener(location) as store:
        if what == "compete":
            for batch in competing(int(argument)):
                store.write(METERS, batch)
        else:
            store.write(METERS, endless(int(argument)))


if __name__ == "__main__":
    main(*sys.argv[1:])
