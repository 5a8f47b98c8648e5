"""Checks: every problem is found with its place, all at once, and nothing else is raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.definitions.shop import (
    SCHEMA,
    entity,
    model,
    service,
    shop,
    source,
    view,
    with_stream,
)
from twinlake import (
    Aggregate,
    Clock,
    Column,
    Derived,
    Expectation,
    Files,
    Model,
    Source,
)
from twinlake.definitions.checks import check, find_problems
from twinlake.definitions.expectations import BATCH_LEVEL, ROW_LEVEL
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.names import RESERVED_COLUMNS, RESERVED_PREFIXES
from twinlake.definitions.resolution import view_features
from twinlake.errors import DefinitionError, Problem
from twinlake.online.store import OnlineTable
from twinlake.online.values import RESERVED_PREFIX, check_name


def kinds(**changes: Any) -> Model:
    """A model of classes."""
    told = {"classes": ["a", "b", "c"], "baselines": {}}
    return model(**told | changes)


def problems_of(*items: object) -> list[Problem]:
    with pytest.raises(DefinitionError) as failure:
        check(shop(*items))
    return list(failure.value.problems)


def columns(**added: str) -> str:
    return ", ".join([SCHEMA, *(f"{name} {kind}" for name, kind in added.items())])


def features(*items: Column | Aggregate) -> Any:
    return view(features=items)


def expecting(kind: Any, **arguments: Any) -> Source:
    return source(expectations=[Expectation(kind, **arguments)])


def until(**changes: Any) -> Model:
    """A model whose split is at instants."""
    return model(**{"trained_from": "2022-05-15", "tested_from": "2022-05-15T00:00:01"} | changes)


def tried(**candidates: Any) -> Model:
    return model(candidates=candidates)


def classifier(**changes: Any) -> Model:
    told: dict[str, Any] = {"parameters": {"objective": "binary:logistic"}, "threshold": 0.25}
    return model(**told | {"baselines": {}} | changes)


BETWEEN = "expect_column_values_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"
MANY = Aggregate("sum", "amount", windows={f"sum_{days}d": f"{days}d" for days in range(1, 250)})
# What is wrong -> where it is, and a word of what is said of it.
PROBLEMS: dict[str, tuple[object, str, str]] = {
    "entity name": (entity(name="Customer"), "entity Customer", "no safe name"),
    "long name": (entity(name="c" * 49), f"entity {'c' * 49}", "no safe name"),
    "empty name": (source(name=""), "source ", "no safe name"),
    "no join keys": (entity(join_keys={}), "entity customer", "no join keys"),
    "join key name": (entity(join_keys={"Id": "int"}), "entity customer, join key Id", "no safe"),
    "join key reserved": (entity(join_keys={"version": "int"}), "join key version", "reserved"),
    "join key prefix": (entity(join_keys={"tl_id": "int"}), "join key tl_id", "prefix"),
    "join key type": (entity(join_keys={"id": "integr"}), "join key id", "not a type"),
    "join key double": (entity(join_keys={"id": "double"}), "join key id", "cannot be a key"),
    "join key kind": (entity(join_keys={"id": int}), "entity customer, join_keys", "class 'int'"),
    "source name": (source(name="my-orders"), "source my-orders", "no safe name"),
    "schema": (source(schema="id"), "source orders, schema", "'name type'"),
    "schema type": (source(schema="id text"), "source orders, schema", "not a type"),
    "derived type": (
        source(with_columns={"ordered_at": Derived("datetime", "day")}),
        "source orders, column ordered_at",
        "not a type",
    ),
    "column name": (source(schema=columns(_id="int")), "source orders, column _id", "no safe"),
    "column twice": (source(schema=columns(AMOUNT="int")), "column amount", "is there 2 times"),
    "event timestamp": (source(event_timestamp="at"), "orders, event_timestamp", "no column 'at'"),
    "event timestamp type": (source(event_timestamp="day"), "event_timestamp", "is a date"),
    "event id": (source(event_id="id"), "source orders, event_id", "no column 'id'"),
    "known": (source(known="seen_at"), "source orders, known", "no column 'seen_at'"),
    "known type": (source(known="day"), "source orders, known", "is a date"),
    "max_ahead": (source(max_ahead="soon"), "source orders, max_ahead", "not a duration"),
    "max_ahead kind": (source(max_ahead=None), "source orders, max_ahead", "is None"),
    "no path": (source(batch=None), "source orders", "neither in batch nor as a stream"),
    "format": (source(batch=Files("x", format="orc")), "source orders", "'orc' is unknown"),
    "two paths": (with_stream(event_id=None), "source orders", "two paths but no event_id"),
    "batch kind": (source(batch="orders/"), "source orders, batch", "is 'orders/'"),
    "derived kind": (source(with_columns={"a": "b"}), "orders, with_columns", "{'a': 'b'}"),
    "expectation kind": (source(expectations=["x"]), "orders, expectations", "is ['x']"),
    "expectation type kind": (expecting(5), "orders, expectations", "Expectation(5)"),
    "expectation": (expecting("expect_table_row_count"), "expect_table_row_count", "single rows"),
    "expectation share": (
        expecting(BETWEEN, column="amount", min_value=0, mostly=1),
        BETWEEN,
        "mostly is 1",
    ),
    "expectation share of a batch": (
        expecting("expect_table_row_count_to_equal", value=3, mostly=0.5),
        "expect_table_row_count_to_equal",
        "'mostly' is not supported",
    ),
    "expectation bounds": (expecting(BETWEEN, column="amount"), BETWEEN, "neither min_value"),
    "expectation swapped": (
        expecting(BETWEEN, column="amount", min_value=2, max_value=1),
        BETWEEN,
        "is above max_value",
    ),
    "expectation text bound": (
        expecting(BETWEEN, column="amount", min_value="1"),
        BETWEEN,
        "compares a double with '1'",
    ),
    "expectation number bound": (
        expecting(BETWEEN, column="region", min_value=1),
        BETWEEN,
        "no bounds for a string",
    ),
    "expectation bound of texts": (
        expecting(BETWEEN, column="region", min_value="a"),
        BETWEEN,
        "no bounds for a string",
    ),
    "expectation bound of dates": (
        expecting(BETWEEN, column="day", min_value="2014-02-30"),
        BETWEEN,
        "compares a date with '2014-02-30'",
    ),
    "expectation bound of times": (
        expecting(BETWEEN, column="ordered_at", max_value="soon"),
        BETWEEN,
        "compares a timestamp with 'soon'",
    ),
    "expectation set of dates": (
        expecting(IN_SET, column="day", value_set=["2014-02-28", "20140301"]),
        IN_SET,
        "value_set has '20140301' for a date",
    ),
    "expectation null in set": (
        expecting(IN_SET, column="region", value_set=["a", None]),
        IN_SET,
        "value_set has None",
    ),
    "expectation empty set": (expecting(IN_SET, column="region", value_set=[]), IN_SET, "is empty"),
    "expectation regex": (
        expecting("expect_column_values_to_match_regex", column="amount", regex="1"),
        "expect_column_values_to_match_regex",
        "reads a double",
    ),
    "expectation match_on": (
        expecting(
            "expect_column_values_to_match_regex_list",
            column="region",
            regex_list=["a"],
            match_on="some",
        ),
        "expect_column_values_to_match_regex_list",
        "match_on is 'some'",
    ),
    "expectation mean": (
        expecting("expect_column_mean_to_be_between", column="region", min_value=1),
        "expect_column_mean_to_be_between",
        "reads a string",
    ),
    "expectation max": (
        expecting("expect_column_max_to_be_between", column="shipped_at", min_value="2024-01-01"),
        "expect_column_max_to_be_between",
        "reads a timestamp",
    ),
    "expectation pair": (
        expecting("expect_column_pair_values_to_be_equal", column_A="amount", column_B="region"),
        "expect_column_pair_values_to_be_equal",
        "compares double, string",
    ),
    "expectation compound": (
        expecting("expect_compound_columns_to_be_unique", column_list=["region", "regin"]),
        "expect_compound_columns_to_be_unique",
        "no column 'regin'",
    ),
    "expectation binary": (
        expecting(IN_SET, column="picture", value_set=["a"]),
        IN_SET,
        "binary",
    ),
    "other name of no column": (
        source(batch=Files("orders/", also_named={"regoin": "Region"})),
        "source orders, also_named regoin",
        "no column 'regoin'",
    ),
    "other name that is a column": (
        source(batch=Files("orders/", also_named={"region": "day"})),
        "source orders, also_named region",
        "'day' is a column itself",
    ),
    "no column to lack": (
        source(batch=Files("orders/", may_lack=["regoin"])),
        "source orders, may_lack regoin",
        "no column 'regoin'",
    ),
    "other names alike": (
        source(batch=Files("orders/", also_named={"region": "X", "day": "X"})),
        "source orders, also_named day",
        "stands for two columns",
    ),
    "expectation lacks": (
        expecting(IN_SET, column="day"),
        IN_SET,
        "lacks the argument 'value_set'",
    ),
    "expectation argument": (expecting(BETWEEN, column="amount", low=1), BETWEEN, "'low' is not"),
    "expectation column": (expecting(BETWEEN, column="amout"), BETWEEN, "no column 'amout'"),
    "expectation columns": (expecting(BETWEEN, column=["amount"]), BETWEEN, "column is ['amount']"),
    "expectation set": (expecting(IN_SET, column="region", value_set="ab"), IN_SET, "is 'ab'"),
    "expectation value": (
        expecting(BETWEEN, column="amount", min_value=object),
        BETWEEN,
        "min_value is <class 'object'>",
    ),
    "view name": (view(name="Orders"), "view Orders", "no safe name"),
    "view prefix": (view(name="sqlite_orders"), "view sqlite_orders", "prefix"),
    "no such key": (
        view(entity=entity(join_keys={"client": "int"})),
        "view customer_orders, join key client",
        "source orders has no such column",
    ),
    "key of another type": (
        view(entity=entity(join_keys={"customer_id": "string"})),
        "view customer_orders, join key customer_id",
        "is a string in entity customer but a bigint in the source",
    ),
    "publish": (view(publish="daily"), "view customer_orders, publish", "'daily' is unknown"),
    "no features": (features(), "view customer_orders", "has no features"),
    "windows alone forgotten": (features(Aggregate("count")), "customer_orders", "no features"),
    "windows forgotten": (
        features(Column("amount"), Aggregate("sum", "price")),
        "view customer_orders",
        "sum of price has no windows",
    ),
    "count without windows": (
        features(Column("amount"), Aggregate("count", windows={})),
        "view customer_orders",
        "count of rows has no windows",
    ),
    "too many features": (
        view(features=[MANY], ttl=None),
        "view customer_orders",
        "has 249 features",
    ),
    "feature twice": (features(Column("paid"), Column("paid")), "feature paid", "2 times"),
    "feature name": (features(Column("paid", name="Paid")), "feature Paid", "no safe name"),
    "feature reserved": (
        features(Column("paid", name="event_timestamp")),
        "feature event_timestamp",
        "reserved",
    ),
    "feature is a key": (features(Column("region")), "feature region", "name of a join key"),
    "feature prefix": (features(Column("paid", name="tl_paid")), "feature tl_paid", "prefix"),
    "feature column": (features(Column("payed")), "feature payed", "no column 'payed'"),
    "feature binary": (features(Column("picture")), "feature picture", "binary"),
    "function": (features(Aggregate("median", "amount", {"m": "7d"})), "m", "function 'median'"),
    "function without column": (
        features(Aggregate("sum", None, {"s": "7d"})),
        "s",
        "needs a column",
    ),
    "sum of text": (features(Aggregate("sum", "region", {"s": "7d"})), "s", "sum of a string"),
    "max of dates": (features(Aggregate("max", "day", {"s": "7d"})), "feature s", "max of a date"),
    "window": (features(Aggregate("count", None, {"n": "week"})), "window", "not a duration"),
    "window of nothing": (
        features(Aggregate("count", None, {"n": ""})),
        "window",
        "not a duration",
    ),
    "empty window": (features(Aggregate("count", None, {"n": "0d"})), "window", "'0d' is empty"),
    "endless window": (
        features(Aggregate("count", None, {"n": "9" * 20 + "d"})),
        "window",
        "longer",
    ),
    "features kind": (view(features="amount"), "view customer_orders, features", "is 'amount'"),
    "feature kind": (view(features=["amount"]), "customer_orders, features", "is ['amount']"),
    "windows kind": (features(Aggregate("sum", "amount", windows="7d")), "features", "'7d'"),  # type: ignore[arg-type]
    "ttl": (view(ttl="long"), "view customer_orders, ttl", "not a duration"),
    "ttl kind": (view(ttl=7), "view customer_orders, ttl", "is 7"),
    "empty ttl": (view(ttl="0s"), "view customer_orders, ttl", "'0s' is empty"),
    "short ttl": (view(ttl="29d"), "customer_orders, ttl 29d", "the longest window, 30d"),
    "hop": (view(hop="daily"), "view customer_orders, hop", "not a duration"),
    "empty hop": (view(hop="0d"), "view customer_orders, hop", "'0d' is empty"),
    "hop that does not divide": (view(hop="3d"), "window 7d", "no whole number of hops of 3d"),
    "no bound": (view(hop=None), "view customer_orders", "neither hop nor max_events_per_key"),
    "max events": (view(hop=None, max_events_per_key=0), "max_events_per_key", "is 0"),
    "max events kind": (view(max_events_per_key=True), "max_events_per_key", "is True"),
    "entity kind": (view(entity="customer"), "view customer_orders, entity", "is 'customer'"),
    "source kind": (view(source=None), "view customer_orders, source", "is None"),
    "service name": (service(name="1st"), "service 1st", "no safe name"),
    "service feature": (
        service(features=[view().select("paid", "fee")]),
        "service ranking, view customer_orders",
        "no feature 'fee'",
    ),
    "empty service": (service(features=[]), "service ranking", "has no features"),
    "empty selection": (service(features=[view().select()]), "service ranking", "no features"),
    "service feature twice": (
        service(features=[view(), view().select("paid")]),
        "service ranking, feature paid",
        "is there 2 times",
    ),
    "service kind": (service(features=view()), "service ranking, features", "FeatureView"),
    "selection kind": (service(features=[view().select(7)]), "ranking, features", "Selection("),  # type: ignore[arg-type]
    "model name": (model(name="My model"), "model My model", "no safe name"),
    "baseline": (model(baselines={"month": "amount_90d"}), "baseline month", "'amount_90d'"),
    "label": (model(label="paid"), "spine column paid", "is a feature"),
    "spine feature": (model(spine_features=["paid"]), "spine column paid", "is a feature"),
    "test_fraction": (model(test_fraction=1), "model next_amount, test_fraction", "is 1"),
    "test_fraction kind": (model(test_fraction="a"), "next_amount, test_fraction", "is 'a'"),
    "trained_from": (until(trained_from="soon"), "next_amount, trained_from", "'soon' is not a"),
    "trained_from kind": (until(trained_from=7), "model next_amount, trained_from", "is 7"),
    "tested_from": (until(tested_from="May"), "model next_amount, tested_from", "'May' is not a"),
    "tested_from before": (
        until(trained_from="2022-05-15T02:00+01:00"),
        "model next_amount, tested_from",
        "not after trained_from",
    ),
    "trained_from alone": (until(tested_from=None), "trained_from", "without tested_from"),
    "two splits": (until(test_fraction=0.3), "test_fraction", "beside tested_from"),
    "threshold": (classifier(threshold=1.5), "model next_amount, threshold", "is 1.5"),
    "threshold of all": (classifier(threshold=0), "model next_amount, threshold", "is 0"),
    "threshold kind": (classifier(threshold="low"), "next_amount, threshold", "is 'low'"),
    "one decision": (classifier(decisions=["Yes"]), "next_amount, decisions", "are ['Yes']"),
    "no threshold": (classifier(threshold=None), "threshold", "not given for the objective"),
    "threshold of a number": (
        classifier(parameters={}),
        "model next_amount, threshold",
        "for the objective reg:squarederror",
    ),
    "threshold elsewhere": (
        classifier(parameters={"objective": "multi:softmax"}),
        "model next_amount, threshold",
        "for the objective multi:softmax",
    ),
    "baselines of a classifier": (
        classifier(baselines={"week": "amount_7d"}),
        "model next_amount, baselines",
        "gives probabilities",
    ),
    "one class": (kinds(classes=["a"]), "model next_amount, classes", "are ['a']"),
    "a class twice": (kinds(classes=["a", "b", "a"]), "model next_amount, classes", "are ['a'"),
    "no name": (kinds(classes=["a", "", "b"]), "model next_amount, classes", "one is empty"),
    "classes and numbers": (
        kinds(parameters={"objective": "reg:squarederror"}),
        "model next_amount, classes",
        "beside the objective reg:squarederror",
    ),
    "classes and a threshold": (
        kinds(threshold=0.5),
        "model next_amount, threshold",
        "beside classes",
    ),
    "no classes": (
        model(parameters={"objective": "multi:softprob"}),
        "model next_amount, classes",
        "are not given",
    ),
    "predicts of nothing": (model(predicts="kind"), "next_amount, predicts", "without classes"),
    "predicts": (kinds(predicts="a kind"), "model next_amount, predicts", "no safe name"),
    "predicts the label": (
        kinds(predicts="amount_tomorrow"),
        "model next_amount, predicts",
        "of another column",
    ),
    "folds": (model(folds=1), "model next_amount, folds", "is 1"),
    "folds and time": (until(folds=5), "model next_amount, folds", "held out"),
    "source of a model": (model(source="iris"), "model next_amount, source", "is 'iris'"),
    "rounds": (model(rounds=0), "model next_amount, rounds", "is 0"),
    "parameters": (model(parameters={"eta": [1]}), "next_amount, parameters", "[1]"),
    "reserved": (model(parameters={"seed": 1}), "model next_amount, parameters", "set seed"),
    "candidate name": (tried(**{"my way": {"eta": 1}}), "candidate my way", "no safe name"),
    "candidate taken": (tried(ridge={"eta": 1}), "candidate ridge", "always compared"),
    "empty candidate": (tried(a={}), "next_amount, candidate a", "changes nothing"),
    "objective": (tried(a={"objective": "reg:gamma"}), "candidate a", "sets the objective"),
    "reserved of a candidate": (tried(a={"n_jobs": 1}), "candidate a", "set n_jobs"),
    "rounds of a candidate": (tried(a={"rounds": 0}), "candidate a, rounds", "is 0"),
    "part of a round": (tried(a={"rounds": 1.5}), "candidate a, rounds", "is 1.5"),
    "candidate kind": (tried(a=["eta"]), "next_amount, candidates", "{'a': ['eta']}"),
    "parameter of a candidate": (tried(a={"eta": [1]}), "next_amount, candidates", "[1]"),
    "clock": (Clock("noon"), "clock", "'noon' is not a time"),
    "clock kind": (Clock(7), "clock, reading", "is 7"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("item", "place", "found"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_problem_has_its_place_and_a_hint(item: object, place: str, found: str) -> None:
    problems = problems_of(item)
    matching = [p for p in problems if p.place.endswith(place) and found in p.found]
    assert matching, problems
    assert all(problem.hint for problem in problems)
    assert len(problems) == 1, problems


def test_the_shop_has_no_problem() -> None:
    check(shop())
    check(shop(view(hop=None, max_events_per_key=1, source=with_stream()), Clock("2021-08-26")))
    check(shop(classifier(trained_from="2022-01-15", tested_from="2022-05-15T12:00Z")))
    check(shop(until(trained_from=None)))
    check(shop(tried(slow={"eta": 0.01, "rounds": 900}, deep={"max_depth": 9})))


def test_all_problems_are_told_at_once() -> None:
    broken = source(batch=Files("x", format="orc"), max_ahead="?")
    orders = view(source=broken, ttl="?", entity=entity(join_keys={"customer_id": "intt"}))
    told = problems_of(model(service=service(view=orders, name="?"), rounds=0), Clock("?"))
    assert [problem.place for problem in told] == [
        "entity customer, join key customer_id",
        "source orders, max_ahead",
        "source orders",
        "view customer_orders, ttl",
        "service ?",
        "model next_amount, rounds",
        "clock",
    ]
    text = str(DefinitionError(told))
    assert text.startswith("7 problems in the definitions:\n  1. entity customer, join key")
    assert text.count("Hint:") == 7


def test_a_broken_schema_hides_nothing_else_of_a_view() -> None:
    told = problems_of(view(source=source(schema="amount"), ttl="?", publish="daily"))
    places = [problem.place for problem in told]
    assert places == [
        "source orders, schema",
        "view customer_orders, publish",
        "view customer_orders, ttl",
    ]


def test_what_is_of_the_wrong_kind_does_not_hide_the_rest() -> None:
    told = problems_of(service(view=view(ttl=7)), entity(name="other", join_keys={}))
    assert sorted(problem.place for problem in told) == [
        "entity other",
        "view customer_orders, ttl",
    ]


def test_supported_expectations_pass() -> None:
    arguments = {
        "column": "amount", "column_A": "amount", "column_B": "net", "regex": "a+",
        "value_set": [1, 2], "min_value": 0, "max_value": 1.5, "or_equal": True,
        "strict_min": True, "strict_max": False, "regex_list": ["a"], "match_on": "all",
        "value": 3, "column_list": ["order_id", "region"],
    }  # fmt: skip
    for kind, (required, optional) in {**ROW_LEVEL, **BATCH_LEVEL}.items():
        given = {name: arguments[name] for name in required | optional}
        if "regex" in kind or "lengths" in kind:
            given["column"] = "region"
        expectation = Expectation(kind, **given)
        assert expectation.is_row_level == (kind in ROW_LEVEL)
        check(shop(source(expectations=[expectation])))
        if kind in ROW_LEVEL:
            shared = Expectation(kind, **given, mostly=0.9)
            assert not shared.is_row_level
            check(shop(source(expectations=[shared])))


@pytest.mark.parametrize("name", ["tl_x", "sqlite_x", "tlx", "x_tl_", "sqlite"])
def test_names_pass_that_an_online_store_takes(name: str) -> None:
    assert RESERVED_PREFIX in RESERVED_PREFIXES
    refused = False
    try:
        check_name("a column", name)
    except Exception:
        refused = True
    found = features(Column("paid", name=name))
    if refused:
        assert problems_of(found)
    else:
        check(shop(found))


WORDS = st.text(max_size=6) | st.sampled_from(
    ["paid", "amount", "7d", "1d", "int", "string", "tl_", "", *sorted(RESERVED_COLUMNS)[:2]]
)
ANYTHING: st.SearchStrategy[Any] = st.one_of(
    WORDS,
    st.none(),
    st.integers(),
    st.lists(WORDS, max_size=2),
    st.dictionaries(WORDS, WORDS, max_size=2),
)
# How a definition is made, what of it is made wrong, and what uses it.
WRONG: dict[str, tuple[Callable[..., Any], tuple[str, ...], Callable[[Any], Any]]] = {
    "entity": (entity, ("name", "join_keys", "description"), lambda e: view(entity=e)),
    "source": (
        source,
        (
            "name", "schema", "event_timestamp", "event_id", "known", "batch", "stream",
            "with_columns", "where", "expectations", "max_ahead",
        ),
        lambda s: view(source=s),
    ),
    "view": (
        view,
        ("name", "entity", "source", "features", "ttl", "hop", "max_events_per_key", "publish"),
        lambda v: service(features=[v, v.select("paid")]),
    ),
    "service": (service, ("name", "features"), lambda s: model(service=s)),
    "model": (
        model,
        (
            "name", "service", "label", "spine_features", "baselines", "parameters", "candidates",
            "rounds",
        ),
        lambda m: m,
    ),
}  # fmt: skip


def fully_told(problems: list[Problem]) -> bool:
    return all(problem.place and problem.found and problem.hint for problem in problems)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_wrong_definitions_raise_nothing(data: st.DataObject) -> None:
    make, names, user = WRONG[data.draw(st.sampled_from(sorted(WRONG)))]
    wrong = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))
    item = make(**{name: data.draw(ANYTHING) for name in wrong})
    assert fully_told(list(find_problems(shop(user(item)))))


@settings(max_examples=80)
@given(
    st.lists(
        st.builds(Column, WORDS, st.none() | WORDS)
        | st.builds(
            Aggregate,
            st.sampled_from(["sum", "count", "first", "mode"]) | WORDS,
            st.none() | WORDS,
            st.none() | st.dictionaries(WORDS, WORDS, max_size=2),
        ),
        max_size=3,
    ),
    st.none() | WORDS,
    st.none() | WORDS,
    st.dictionaries(WORDS, WORDS, max_size=2) | st.just(dict(entity().join_keys)),
)
def test_wrong_words_raise_nothing(
    items: list[Column | Aggregate], ttl: str | None, hop: str | None, keys: dict[str, str]
) -> None:
    orders = view(features=items, ttl=ttl, hop=hop, entity=entity(join_keys=keys))
    problems = list(find_problems(shop(orders)))
    assert fully_told(problems)
    if not problems:
        assert view_fingerprint(orders)
        OnlineTable("t", tuple(keys.items()), ())
        assert view_features(orders)
