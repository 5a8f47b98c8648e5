"""A plan: from what is applied, desired and stored to the steps of apply."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from tests.unit.definitions.shop import SCHEMA, entity, model, service, shop, source, view
from twinlake import Aggregate, Clock, Derived, Source
from twinlake.definitions.documents import Definitions, from_document, to_document
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.times import DAY_US, MAX_US, MIN_US, Interval
from twinlake.definitions.types import Field
from twinlake.errors import DefinitionError
from twinlake.planning.explain import describe, explain
from twinlake.planning.planner import Facts, SourceFacts, ViewFacts, build_plan, widens
from twinlake.planning.steps import (
    AddColumns,
    CreateEventsTable,
    CreateViewTables,
    DropTables,
    Pending,
    Recompute,
    Register,
    Step,
    Unregister,
)

NOTHING = Definitions()
EVER = Interval()
APPLIED = shop()
# Everything there, two batches landed, both folded.
SOURCE_THERE = SourceFacts(has_table=True, ingest_version=2, accepted_rows={1: 100, 2: 10})
VIEW_THERE = ViewFacts(
    has_tables=True, covered_until_us=MAX_US, events_version=2, applied_covered=EVER
)
THERE = Facts({"orders": SOURCE_THERE}, {"customer_orders": VIEW_THERE})


def stored(definitions: Definitions) -> Definitions:
    """As the registry gives them back."""
    return from_document(json.loads(json.dumps(to_document(definitions))))


def facts(source_changes: dict[str, Any] | None = None, **view_changes: Any) -> Facts:
    return Facts(
        {"orders": replace(SOURCE_THERE, **(source_changes or {}))},
        {"customer_orders": replace(VIEW_THERE, **view_changes)},
    )


def table_of(definitions: Definitions) -> str:
    fingerprint = view_fingerprint(definitions.views["customer_orders"])
    return f"customer_orders__{fingerprint[:8]}"


def with_view(**changes: Any) -> Definitions:
    return shop(model(service=service(view=view(**changes))), Clock("data"))


def with_source(**changes: Any) -> Definitions:
    return with_view(source=source(**changes))


def steps(desired: Definitions, known: Facts = THERE, applied: Definitions = APPLIED) -> list[Step]:
    return list(build_plan(stored(applied), 3, desired, known).steps)


def test_from_nothing_everything_is_made() -> None:
    plan = build_plan(NOTHING, 0, APPLIED, Facts())
    table = table_of(APPLIED)
    assert plan.steps == (
        Register("entity", "customer", True, True),
        Register("source", "orders", True, True),
        Register("view", "customer_orders", True, True),
        Register("service", "ranking", True, True),
        Register("model", "next_amount", True, True),
        Register("clock", "data", True, True),
        CreateEventsTable("orders"),
        CreateViewTables("customer_orders", table),
    )
    assert plan.changes
    assert plan.pending == ()


def test_no_change_means_no_step() -> None:
    plan = build_plan(stored(APPLIED), 3, APPLIED, THERE)
    assert (plan.steps, plan.pending, plan.changes) == ((), (), False)
    assert explain(plan) == "Nothing to apply; definitions are those of registry version 3.\n"


# What is changed in its text only -> what is registered anew.
TEXT: dict[str, tuple[Definitions, list[tuple[str, str]]]] = {
    "description": (with_view(description="x"), [("view", "customer_orders")]),
    "owner": (with_view(owner="x"), [("view", "customer_orders")]),
    "publish": (with_view(publish="stream"), [("view", "customer_orders")]),
    "order of features": (
        with_view(features=tuple(reversed(view().features))),
        [("view", "customer_orders")],
    ),
    "spelling of a ttl": (with_view(ttl="1440h"), [("view", "customer_orders")]),
    "entity description": (
        with_view(entity=entity(description="x")),
        [("entity", "customer")],
    ),
    "source description": (with_source(description="x"), [("source", "orders")]),
    "service description": (
        shop(model(service=service(description="x")), Clock("data")),
        [("service", "ranking")],
    ),
    "model parameters": (
        shop(model(parameters={"eta": 0.2}), Clock("data")),
        [("model", "next_amount")],
    ),
    "model split": (
        shop(model(trained_from="2022-01-15", tested_from="2022-05-15"), Clock("data")),
        [("model", "next_amount")],
    ),
    "white space in the event timestamp": (
        with_source(
            with_columns=source().with_columns
            | {"ordered_at": Derived("TIMESTAMP", "date_add(day,  1)")}  # type: ignore[operator]
        ),
        [("source", "orders")],
    ),
}


@pytest.mark.parametrize(("desired", "registered"), TEXT.values(), ids=TEXT)
def test_a_change_of_text_makes_no_table(
    desired: Definitions, registered: list[tuple[str, str]]
) -> None:
    assert steps(desired) == [Register(kind, name, False, False) for kind, name in registered]


def test_a_threshold_is_part_of_what_a_model_says() -> None:
    changed = shop(model(threshold=0.25), Clock("data"))
    assert steps(changed) == [Register("model", "next_amount", False, True)]


def test_the_order_of_windows_is_registered() -> None:
    features = list(view().features)
    features[2] = Aggregate("sum", "amount", windows={"amount_7d": "7d", "amount_30d": "30d"})
    assert steps(with_view(features=features)) == [
        Register("view", "customer_orders", False, False)
    ]


def test_a_changed_meaning_is_computed_anew_where_it_was_published() -> None:
    desired = with_view(ttl="90d")
    table = table_of(desired)
    assert table != table_of(APPLIED)
    interval = Interval(DAY_US, 9 * DAY_US)
    known = facts(
        has_tables=False, covered_until_us=MIN_US, events_version=0, applied_covered=interval
    )
    plan = build_plan(stored(APPLIED), 3, desired, known)
    assert list(plan.steps) == [
        Register("view", "customer_orders", False, True),
        CreateViewTables("customer_orders", table),
        Recompute("customer_orders", table, interval, 110),
    ]


def test_a_changed_meaning_that_was_never_published_is_not_computed() -> None:
    known = facts(has_tables=False, covered_until_us=MIN_US, events_version=0, applied_covered=None)
    made = steps(with_view(ttl="90d"), known)
    assert [type(step) for step in made if not isinstance(step, Register)] == [CreateViewTables]


def test_what_was_computed_before_an_interrupted_apply_is_not_computed_again() -> None:
    known = facts(has_tables=True, covered_until_us=MAX_US, events_version=2)
    made = steps(with_view(ttl="90d"), known)
    assert made
    assert all(isinstance(step, Register) for step in made)


@pytest.mark.parametrize(
    "desired",
    [
        with_source(where="paid"),
        with_view(entity=entity(join_keys={"region": "string", "customer_id": "bigint"})),
        with_source(
            with_columns=source().with_columns | {"net": Derived("double", "amount")}  # type: ignore[operator]
        ),
    ],
    ids=["where", "order of join keys", "derived"],
)
def test_a_meaning_that_changes_from_afar_is_planned(desired: Definitions) -> None:
    known = facts(has_tables=False, covered_until_us=MIN_US, events_version=0)
    made = steps(desired, known)
    table = table_of(desired)
    assert CreateViewTables("customer_orders", table) in made
    assert Recompute("customer_orders", table, EVER, 110) in made
    assert isinstance(made[0], Register)
    assert made[0].changes_meaning


def test_an_expectation_changes_the_source_only() -> None:
    assert steps(with_source(expectations=())) == [Register("source", "orders", False, True)]


def test_what_is_removed_is_unregistered_and_keeps_its_tables() -> None:
    assert steps(shop(source(), Clock("data"))) == [
        Unregister("entity", "customer"),
        Unregister("view", "customer_orders"),
        Unregister("service", "ranking"),
        Unregister("model", "next_amount"),
    ]


def test_tables_of_no_definition_are_dropped_first() -> None:
    known = replace(THERE, leftover_tables=("old__00000000", "older__11111111"))
    assert steps(with_view(owner="x"), known) == [
        DropTables("old__00000000"),
        DropTables("older__11111111"),
        Register("view", "customer_orders", False, False),
    ]


def test_tables_that_are_lost_are_made_again() -> None:
    known = facts({"has_table": False}, has_tables=False)
    assert steps(APPLIED, known) == [
        CreateEventsTable("orders"),
        CreateViewTables("customer_orders", table_of(APPLIED)),
    ]


def test_another_clock_is_registered() -> None:
    assert steps(shop(model(), Clock("wall"))) == [Register("clock", "wall", False, True)]
    assert steps(shop(), Facts(), applied=NOTHING)[5] == Register("clock", "data", True, True)


def test_further_columns_are_added_and_no_view_changes() -> None:
    wider = with_source(schema="more int, " + SCHEMA + ", note string")
    assert steps(wider) == [
        Register("source", "orders", False, True),
        AddColumns("orders", (Field("more", "int"), Field("note", "string"))),
    ]
    told = explain(build_plan(stored(APPLIED), 3, wider, THERE))
    assert "+ columns  orders                       more int, note string: null in the rows" in told
    # What is not there yet is made with them.
    made = steps(wider, facts({"has_table": False}))
    assert CreateEventsTable("orders") in made
    assert not any(isinstance(step, AddColumns) for step in made)


@pytest.mark.parametrize(
    ("changed", "is_wider"),
    [
        (source(schema=SCHEMA + ", more int"), True),
        (source(), False),
        (source(description="x"), False),
        (source(schema=SCHEMA + ", more int", max_ahead="2d"), False),
        (source(schema=SCHEMA.replace("amount double", "amount float") + ", more int"), False),
        (source(schema=SCHEMA.replace("region string, ", "") + ", more int"), False),
    ],
)
def test_a_source_is_wider_by_columns_alone(changed: Source, is_wider: bool) -> None:
    assert widens(source(), changed) is is_wider


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (source(schema=SCHEMA.replace("region string, ", "")), "has a column region, which"),
        (
            source(schema=SCHEMA.replace("amount double", "amount float") + ", more int"),
            "column amount is double in its events table, not float",
        ),
        (source(event_timestamp="shipped_at"), "its event_timestamp changed from 'ordered_at'"),
        (source(event_id="day"), "its event_id_columns changed"),
        (source(known="shipped_at"), "its known changed from 'event'"),
        (
            source(
                with_columns=source().with_columns | {"ordered_at": Derived("timestamp", "day")}  # type: ignore[operator]
            ),
            "its event timestamp is derived otherwise",
        ),
    ],
)
def test_what_an_events_table_cannot_follow_is_refused(changed: Source, told: str) -> None:
    with pytest.raises(DefinitionError) as failure:
        steps(shop(changed))
    assert any(told in problem.found for problem in failure.value.problems)
    assert all(problem.place == "source orders" for problem in failure.value.problems)
    assert "--state" in failure.value.message


def test_a_known_time_that_is_derived_otherwise_is_refused() -> None:
    def seen(sql: str, base: str) -> Definitions:
        derived = {
            **source().with_columns,
            "seen_at": Derived("timestamp", sql),
            "base": Derived("timestamp", base),
        }
        return shop(source(known="seen_at", with_columns=derived))

    before = seen("base", "shipped_at")
    assert steps(seen(" base ", "shipped_at"), THERE, before) == [
        Register("source", "orders", False, False)
    ]
    for after in (seen("shipped_at", "shipped_at"), seen("base", "ordered_at")):
        with pytest.raises(DefinitionError, match="its known timestamp is derived otherwise"):
            steps(after, THERE, before)


def test_all_incompatible_sources_are_told_at_once() -> None:
    before = shop(source(), source(name="returns"))
    after = shop(source(known="arrival"), source(name="returns", event_id="day"))
    with pytest.raises(DefinitionError) as failure:
        steps(after, Facts(), before)
    assert [p.place for p in failure.value.problems] == ["source orders", "source returns"]


@pytest.mark.parametrize(
    ("known", "pending"),
    [
        (facts(events_version=1), Pending("customer_orders", EVER, 10, 0, 0)),
        (facts(events_version=0), Pending("customer_orders", EVER, 110, 0, 0)),
        (facts({"new_files": (5, 7)}), Pending("customer_orders", EVER, 0, 12, 2)),
        (facts({"new_files": (5, None)}), Pending("customer_orders", EVER, 0, None, 2)),
        (
            facts({"new_files": (5,)}, covered_until_us=DAY_US, events_version=1),
            Pending("customer_orders", Interval(DAY_US, MAX_US), 10, 5, 1),
        ),
        (
            facts({"new_files": (0,)}, covered_until_us=MIN_US, events_version=0),
            Pending("customer_orders", EVER, 110, 0, 1),
        ),
    ],
)
def test_what_materialize_would_do_is_pending(known: Facts, pending: Pending) -> None:
    plan = build_plan(stored(APPLIED), 3, APPLIED, known)
    assert plan.pending == (pending,)
    assert not plan.changes


def test_unpublished_rows_of_a_view_that_nobody_knows_are_pending() -> None:
    known = Facts({"orders": SourceFacts(new_files=(3,))})
    assert build_plan(NOTHING, 0, APPLIED, known).pending == (
        Pending("customer_orders", EVER, 0, 3, 1),
    )


EXPLAINED = """\
Against registry version 7, apply will:
  - tables   old__00000000                drop; no definition uses them
  + entity   customer                     register
  ~ source   orders                       change its text; no value changes
  ~ view     customer_orders              change, with another meaning
  - service  ranking                      unregister; its tables stay until the next apply
  + table    orders                       create the events table
  + tables   customer_orders__01234567    create, offline and online
  * tables   customer_orders__01234567    fill from events over (the beginning, \
1970-01-02T00:00:00Z], 1,234,567 rows
Not computed yet (materialize does it):
  customer_orders                       (1970-01-02T00:00:00Z, everything]: 1,000 landed rows to \
