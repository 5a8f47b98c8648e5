"""Fingerprints change when the meaning changes, and only then."""

from __future__ import annotations

import pytest

from tests.unit.definitions.shop import SCHEMA, entity, service, source, view, with_stream
from twinlake import Aggregate, Column, Derived, Expectation, FeatureView, Files, Source
from twinlake.definitions.fingerprints import (
    normal_sql,
    service_fingerprint,
    source_fingerprint,
    view_fingerprint,
)


def derived(**changes: Derived) -> Source:
    return source(with_columns={**source().with_columns, **changes})


def features(*added: Column | Aggregate, without: int | None = None) -> FeatureView:
    kept = [item for number, item in enumerate(view().features) if number != without]
    return view(features=[*kept, *added])


LOOSE = Expectation("expect_column_values_to_be_between", column="amount", min_value=-1)
SAME = {
    "description": view(description="What they bought"),
    "owner": view(owner="shop"),
    "publish": view(publish="stream"),
    "path": view(source=source(batch=Files("elsewhere/", format="csv"))),
    "stream": view(source=with_stream()),
    "source description": view(source=source(description="Orders")),
    "entity name": view(entity=entity(name="buyer", description="Who buys")),
    "view name": view(name="renamed"),
    "spelling of a ttl": view(ttl="1440h"),
    "spelling of a hop": view(hop="24h"),
    "spelling of a window": features(
        Aggregate("sum", "amount", windows={"amount_30d": "720h", "amount_7d": "1w"}), without=2
    ),
    "spelling of a type": view(
        entity=entity(join_keys={"customer_id": "LONG", "region": "String"}),
        source=source(schema=SCHEMA.upper().replace("BIGINT", "long").lower()),
    ),
    "order of features": view(features=tuple(reversed(view().features))),
    "order of windows": features(
        Aggregate("sum", "amount", windows={"amount_7d": "7d", "amount_30d": "30d"}), without=2
    ),
    "an aggregate in two": features(
        Aggregate("sum", "amount", windows={"amount_7d": "7d"}),
        Aggregate("sum", "amount", windows={"amount_30d": "30d"}),
        without=2,
    ),
    "white space in SQL": view(source=derived(net=Derived("double", " amount\n /  1.2 "))),
    "an unused derived column": view(source=derived(unused=Derived("int", "7"))),
    "one more derived column": view(source=derived(more=Derived("int", "7"))),
    "a column's expectation": view(source=source(expectations=[LOOSE])),
    "max_ahead": view(source=source(max_ahead="2d")),
    "identity": view(source=source(event_id=None)),
}  # fmt: skip
OTHER = {
    "function": features(Aggregate("min", "gross", windows={"gross_max_7d": "7d"}), without=4),
    "column": features(Aggregate("max", "amount", windows={"gross_max_7d": "7d"}), without=4),
    "window": features(Aggregate("max", "gross", windows={"gross_max_7d": "8d"}), without=4),
    "feature name": features(Aggregate("max", "gross", windows={"gross_7d": "7d"}), without=4),
    "one feature more": features(Column("amount")),
    "one feature less": features(without=0),
    "hop": view(hop="12h"),
    "no hop": view(hop=None, max_events_per_key=10),
    "max_events_per_key": view(max_events_per_key=10),
    "ttl": view(ttl="61d"),
    "no ttl": view(ttl=None),
    "where": view(source=source(where="paid")),
    "derived SQL used": view(source=derived(gross=Derived("double", "net * 3"))),
    "derived SQL used by one used": view(source=derived(net=Derived("double", "amount / 1.1"))),
    "type of a derived column": view(source=derived(gross=Derived("float", "net * 2"))),
    "known": view(source=source(known="arrival")),
    "event timestamp": view(source=source(event_timestamp="shipped_at")),
    "how the event timestamp is derived": view(
        source=derived(ordered_at=Derived("timestamp", "date_add(day, 2)"))
    ),
    "type of a column": view(source=source(schema=SCHEMA.replace("amount double", "amount float"))),
    "join key": view(entity=entity(join_keys={"customer_id": "bigint"})),
    "order of join keys": view(
        entity=entity(join_keys={"region": "string", "customer_id": "bigint"})
    ),
    "source name": view(source=source(name="sales")),
}


