"""Tables: created once, never changed, and named by nothing but safe identifiers."""

from __future__ import annotations

import pytest

from tests.conformance.online_store.samples import METERS, PAIRS, meter
from tests.conformance.online_store.stores import Subject
from twinlake.errors import InputError, StateError
from twinlake.online.store import OnlineRow, OnlineStore, OnlineTable

UNSAFE = [
    "",
    "A",
    "9a",
    "_a",
    'a"b',
    "a'b",
    "a`b",
    "a]b",
    "a;b",
    "a b",
    "a-b",
    "a.b",
    "a\n",
    "a\x00",
    "ä",
    "a\u0131",
    "a" * 49,
    'x" text); drop table meters; --',
    "tl_state",
    "tl_",
    "sqlite_master",
]
# fmt: off
RESERVED = [
    "select", "order", "from", "where", "group", "table", "index", "primary", "key", "values",
    "null", "and", "or", "not", "in", "is", "insert", "update", "delete", "set", "create",
    "drop", "limit", "token", "schema", "batch", "view", "using", "apply", "allow", "timestamp",
    "date", "state", "event_us", "write_us", "rowid", "oid", "excluded", "o", "wanted",
]
# fmt: on


def test_create_again_changes_nothing(subject: Subject, store: OnlineStore) -> None:
    store.write(METERS, [meter("a", 1)])
    store.create(METERS)
    with subject.open() as other:
        other.create(OnlineTable(METERS.name, METERS.keys, METERS.features))
    assert store.read(METERS, [("a",)]) == [meter("a", 1)]
    assert store.tables() == ["meters", "pairs"]


@pytest.mark.parametrize(
    ("keys", "features", "named"),
    [
        (METERS.keys, (*METERS.features, ("extra", "double")), "extra"),
        (METERS.keys, METERS.features[:2], "tariff"),
        (METERS.keys, (("total", "float"), *METERS.features[1:]), "total.*double.*float"),
        (METERS.keys, METERS.features[::-1], "order"),
        ((("home", "bigint"),), METERS.features, "home.*string.*bigint"),
        ((("home", "string"), ("day", "date")), METERS.features, "day"),
    ],
)
def test_changed_columns_are_refused_and_named(
    store: OnlineStore, keys: tuple, features: tuple, named: str
) -> None:
    store.write(METERS, [meter("a", 1)])
    changed = OnlineTable("meters", keys, features)
    with pytest.raises(StateError, match=named):
        store.create(changed)
    with pytest.raises(StateError, match=named):
        store.count(changed)
    assert store.read(METERS, [("a",)]) == [meter("a", 1)]


def test_drop_removes_rows_and_tombstones(store: OnlineStore) -> None:
    store.write(METERS, [meter("a", 1)])
    store.delete(METERS, [("b",)], 50)
    store.drop("meters")
    store.drop("meters")
    store.drop("never")
    assert store.tables() == ["pairs"]
    with pytest.raises(StateError, match="meters"):
        store.read(METERS, [("a",)])
    changed = OnlineTable("meters", METERS.keys, (("total", "decimal(12,2)"),))
    store.create(changed)
    assert store.count(changed) == 0
    store.drop("meters")
    store.create(METERS)
    store.write(METERS, [meter("b", 1)])
    assert store.read(METERS, [("a",), ("b",)]) == [None, meter("b", 1)]


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names_reach_no_statement(store: OnlineStore, name: str) -> None:
    before = store.tables()
    for table, keys, features in (
        (name, METERS.keys, METERS.features),
        ("fine", ((name, "string"),), ()),
        ("fine", METERS.keys, ((name, "double"),)),
    ):
        with pytest.raises(InputError, match="cannot name"):
            store.create(OnlineTable(table, keys, features))
    with pytest.raises(InputError, match="cannot name"):
        store.drop(name)
    assert store.tables() == before


@pytest.mark.parametrize("name", ["select", "order", "table", "a" * 48, "a__1_"])
def test_reserved_and_longest_names_work(store: OnlineStore, name: str) -> None:
    features = tuple((word, "string") for word in RESERVED if word != name)
    table = OnlineTable(name, ((name, "string"),), features)
    row = OnlineRow(("k",), tuple(word for word, _ in features), 1, 2, 3, b"s", 4)
    store.create(table)
    store.create(table)
    store.write(table, [row])
    assert store.read(table, [("k",), ("l",)]) == [row, None]
    assert list(store.scan(table)) == [row]
    assert store.delete(table, [("k",)], 5).applied == 1
    assert store.count(table) == 0
    store.purge(table, [("k",)])
    assert name in store.tables()
    store.drop(name)
    assert name not in store.tables()


@pytest.mark.parametrize(
    ("keys", "features", "named"),
    [
        ((), METERS.features, "no key"),
        (METERS.keys, (("home", "double"),), "two columns named 'home'"),
        ((("a", "string"), ("a", "string")), (), "two columns named 'a'"),
        ((("a", "double"),), (), "cannot be a double"),
        ((("a", "float"),), (), "cannot be a float"),
        *(
            (METERS.keys, (("x", kind),), "no type")
            for kind in (
                "text",
                "long",
                "decimal",
                "decimal(39,2)",
                "decimal(2,3)",
                "decimal(0,0)",
                "decimal(9, 2)",
                "array<int>",
                "Bigint",
                "",
                "int)",
                "double\n",
            )
        ),
    ],
)
def test_tables_that_do_not_hold_together(keys: tuple, features: tuple, named: str) -> None:
    with pytest.raises(InputError, match=named):
        OnlineTable("fine", keys, features)


def test_table_without_features_and_a_wide_one(store: OnlineStore) -> None:
    bare = OnlineTable("bare", (("k", "bigint"),), ())
    wide = OnlineTable("wide", (("k", "date"),), tuple((f"f{n}", "double") for n in range(210)))
    for table in (bare, wide):
        store.create(table)
    row = OnlineRow((-(2**63),), (), 0, 0, None, b"", 0)
    store.write(bare, [row])
    assert store.read(bare, [(-(2**63),), (0,)]) == [row, None]
    assert store.count(wide) == 0


def test_ddl_names_every_column_and_is_stable(store: OnlineStore) -> None:
    for table in (METERS, PAIRS):
        statement = store.ddl(table)
        assert statement == store.ddl(OnlineTable(table.name, table.keys, table.features))
        for name, _ in (*table.keys, *table.features):
            assert f'"{name}"' in statement
        assert table.name in statement
        assert not statement.endswith((";", "\n"))
