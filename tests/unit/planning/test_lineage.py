"""What depends on what, through aliases and functions; of what was built, only what is current."""

from __future__ import annotations

from typing import Any

from tests.unit.definitions.shop import model, service, shop, view
from twinlake import FeatureService, Request, on_demand
from twinlake.definitions.fingerprints import service_fingerprint
from twinlake.planning.explain import explain
from twinlake.planning.lineage import (
    Built,
    BuiltSet,
    Dependents,
    TrainedVersion,
    dependents,
    dependents_of_service,
)
from twinlake.planning.planner import Facts, build_plan


def shares_of(f: Any) -> Any:
    return {"share": f["amount"] / f["amount_7d"]}


SHARES = on_demand(
    inputs=[view().select("amount_7d"), Request(amount="double")], outputs={"share": "double"}
)(shares_of)
RANKING = service()  # amount_7d and paid
PRICED = FeatureService("priced", features=[view().select("last_price")])
SHARED = FeatureService("shared", features=[SHARES])
GIVEN = FeatureService(
    "given", features=[view().joined_as("giver", customer_id="giver_id").select("giver_paid")]
)
SHOP = shop(RANKING, PRICED, SHARED, GIVEN, model(service=RANKING))
BUILT = Built(
    [
        BuiltSet("ranking__now", "ranking", service_fingerprint(RANKING)),
        BuiltSet("ranking__before", "ranking", "an older meaning"),
        BuiltSet("priced__now", "priced", service_fingerprint(PRICED)),
    ],
    [
        TrainedVersion(model().name, 1, "ranking__before"),
        TrainedVersion(model().name, 2, "ranking__now"),
    ],
)


def services(view_name: str, *features: str) -> set[str]:
    return set(dependents(SHOP, BUILT, view_name, set(features) or None).services)


def test_a_feature_is_followed_through_functions_and_other_names() -> None:
    assert services("customer_orders") == {"ranking", "priced", "shared", "given"}
    assert services("customer_orders", "amount_7d") == {"ranking", "shared"}
    assert services("customer_orders", "paid") == {"ranking", "given"}
    assert services("customer_orders", "orders_7d") == set()
    assert services("shares_of", "share") == {"shared"}
    assert dependents(SHOP, BUILT, "customer_orders", {"amount_7d"}).on_demand == ("shares_of",)
    assert dependents(SHOP, BUILT, "giver") == Dependents()


def test_what_was_built_with_an_older_meaning_breaks_no_more() -> None:
    found = dependents(SHOP, BUILT, "customer_orders", {"paid"})
    assert found.models == (model().name,)
    assert found.training_sets == ("ranking__now",)
    assert found.versions == (TrainedVersion(model().name, 2, "ranking__now"),)
    assert dependents_of_service(SHOP, BUILT, "given").were_built is False


def test_a_plan_says_what_was_built_with_what_changes() -> None:
    facts = Facts(built=BUILT)
    same = build_plan(SHOP, 1, SHOP, facts)
    assert same.affected == ()
    other = FeatureService("ranking", features=[view().select("paid", "amount_7d")])
    changed = build_plan(SHOP, 1, shop(other, PRICED, SHARED, GIVEN), facts)
    [affected] = changed.affected
    assert affected.service == "ranking"
    assert affected.training_sets == ("ranking__now",)
    assert affected.versions == ((model().name, 2),)
    assert f"ranking__now, model {model().name} version 2" in explain(changed)
    assert "Built with the old meaning" not in explain(same)


def test_a_change_of_the_source_reaches_them_too() -> None:
    from tests.unit.definitions.shop import source

    kept = source(where="amount > 1")
    changed = shop(service(view=view(source=kept)))
    plan = build_plan(SHOP, 1, changed, Facts(built=BUILT))
    assert {one.service for one in plan.affected} == {"ranking", "priced"}
