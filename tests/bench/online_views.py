"""A view of 50 windowed features and its online rows, for benchmarks of reading."""

from __future__ import annotations

import random

from tests.unit.assurance.naive import Happened
from tests.unit.online.meters import folded
from twinlake import Aggregate, Entity, FeatureView, Files, Source
from twinlake.definitions.times import DAY_US
from twinlake.online.store import OnlineRow

DAYS = 120
AS_OF_US = DAYS * DAY_US
FUNCTIONS = ("sum", "mean", "min", "max", "last")
WINDOWS = (1, 2, 3, 5, 7, 14, 28, 56, 91, 112)
SOURCE = Source(
    "readings",
    schema="meter string, x double, at timestamp",
    event_timestamp="at",
    batch=Files("readings/"),
)
VIEW = FeatureView(
    "meter_readings",
    entity=Entity("meter", join_keys={"meter": "string"}),
    source=SOURCE,
    ttl="200d",
    hop="1d",
    features=[
        Aggregate(function, "x", windows={f"x_{function}_{days}d": f"{days}d" for days in WINDOWS})
        for function in FUNCTIONS
    ],
)


def view_rows(count: int) -> list[OnlineRow]:
    """The online rows of that many keys, each with an event a day."""
    chance = random.Random(1)
    happened = {
        (f"meter{number}",): [
            Happened(at := day * DAY_US - 5, at, day, {"x": chance.uniform(0, 50)})
            for day in range(1, DAYS + 1)
        ]
        for number in range(count)
    }
    return folded(VIEW, happened, AS_OF_US)