fold; 1 new file, 5 rows
  other_orders                          (the beginning, everything]: 2 new files, rows unknown
"""


def test_a_plan_is_explained_line_by_line() -> None:
    plan = build_plan(NOTHING, 7, NOTHING, Facts())
    table = "customer_orders__01234567"
    made = replace(
        plan,
        steps=(
            DropTables("old__00000000"),
            Register("entity", "customer", True, True),
            Register("source", "orders", False, False),
            Register("view", "customer_orders", False, True),
            Unregister("service", "ranking"),
            CreateEventsTable("orders"),
            CreateViewTables("customer_orders", table),
            Recompute("customer_orders", table, Interval(MIN_US, DAY_US), 1_234_567),
        ),
        pending=(
            Pending("customer_orders", Interval(DAY_US), 1_000, 5, 1),
            Pending("other_orders", EVER, 0, None, 2),
        ),
    )
    assert explain(made) == EXPLAINED
    for step in made.steps:
        assert describe(step) in EXPLAINED
    assert json.dumps([asdict(step) for step in made.steps])


def test_a_first_plan_is_explained_against_nothing() -> None:
    text = explain(build_plan(NOTHING, 0, APPLIED, Facts()))
    assert text.startswith("Against nothing yet, apply will:\n  + entity   customer")
    assert "+ clock    data" in text
    assert explain(build_plan(NOTHING, 0, NOTHING, Facts())) == (
        "Nothing to apply; definitions are those of nothing yet.\n"
    )
