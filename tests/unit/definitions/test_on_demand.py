"""On-demand views as definitions: what a function is, and everything that can be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.definitions.shop import entity, service, shop, view
from twinlake import Aggregate, FeatureService, OnDemandView, Request, on_demand
from twinlake.definitions.checks import check, find_problems
from twinlake.definitions.documents import from_document, to_document
from twinlake.definitions.fingerprints import on_demand_fingerprint, service_fingerprint
from twinlake.definitions.functions import Function
from twinlake.definitions.loading import load
from twinlake.definitions.resolution import on_demand_inputs, service_types
from twinlake.errors import DefinitionError

SCALE = 2.0
UNFIXED = object()


def halved(x: float) -> float:
    """Divide by what the file says."""
    return x / SCALE


def ratios_of(f: Any) -> Any:
    """How this order compares."""
    return {"ratio": halved(f["amount"]) / f["amount_7d"], "big": f["amount"] > 100}


def ratios(run: Callable[..., Any] = ratios_of, **changes: Any) -> OnDemandView:
    told: dict[str, Any] = {
        "name": "ratios",
        "inputs": [view().select("amount_7d"), Request(amount="double")],
        "outputs": {"ratio": "double", "big": "boolean"},
    }
    return on_demand(**told | changes)(run)


def told(*items: object) -> list[str]:
    return [str(problem) for problem in find_problems(shop(*items))]


def test_a_service_knows_what_it_takes_needs_and_asks_for() -> None:
    taken = FeatureService(
        "ranking", [ratios().select("big"), view().select("paid"), ratios().select("ratio")]
    )
    check(shop(taken))
    assert taken.feature_names() == ["big", "paid", "ratio"]
    assert [(v.name, names) for v, names in taken.selections()] == [("customer_orders", ("paid",))]
    assert [(v.name, names) for v, names in taken.needed()] == [
        ("customer_orders", ("paid", "amount_7d"))
    ]
    assert taken.request_fields() == {"amount": "double"}
    assert service_types(taken) == {"big": "boolean", "paid": "boolean", "ratio": "double"}
    assert on_demand_inputs(ratios()) == {"amount_7d": "double", "amount": "double"}
    assert ratios().description == "How this order compares."
    assert taken.stored().feature_names() == ["paid", "amount_7d"]


def test_the_registry_gives_back_all_but_the_function() -> None:
    before = shop(service(features=[ratios(), view()]))
    after = from_document(to_document(before))
    assert to_document(after) == to_document(before)
    read, written = after.on_demand["ratios"], before.on_demand["ratios"]
    assert on_demand_fingerprint(read) == on_demand_fingerprint(written)
    names = after.services["ranking"].feature_names()
    assert names == before.services["ranking"].feature_names()
    with pytest.raises(ValueError, match="by its text only"):
        read.function.callable()


def test_documents_without_on_demand_views_are_read() -> None:
    document = to_document(shop())
    del document["on_demand"]
    assert from_document(document).on_demand == {}


FILE = """
import math
from twinlake import *
shopper = Entity("shopper", join_keys={{"k": "bigint"}})
orders = Source("orders", schema="k bigint, v double, at timestamp", event_timestamp="at",
                batch=Files("data"))
totals = FeatureView("totals", entity=shopper, source=orders, features=[Column("v")])
SCALE = {scale}
def halved(x):
    return x / {divisor}
@on_demand(inputs=[totals], outputs={{"r": "double"}})
def ratio(f: {hint}):
    {words}
    return {{"r": halved(f["v"]) * SCALE}}{comment}
