"""A lender's project as it is after apply, materialize and train, without Spark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.unit.assurance.naive import Happened
from tests.unit.models.conftest import RECEIPT, START, TRAINING_SET
from tests.unit.online.meters import folded
from twinlake.definitions.documents import Definitions
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.loading import load
from twinlake.models.mlflow_session import tracking_store
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.tracking import Origin, log_training
from twinlake.models.train import train
from twinlake.online.opening import online_table
from twinlake.online.sqlite import SqliteStore
from twinlake.online.store import OnlineStore
from twinlake.registry.state import Landing, Landings, Publication, Publications, Registry
from twinlake.serving.options import ServingOptions, serving_options
from twinlake.settings import Settings, load_settings

FEATURES = '''
"""A lender."""
from twinlake import *

clock = Clock("2024-03-02")
area = Entity("area", join_keys={"zipcode": "bigint"})
person = Entity("person", join_keys={"person": "string"})
areas = Source(
    "areas",
    schema="zipcode bigint, city string, population bigint, wages decimal(12,2), at timestamp",
    event_timestamp="at", batch=Files("areas/"),
)
reports = Source(
    "reports", schema="person string, due bigint, at timestamp", event_timestamp="at",
    batch=Files("reports/"),
)
area_features = FeatureView(
    "area_features", entity=area, source=areas, ttl="3650d",
    features=[Column("city"), Column("population"), Column("wages")],
)
credit = FeatureView(
    "credit", entity=person, source=reports, ttl="30d", max_events_per_key=100,
    features=[Column("due"), Aggregate("count", windows={"reports_7d": "7d"})],
)

@on_demand(inputs=[credit.select("due"), Request(amount="bigint")], outputs={"debt": "double"},
           nulls="skip")
def debt(f):
    return {"debt": f["due"] * 1.0 + f["amount"]}

loan_features = FeatureService("loan_features", features=[area_features, credit, debt])
area_service = FeatureService("area_service", features=[area_features])
loans = Model(
    "loans", service=loan_features, label="fails", spine_features=["amount", "kind"],
    parameters={"objective": "binary:logistic"}, threshold=0.5,
)
'''

DAY_US = 86_400_000_000
AS_OF_US = int(dt.datetime(2024, 3, 2, tzinfo=dt.UTC).timestamp()) * 1_000_000
NEW_US = AS_OF_US - DAY_US
OLD_US = AS_OF_US - 40 * DAY_US
AREAS: Mapping[int, dict[str, Any]] = {
    76104: {"city": "FORT WORTH", "population": 10_534, "wages": Decimal("12.50")},
    10001: {"city": "NEW YORK", "population": None, "wages": None},
}
REPORTS: Mapping[str, tuple[int, int]] = {"ann": (NEW_US, 120), "bob": (OLD_US, 7)}


def make_project(folder: Path) -> Settings:
    """Leave what apply and materialize leave, as far as serving looks at it."""
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "features.py").write_text(FEATURES)
    settings = load_settings(project, environ={}, conf_dir=None)
    definitions = load(project)
    registry = Registry(settings.state)
    registry.write(registry.current(), definitions, 1)
    with SqliteStore(settings.online_path) as store:
        publish(settings, definitions, store)
    return settings


def publish(settings: Settings, definitions: Definitions, store: OnlineStore) -> None:
    """Write the online rows, and write down that they were published."""
    view, credit = definitions.views["area_features"], definitions.views["credit"]
    rows = {
        (zipcode,): [Happened(NEW_US, NEW_US, 1, dict(cells))] for zipcode, cells in AREAS.items()
    }
    reports = {(name,): [Happened(at, at, 1, {"due": due})] for name, (at, due) in REPORTS.items()}
    for each, happened in ((view, rows), (credit, reports)):
        table = online_table(each)
        store.create(table)
        made = folded(each, happened, AS_OF_US)
        store.write(table, [row._replace(known_us=row.event_us + 1_000_000) for row in made])
    for each in (view, credit):
        told = view_fingerprint(each)
        Publications(settings.state, each.name).write(
            Publication(1, told, 1, 0, AS_OF_US, 2, 0, 2, 1, superseding=False)
        )
        Landings(settings.state, each.source.name).finish(
            Landing(1, "b", [], NEW_US, newest_event_us=NEW_US, landed_us=AS_OF_US)
        )


def make_champion(settings: Settings, *, seed: int = 1, sign: float = 1.0) -> int:
    """Train a model of the project, and make it the champion; gives its version."""
    chance = np.random.default_rng(seed)
    count = 400
    kind = chance.integers(0, 2, count)
    amount = chance.integers(0, 1000, count)
    table = pa.table(
        {
            "event_timestamp": pa.array(np.arange(count) * DAY_US, pa.timestamp("us", "UTC")),
            "population": chance.normal(1000, 10, count),
            "debt": amount + 100.0,
            "amount": amount,
            "kind": pa.array([["rent", "own"][each] for each in kind]),
            "fails": sign * (amount - 500) > 0,
        }
    )
    recipe = TrainingRecipe(
        name="loans",
        label="fails",
        features=("population", "debt", "amount", "kind"),
        params={"objective": "binary:logistic", "max_depth": 3},
        rounds=5,
        threshold=0.5,
    )
    tracked = log_training(
        tracking_store(settings, "loans"),
        recipe,
        train(table, recipe, seed=seed, threads=1),
        Origin(RECEIPT, TRAINING_SET),
        started_at=START,
        finished_at=START,
        alias="champion",
    )
    return tracked.version


def options_of(settings: Settings, **told: Any) -> ServingOptions:
    """The options, without tokens unless they are asked for."""
    with_tokens = told.pop("with_tokens", False)
    made = serving_options(settings, **told)
    return made if with_tokens else replace(made, tokens=None)