@pytest.mark.parametrize("changed", SAME.values(), ids=SAME)
def test_what_changes_no_value_changes_no_fingerprint(changed: FeatureView) -> None:
    assert changed != view()
    assert view_fingerprint(changed) == view_fingerprint(view())


@pytest.mark.parametrize("changed", OTHER.values(), ids=OTHER)
def test_what_changes_a_value_changes_the_fingerprint(changed: FeatureView) -> None:
    assert view_fingerprint(changed) != view_fingerprint(view())


def test_all_meanings_differ() -> None:
    assert len({view_fingerprint(changed) for changed in OTHER.values()}) == len(OTHER)


def test_with_where_every_derived_column_may_matter() -> None:
    columns = dict(source().with_columns)
    before = view(source=source(where="unused > 3", with_columns=columns))
    columns = {**columns, "unused": Derived("int", "7")}
    after = view(source=source(where="unused > 3", with_columns=columns))
    assert view_fingerprint(before) != view_fingerprint(after)


def test_how_the_known_time_is_derived_matters() -> None:
    first, second = (
        view(source=derived(seen=Derived("timestamp", sql))) for sql in ("shipped_at", "ordered_at")
    )
    assert view_fingerprint(first) == view_fingerprint(second)
    first, second = (
        view(
            source=source(
                known="seen",
                with_columns={**source().with_columns, "seen": Derived("timestamp", sql)},
            )
        )
        for sql in ("shipped_at", "ordered_at")
    )
    assert view_fingerprint(first) != view_fingerprint(second)


SAME_SOURCE = {
    "description": source(description="Orders"),
    "path": source(batch=Files("elsewhere/")),
    "other names": source(
        event_id=("order_id", "day"),
        batch=Files("orders/", also_named={"region": "Region"}, may_lack=["region"]),
    ),
    "expectations on batches": source(
        event_id=("order_id", "day"),
        expectations=[
            *source().expectations,
            Expectation("expect_table_row_count_to_be_between", min_value=1),
            Expectation("expect_column_values_to_not_be_null", column="day", mostly=0.9),
        ],
    ),
    "order of the identity": source(event_id=("day", "order_id")),
    "where": source(event_id=("order_id", "day"), where="paid"),
}
OTHER_SOURCE = {
    "expectation": source(event_id=("order_id", "day"), expectations=[LOOSE]),
    "max_ahead": source(event_id=("order_id", "day"), max_ahead="2d"),
    "identity": source(event_id="order_id"),
    "known": source(event_id=("order_id", "day"), known="arrival"),
    "schema": source(event_id=("order_id", "day"), schema=SCHEMA + ", more int"),
    "derived": source(
        event_id=("order_id", "day"),
        with_columns=derived(unused=Derived("int", "7")).with_columns,
    ),
}


def test_what_decides_a_verdict_changes_the_source() -> None:
    base = source_fingerprint(source(event_id=("order_id", "day")))
    same = {
        name: source_fingerprint(changed) == base
        for name, changed in SAME_SOURCE.items()
        if changed.event_id_columns != ("order_id",)
    }
    assert same == dict.fromkeys(same, True)
    other = {name: source_fingerprint(changed) != base for name, changed in OTHER_SOURCE.items()}
    assert other == dict.fromkeys(other, True)
    assert source_fingerprint(source(description="x")) == source_fingerprint(source())


def test_a_service_means_its_features_in_order() -> None:
    base = service_fingerprint(service())
    assert service_fingerprint(service(description="Ranks")) == base
    assert service_fingerprint(service(name="other")) == base
    assert service_fingerprint(service(view=view(owner="shop"))) == base
    assert service_fingerprint(service(features=[view().select("paid", "amount_7d")])) != base
    assert service_fingerprint(service(features=[view()])) != base
    assert service_fingerprint(service(view=view(ttl="61d"))) != base


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("a  + b", " a + b\n", True),
        ("concat(a, '  ')", "concat(a, ' ')", False),
        ('concat(a, "x\ty")', 'concat(a, "x y")', False),
        ("`a  b` + 1", "`a b` + 1", False),
        ("x = 'it\\'s  so'", "x = 'it\\'s so'", False),
        ("'a'  || b", "'a' || b", True),
        ("A + b", "a + b", False),
    ],
)
def test_white_space_counts_inside_quotes_only(left: str, right: str, *, same: bool) -> None:
    assert (normal_sql(left) == normal_sql(right)) is same
