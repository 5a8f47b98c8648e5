"""What a server logged is landed by a source like any other files, and can be learned from."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from fastapi.testclient import TestClient

from tests.spark.benches import Bench
from twinlake.definitions.times import parse_instant_us, to_datetime
from twinlake.flows.reading import read_service
from twinlake.serving.api import make_api
from twinlake.serving.options import serving_options

ORDERS = """
shopper = Entity("shopper", join_keys={"shopper_id": "bigint"})
orders = Source(
    "orders", schema="order_id string, shopper_id bigint, amount decimal(12,2), at timestamp",
    event_timestamp="at", event_id="order_id", batch=Files("in/orders.parquet"),
)
bought = FeatureView(
    "bought", entity=shopper, source=orders, ttl="90d", hop="1h",
    features=[Column("amount"), Aggregate("count", windows={"orders_7d": "7d"})],
)
buying = FeatureService("buying", features=[bought])
"""
SERVED = """
served = Source(
    "served",
    schema="served_id string, served_at timestamp, shopper_id bigint, amount decimal(12,2), "
    "orders_7d bigint, amount__status string",
    event_timestamp="served_at", event_id="served_id", batch=Files("SERVED"),
)
shown = FeatureView(
    "shown", entity=shopper, source=served, ttl="90d", hop="1h",
    features=[
        Column("amount", name="shown_amount"), Column("orders_7d", name="shown_orders"),
        Column("amount__status", name="shown_status"),
    ],
)
showing = FeatureService("showing", features=[shown])
"""
AT_US = parse_instant_us("2024-05-01")
SERVED_US = parse_instant_us("2024-05-02")
SCHEMA = pa.schema(
    {
        "order_id": pa.string(),
        "shopper_id": pa.int64(),
        "amount": pa.decimal128(12, 2),
        "at": pa.timestamp("us", "UTC"),
    }
)


def test_served_vectors_are_landed_and_learned_from(bench: Bench) -> None:
    bought = [
        {"order_id": f"o{n}", "shopper_id": n % 3, "amount": n + 1, "at": to_datetime(AT_US + n)}
        for n in range(9)
    ]
    bench.put("orders", bought, SCHEMA)
    bench.define(ORDERS).apply().materialize()
    settings = bench.project.settings
    options = replace(serving_options(settings, log_one_in=1), tokens=None)
    asked = {"service": "buying", "entities": [{"shopper_id": n} for n in (0, 1, 2, 7)]}
    with TestClient(make_api(settings, options, lambda: SERVED_US)) as client:
        told = client.post("/v1/features", json=asked).json()["answers"]
    assert [one["statuses"]["amount"] for one in told] == ["present"] * 3 + ["missing"]

    folder = settings.state / "served" / "buying"
    bench.define(ORDERS + SERVED.replace("SERVED", str(folder))).apply()
    done = bench.materialize("shown")
    assert done.landings["served"] is not None
    assert len(bench.events("served")) == 4
    assert not bench.materialize("shown").changed  # each file once
    with bench.open() as store_project:
        shown = read_service(store_project, "showing", [one["key"] for one in told])
    for one, seen in zip(told, shown, strict=True):
        value = seen.values["shown_amount"]
        assert (None if value is None else str(value)) == one["values"]["amount"]
        assert seen.values["shown_orders"] == one["values"]["orders_7d"]
        assert seen.values["shown_status"] == one["statuses"]["amount"]
