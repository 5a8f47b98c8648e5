"""A small shop, defined with everything that definitions offer; tests change one thing of it."""

from __future__ import annotations

from typing import Any

from twinlake import (
    Aggregate,
    Clock,
    Column,
    Derived,
    Entity,
    Expectation,
    FeatureService,
    FeatureView,
    Files,
    Kafka,
    Model,
    Source,
)
from twinlake.definitions.documents import Definitions
from twinlake.definitions.loading import gather

SCHEMA = (
    "order_id string, customer_id bigint, region string, amount double, price decimal(12,2), "
    "day date, paid boolean, shipped_at timestamp, picture binary"
)


def entity(**changes: Any) -> Entity:
    join_keys = {"customer_id": "bigint", "region": "string"}
    return Entity(**({"name": "customer", "join_keys": join_keys} | changes))


def source(**changes: Any) -> Source:
    told: dict[str, Any] = {
        "name": "orders",
        "schema": SCHEMA,
        "with_columns": {
            "ordered_at": Derived("timestamp", "date_add(day, 1)"),
            "gross": Derived("double", "net * 2"),
            "net": Derived("double", "amount / 1.2"),
            "unused": Derived("int", "length(order_id)"),
        },
        "event_timestamp": "ordered_at",
        "event_id": ["order_id"],
        "batch": Files("orders/"),
        "expectations": (
            Expectation("expect_column_values_to_be_between", column="amount", min_value=0),
        ),
    }
    return Source(**(told | changes))


def view(**changes: Any) -> FeatureView:
    told: dict[str, Any] = {
        "name": "customer_orders",
        "entity": entity(),
        "source": source(),
        "ttl": "60d",
        "hop": "1d",
        "features": (
            Column("price", name="last_price"),
            Column("paid"),
            Aggregate("sum", "amount", windows={"amount_30d": "30d", "amount_7d": "7d"}),
            Aggregate("count", windows={"orders_7d": "7d"}),
            Aggregate("max", "gross", windows={"gross_max_7d": "7d"}),
        ),
    }
    return FeatureView(**(told | changes))


def service(**changes: Any) -> FeatureService:
    orders: FeatureView = changes.pop("view", None) or view()
    told = {"name": "ranking", "features": (orders.select("amount_7d", "paid"),)}
    return FeatureService(**(told | changes))


def model(**changes: Any) -> Model:
    told: dict[str, Any] = {
        "name": "next_amount",
        "service": service(),
        "label": "amount_tomorrow",
        "spine_features": ["weekday"],
        "baselines": {"week": "amount_7d"},
        "parameters": {"eta": 0.1, "max_depth": 3},
    }
    return Model(**(told | changes))


def shop(*items: object) -> Definitions:
    """The definitions among the items and what they refer to; the whole shop without any."""
    told = items or (model(), Clock("data"))
    return gather({str(number): item for number, item in enumerate(told)})


def with_stream(**changes: Any) -> Source:
    return source(stream=Kafka("orders"), **changes)