"""
FINE = {"scale": "1", "divisor": "2", "hint": "object", "words": "'Old words.'", "comment": ""}


def fingerprint(folder: Path, **changes: str) -> str:
    (folder / "features.py").write_text(FILE.format(**FINE | changes))
    return on_demand_fingerprint(load(folder).on_demand["ratio"])


def test_a_fingerprint_changes_with_what_the_function_does_and_nothing_else(tmp_path: Path) -> None:
    fine = fingerprint(tmp_path)
    same = {"hint": "dict", "words": "'New words.'", "comment": "  # and why"}
    assert {fingerprint(tmp_path, **{name: text}) for name, text in same.items()} == {fine}
    other = {"scale": "2", "divisor": "3", "words": "f['v'] += 1"}
    assert fine not in {fingerprint(tmp_path, **{name: text}) for name, text in other.items()}


def test_meaning_counts_inputs_outputs_and_nulls() -> None:
    fine = on_demand_fingerprint(ratios())
    assert on_demand_fingerprint(ratios(description="x", owner="y")) == fine
    changed: list[dict[str, Any]] = [
        {"nulls": "pass"},
        {"outputs": {"ratio": "float", "big": "boolean"}},
        {"inputs": [view().select("amount_7d"), Request(amount="bigint")]},
    ]
    assert fine not in {on_demand_fingerprint(ratios(**change)) for change in changed}
    # What an input means is no matter of the function, but of every vector made with it.
    other = view(ttl="90d").select("amount_7d")
    moved = ratios(inputs=[other, Request(amount="double")])
    assert on_demand_fingerprint(moved) == fine
    first, second = (FeatureService("s", [item]) for item in (ratios(), moved))
    assert service_fingerprint(first) != service_fingerprint(second)


def reads_a_module(f: Any) -> Any:
    return {"ratio": math.pi * f["amount"]}


def reads_what_may_change(f: Any) -> Any:
    return {"ratio": UNFIXED, "big": f}


def reads_nothing_there(f: Any) -> Any:
    return {"ratio": nowhere(f)}  # type: ignore[name-defined]  # noqa: F821


def test_a_function_may_read_modules_and_constants() -> None:
    assert Function.of(reads_a_module).code["math"] == "module math"
    code = Function.of(ratios_of).code
    assert (list(code), code["SCALE"]) == (["ratios_of", "halved", "SCALE"], "2.0")

    def inner(f: Any, scale: float = SCALE) -> Any:
        return f * limit * scale

    limit = 3
    assert Function.of(inner).code["limit"] == "3"
    assert Function.of(inner).code["inner defaults"] == "2.0"


BAD: dict[str, tuple[OnDemandView, str]] = {
    "lambda": (ratios(lambda f: f), "a lambda has no text of its own"),
    "no function": (ratios(max), "a builtin_function_or_method is no function"),
    "object": (ratios(reads_what_may_change), "reads UNFIXED, a object"),
    "undefined": (ratios(reads_nothing_there), "reads nowhere, which the file does not define"),
    "unknown feature": (
        ratios(inputs=[view().select("amount_8d")]), "has no feature 'amount_8d'"
    ),
    "no inputs": (ratios(inputs=[]), "has no inputs"),
    "no outputs": (ratios(outputs={}), "has no outputs"),
    "on demand of on demand": (ratios(inputs=[ratios(name="others")]), "reads another on-demand"),
    "name of a view": (ratios(name="customer_orders"), "has the name of a feature view"),
    "unsafe name": (ratios(name="Ratios"), "is no safe name"),
    "nulls": (ratios(nulls="drop"), "'drop' is unknown"),
    "output type": (ratios(outputs={"ratio": "decimal(4,2)"}), "a function cannot give a decimal"),
    "no type": (ratios(outputs={"ratio": "number"}), "is not a type twinlake knows"),
    "output is an input": (ratios(outputs={"amount": "double"}), "is the name of an input"),
    "output is a key": (ratios(outputs={"region": "double"}), "join key or reserved"),
    "output is reserved": (ratios(outputs={"event_timestamp": "double"}), "join key or reserved"),
    "input twice": (
        ratios(inputs=[view().select("paid"), Request(paid="boolean")]), "input paid: is there 2"
    ),
    "request is a key": (ratios(inputs=[view(), Request(region="string")]), "join key or reserved"),
    "request type": (
        ratios(inputs=[view(), Request(amount="float")]), "a float cannot come with a request"
    ),
    "no type at all": (ratios(inputs=[Request(amount=float)]), "give it as"),  # type: ignore[arg-type]
    "inputs of another kind": (ratios(inputs=[entity()]), "give it as"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_each_mistake_is_told_with_its_place(name: str) -> None:
    bad, found = BAD[name]
    lines = [line for line in told(bad, view()) if found in line]
    assert lines, told(bad, view())
    assert lines[0].startswith(f"on-demand view {bad.name}")
    assert "Hint: " in lines[0]


def test_all_mistakes_are_told_at_once() -> None:
    bad = ratios(lambda f: f, inputs=[view().select("x")], outputs={"event_timestamp": "blob"})
    with pytest.raises(DefinitionError) as caught:
        check(shop(bad, service(features=[view().select("y")])))
    found = "\n".join(map(str, caught.value.problems))
    for piece in ("lambda", "no feature 'x'", "reserved", "'blob' is not a type", "feature 'y'"):
        assert piece in found


def other_view() -> Any:
    return view(name="others", features=(Aggregate("sum", "amount", windows={"amount_7d": "1d"}),))


SERVICES: dict[str, tuple[list[Any], str]] = {
    "unknown feature": ([ratios().select("rate")], "has no feature 'rate'"),
    "twice": ([ratios(), ratios().select("big")], "feature big: is there 2 times"),
    "request is a feature": (
        [
            ratios(),
            view(name="v", features=(Aggregate("max", "amount", windows={"amount": "1d"}),)),
        ],
        "request field amount: is a feature",
    ),
    "read and taken": ([ratios(), other_view()], "is read on demand"),
    "read from two": (
        [ratios(), ratios(name="more", inputs=[other_view()], outputs={"x": "double"})],
        "is read on demand",
    ),
    "two types": (
        [ratios(), ratios(name="more", inputs=[Request(amount="int")], outputs={"x": "double"})],
        "is a double and a int",
    ),
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_must_not_mix_names_up(name: str) -> None:
    features, found = SERVICES[name]
    lines = told(service(features=features))
    assert any(found in line for line in lines), lines
