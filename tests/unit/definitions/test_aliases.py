"""One view joined under other names: what it is called, by what it is found, what can be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.definitions.shop import entity, service, shop, source, view
from twinlake import Column, FeatureService, Model, Request, on_demand
from twinlake.definitions.checks import check, find_problems
from twinlake.definitions.documents import from_document, to_document
from twinlake.definitions.fingerprints import service_fingerprint, view_fingerprint
from twinlake.definitions.loading import gather
from twinlake.definitions.resolution import on_demand_inputs, service_types, view_features
from twinlake.definitions.views import AliasedView
from twinlake.errors import InputError
from twinlake.flows.project import online_table
from twinlake.flows.stream_scoring import scored_source
from twinlake.lake.point_in_time import key_types


def giver(**keys: str) -> AliasedView:
    return view().joined_as("giver", **(keys or {"customer_id": "giver_id"}))


def gap(f: Any) -> Any:
    return {"gap": f["amount_7d"] - f["giver_amount_7d"]}


GAP = on_demand(
    inputs=[view().select("amount_7d"), giver().select("giver_amount_7d")],
    outputs={"gap": "double"},
)(gap)


def both(**changes: Any) -> FeatureService:
    taken = [view().select("amount_7d"), giver().select("giver_amount_7d", "giver_paid")]
    return FeatureService(**({"name": "ranking", "features": taken} | changes))


def told(item: FeatureService) -> list[str]:
    return [str(problem) for problem in find_problems(shop(item))]


def test_an_alias_has_names_of_its_own_and_is_stored_once() -> None:
    alias = giver()
    assert alias.name == "giver"
    assert alias.entity.join_keys == {"giver_id": "bigint", "region": "string"}
    assert [f.name for f in view_features(alias)] == [
        f"giver_{f.name}" for f in view_features(view())
    ]
    assert [f.type for f in view_features(alias)] == [f.type for f in view_features(view())]
    assert alias.stored == view()
    assert view_fingerprint(alias) == view_fingerprint(view())
    assert online_table(alias) == online_table(view())
    assert key_types(alias) == {"giver_id": "bigint", "region": "string"}
    assert alias.joined_as("other").stored == view()


def test_a_service_of_both_needs_the_view_once() -> None:
    taken = both(features=[*both().features, GAP])
    check(shop(taken))
    assert taken.feature_names() == ["amount_7d", "giver_amount_7d", "giver_paid", "gap"]
    assert [read.name for read, _ in taken.needed()] == ["customer_orders", "giver"]
    assert taken.views() == [view()]
    assert service_types(taken)["giver_paid"] == "boolean"
    assert on_demand_inputs(GAP) == {"amount_7d": "double", "giver_amount_7d": "double"}
    assert list(gather({"taken": taken}).views) == ["customer_orders"]
    assert list(gather({"taken": taken}).entities) == ["customer"]


def test_the_registry_gives_aliases_back() -> None:
    before = shop(both(features=[*both().features, GAP]))
    after = from_document(to_document(before))
    assert to_document(after) == to_document(before)
    assert [v for v, _ in after.services["ranking"].needed()] == [view(), giver()]


@pytest.mark.parametrize(
    "other",
    [
        giver(customer_id="other_id"),
        giver(customer_id="giver_id", region="giver_region"),
        view(ttl="61d").joined_as("giver", customer_id="giver_id"),
    ],
)
def test_by_what_it_is_found_is_part_of_the_meaning(other: AliasedView) -> None:
    changed = both(features=[view().select("amount_7d"), other.select("giver_amount_7d")])
    same = both(features=[view().select("amount_7d"), giver().select("giver_amount_7d")])
    assert service_fingerprint(changed) != service_fingerprint(same)
    assert service_fingerprint(same) == service_fingerprint(
        both(features=[view().select("amount_7d"), giver().select("giver_amount_7d")])
    )


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        ([giver(nobody="x")], "has no join key 'nobody'"),
        ([giver(customer_id="region")], "takes two join keys from one column"),
        ([giver(customer_id="event_timestamp")], "is a reserved name"),
        ([giver(customer_id="drop table")], "'drop table' is no safe name"),
        ([view().joined_as("Giver!")], "'Giver!' is no safe name"),
        ([giver().select("amount_7d")], "has no feature 'amount_7d'"),
        ([giver(), giver(customer_id="x").select("giver_paid")], "taken in two ways"),
        ([giver(), view().joined_as("x", region="giver_id")], "is a bigint for one view and a str"),
        ([view().joined_as("customer_orders", customer_id="x"), view()], "taken in two ways"),
    ],
)
def test_what_is_wrong_with_an_alias_is_told(features: list[Any], problem: str) -> None:
    assert any(problem in line for line in told(both(features=features))), told(
        both(features=features)
    )


def test_a_stream_does_not_score_by_another_name() -> None:
    model = Model("judge", service=both(), label="bad")
    with pytest.raises(InputError, match="customer_orders joined as giver"):
        scored_source(model)
    assert scored_source(Model("judge", service=service(), label="bad")) == source()


@pytest.mark.parametrize("name", ["state", "valid_until_us", "write_us", "row_version"])
def test_what_stores_keep_for_themselves_leaves_words_free(name: str) -> None:
    check(shop(service(features=[view(features=[Column("region", name=name)])])))


@pytest.mark.parametrize("name", ["version", "row", "side", "event_us", "event_timestamp"])
def test_a_key_is_not_called_like_what_stands_beside_keys(name: str) -> None:
    renamed = source(schema=f"order_id string, {name} bigint, day date, amount double")
    keyed = view(
        entity=entity(join_keys={name: "bigint"}),
        source=source(schema=renamed.schema, with_columns={}, event_timestamp="day"),
        features=[Column("amount")],
    )
    assert any("is a reserved name" in line for line in told(both(features=[keyed])))


def test_request_fields_do_not_take_the_name_of_an_alias_key() -> None:
    asking = on_demand(
        inputs=[giver().select("giver_amount_7d"), Request(giver_id="bigint")],
        outputs={"gap": "double"},
    )(gap)
    assert any("is the name of a join key" in line for line in told(both(features=[asking])))
