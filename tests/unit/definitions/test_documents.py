"""Definitions as documents: nothing is lost on the way, also through JSON."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from tests.unit.definitions.shop import entity, model, service, shop, source, view, with_stream
from twinlake import (
    Alert,
    Clock,
    DeltaTable,
    Entity,
    Expectation,
    FeatureService,
    FeatureView,
    Files,
    Kafka,
    Model,
    Quality,
    Source,
)
from twinlake.definitions.checks import check
from twinlake.definitions.documents import Definitions, from_document, to_document
from twinlake.definitions.fingerprints import (
    service_fingerprint,
    source_fingerprint,
    view_fingerprint,
)
from twinlake.definitions.loading import gather


def through_json(definitions: Definitions) -> Definitions:
    return from_document(json.loads(json.dumps(to_document(definitions))))


@pytest.mark.parametrize("read", [lambda d: from_document(to_document(d)), through_json])
def test_definitions_come_back_equal(read: object) -> None:
    assert callable(read)
    definitions = shop()
    check(definitions)
    back = read(definitions)
    assert back == definitions
    assert back.clock == Clock("data")
    assert back.views["customer_orders"].source is back.sources["orders"]


@pytest.mark.parametrize(
    "changed",
    [
        source(event_id=None),
        model(
            baselines={},
            classes=("a", "b", "c"),
            predicts="kind",
            folds=5,
            source=source(),
            quality=Quality(alerts=(Alert("low", "accuracy", below=0.5, windows=2),)),
        ),
        source(event_id=("order_id", "day"), where="amount > 0", max_ahead="2h"),
        source(known="shipped_at", description="All of them"),
        source(batch=Files("orders.csv", format="csv")),
        source(batch=Files("orders/", also_named={"region": "Area"})),
        source(batch=Files("orders/", may_lack=["region"])),
        with_stream(batch=None),
        view(ttl=None, hop=None, max_events_per_key=10, owner="shop"),
        view(source=with_stream(), publish="stream", topic="known_orders"),
        view(entity=entity(description="Who buys")),
        service(features=[view()]),
        model(rounds=5, test_fraction=0.5, description="A model", parameters={}),
        model(candidates={"slow": {"eta": 0.01, "rounds": 900}}),
        model(trained_from="2022-01-15", tested_from="2022-05-15"),
        model(threshold=0.25, parameters={"objective": "binary:logistic"}, baselines={}),
    ],
    ids=lambda item: f"{type(item).__name__}",
)
def test_every_attribute_is_in_the_document(changed: object) -> None:
    definitions = shop(changed)
    check(definitions)
    assert to_document(through_json(definitions)) == to_document(definitions)
    assert to_document(definitions) != to_document(shop(*_untouched(changed)))


@pytest.mark.parametrize(
    ("plural", "kind"),
    [
        ("entities", Entity),
        ("sources", Source),
        ("views", FeatureView),
        ("services", FeatureService),
        ("models", Model),
    ],
)
def test_no_attribute_is_left_out(plural: str, kind: type) -> None:
    (document,) = to_document(shop(model(quality=Quality())))[plural]
    assert set(document) == {attribute.name for attribute in fields(kind)}


@pytest.mark.parametrize(
    "changed",
    [
        source(max_ahead="2h", where="paid", known="arrival", description="x"),
        source(batch=Files("x.csv", "csv"), stream=Kafka("orders"), event_id=["day"]),
        entity(name="buyer", description="x"),
        view(ttl="90d", hop="12h", max_events_per_key=3, publish="batch", topic="t", owner="x"),
        view(source=source(stream=DeltaTable("orders")), publish="stream"),
        source(stream=Kafka("orders", times_in="ms", max_record_bytes=9)),
        model(rounds=5, test_fraction=0.5, label="y", spine_features=["a", "b"]),
        model(candidates={"slow": {"eta": 0.01, "rounds": 900}, "deep": {"max_depth": 9}}),
        model(trained_from="2022-01-15", tested_from="2022-05-15", threshold=0.25),
        model(decisions=("No", "Yes"), threshold=0.25),
    ],
    ids=lambda item: type(item).__name__,
)
def test_every_attribute_comes_back(changed: object) -> None:
    definitions = shop(changed)
    assert through_json(definitions) == definitions


def test_a_model_of_an_older_registry_has_no_candidates() -> None:
    document = to_document(shop())
    del document["models"][0]["candidates"], document["models"][0]["decisions"]
    assert from_document(document) == shop()


def _untouched(changed: object) -> list[object]:
    same: dict[str, object] = {"Source": source(), "FeatureView": view(), "Model": model()}
    return [same.get(type(changed).__name__, service())]


def test_order_is_kept() -> None:
    definitions = through_json(shop())
    names = [name for name, *_ in definitions.views["customer_orders"].declared()]
    assert names == [
        "last_price", "paid", "amount_30d", "amount_7d", "orders_7d", "gross_max_7d"
    ]  # fmt: skip
    assert list(definitions.entities["customer"].join_keys) == ["customer_id", "region"]
    (selected,) = definitions.services["ranking"].selections()
    assert selected[1] == ("amount_7d", "paid")


@pytest.mark.parametrize("values", [("b", "a"), ["b", "a"], {"b"}, frozenset({"1", "2"})])
def test_meaning_survives_the_registry(values: object) -> None:
    expectation = Expectation(
        "expect_column_values_to_be_in_set", column="order_id", value_set=values
    )
    one_string = model(service=service(view=view(source=source(expectations=[expectation]))))
    definitions = shop(one_string)
    check(definitions)
    back = through_json(definitions)
    assert back.sources["orders"].expectations == (expectation,)
    for name in ("sources", "views", "services"):
        fingerprint = {
            "sources": source_fingerprint,
            "views": view_fingerprint,
            "services": service_fingerprint,
        }[name]
        for key, item in getattr(definitions, name).items():
            assert fingerprint(getattr(back, name)[key]) == fingerprint(item)  # type: ignore[operator]


def test_what_is_referred_to_is_gathered_with_it() -> None:
    definitions = gather({"only": model(), "_n": 3, "Source": Source, "Model": Model})
    counts = [len(getattr(definitions, kind)) for kind in ("entities", "sources", "views")]
    assert counts == [1, 1, 1]
    assert list(definitions.services) == ["ranking"]
    assert definitions.clock == Clock("wall")
