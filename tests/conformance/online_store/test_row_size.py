"""A row above 1 MB is refused by every store, before it is written and with what weighs so much."""

from __future__ import annotations

import pytest

from tests.conformance.online_store.samples import METERS, PAIRS, meter, pair
from twinlake.errors import InputError
from twinlake.online.store import OnlineRow, OnlineStore, OnlineTable
from twinlake.online.values import MAX_KEY_BYTES, MAX_ROW_BYTES

ROOM = MAX_ROW_BYTES - 1_000  # less the columns themselves
TEXTS = OnlineTable("texts", keys=(("id", "string"),), features=(("a", "string"), ("b", "binary")))


def texts(key: str, a: str | None, b: bytes | None, state: bytes = b"") -> OnlineRow:
    return OnlineRow((key,), (a, b), 1, 1, None, state, 1)


HEAVY = {
    "state": texts("heavy", "x", b"x", b"s" * MAX_ROW_BYTES),
    "a": texts("heavy", "x" * MAX_ROW_BYTES, None),
    "b": texts("heavy", None, b"x" * MAX_ROW_BYTES),
}


@pytest.mark.parametrize("part", HEAVY)
def test_a_row_above_the_limit_is_refused(store: OnlineStore, part: str) -> None:
    store.create(TEXTS)
    fine = texts("fine", "x", b"x")
    with pytest.raises(InputError, match=rf"at most 1,000,000 fit; [\d,]+ .* its {part}\n") as told:
        store.write(TEXTS, [fine, HEAVY[part]])
    assert "online table texts, key ('" in told.value.message
    assert len(told.value.message) < 500
    assert "split the view" in str(told.value.hint)
    assert store.read(TEXTS, [("heavy",)]) == [None]
    store.write(TEXTS, [fine])
    assert store.read(TEXTS, [("fine",)]) == [fine]


def test_a_key_above_its_limit_is_refused(store: OnlineStore) -> None:
    store.create(TEXTS)
    with pytest.raises(InputError, match=r"key \('kkk.*a key of more than 65,000 bytes") as told:
        store.write(TEXTS, [texts("k" * (MAX_KEY_BYTES + 1), None, None)])
    assert len(told.value.message) < 500


def test_the_parts_of_a_row_are_weighed_together_and_in_bytes(store: OnlineStore) -> None:
    store.create(TEXTS)
    half = ROOM // 2
    fits = texts("fits", "x" * half, b"x" * (half // 2), b"s" * (half // 2))
    letters = texts("letters", "\u20ac" * (ROOM // 3), None)  # three bytes each
    store.write(TEXTS, [fits, letters])
    assert store.read(TEXTS, [("fits",), ("letters",)]) == [fits, letters]
    too_much = [
        fits._replace(state=b"s" * (half + 1_000)),
        texts("letters", "\u20ac" * (MAX_ROW_BYTES // 3), None),
    ]
    for row in too_much:
        with pytest.raises(InputError, match="at most 1,000,000 fit"):
            store.write(TEXTS, [row])


def test_every_table_is_weighed(store: OnlineStore) -> None:
    for table, row in ((METERS, meter("a", 1)), (PAIRS, pair("n", 1, b"c"))):
        store.write(table, [row._replace(state=b"s" * (ROOM - 1_000))])
        with pytest.raises(InputError, match=f"online table {table.name}, key .* its state\n"):
            store.write(table, [row._replace(state=b"s" * MAX_ROW_BYTES, write_us=9)])
