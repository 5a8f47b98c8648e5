"""The ledger knows a forgotten key again, and nobody can read it there."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from twinlake.definitions.entities import Entity
from twinlake.errors import StateError
from twinlake.registry.ledger import Ledger, holds, key_digest, part_text

CARD = Entity("card", {"card": "long"})
AT_SHOP = Entity("card_at_shop", {"card": "bigint", "shop": "string"})
KEY = {"card": 4_111_111_111}


def test_a_key_is_found_again_and_no_other(tmp_path: Path) -> None:
    entry = Ledger(tmp_path).begin(CARD, KEY, ["events payments"], 7)
    found = Ledger(tmp_path)
    assert found.find(CARD, KEY) == [entry]
    assert found.find(CARD, {"card": 4_111_111_112}) == []
    assert found.find(Entity("shop", {"card": "bigint"}), KEY) == []


def test_nothing_of_the_key_is_in_it(tmp_path: Path) -> None:
    Ledger(tmp_path).begin(CARD, KEY, [], 7)
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"4111111111" not in file.read_bytes()
    assert (tmp_path / "ledger" / "salt").stat().st_mode & 0o077 == 0


def test_a_hash_is_another_one_with_another_salt(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path / "one"), Ledger(tmp_path / "other")
    assert one.begin(CARD, KEY, [], 7).digest != other.begin(CARD, KEY, [], 7).digest


def test_without_its_salt_it_says_so_instead_of_letting_keys_in(tmp_path: Path) -> None:
    Ledger(tmp_path).begin(CARD, KEY, [], 7)
    (tmp_path / "ledger" / "salt").unlink()
    with pytest.raises(StateError, match="salt is missing"):
        Ledger(tmp_path).find(CARD, KEY)


def test_it_tells_what_is_done(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    first, second = (ledger.begin(CARD, KEY, [], at) for at in (7, 8))
    ledger.finish(first, 9)
    ledger.finish(first, 10)
    assert [ledger.is_done(entry) for entry in (first, second)] == [True, False]
    assert ledger.entries() == [first, second]
    assert json.loads((tmp_path / "ledger/done" / f"{1:020}.json").read_text()) == {"done_us": 9}


def test_parts_of_two_keys_are_not_taken_for_one_another() -> None:
    assert key_digest("s", "e", ["ab", "c"]) != key_digest("s", "e", ["a", "bc"])


@pytest.mark.parametrize(
    ("entity", "name", "keys", "is_held"),
    [
        (CARD, "card", {"card": "bigint"}, True),
        (AT_SHOP, "card", {"card": "bigint"}, True),
        (CARD, "card_at_shop", {"card": "bigint", "shop": "string"}, False),
        (CARD, "client", {"card": "bigint"}, False),
        (AT_SHOP, "card", {"card": "string"}, False),
    ],
)
def test_a_key_is_held_by_its_entity_and_by_those_that_add_to_it(
    entity: Entity, name: str, keys: dict[str, str], is_held: bool
) -> None:
    assert holds(entity, name, keys) == is_held


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (-7, "int", "-7"),
        ("a b", "string", "a b"),
        (True, "boolean", "true"),
        (Decimal("1.5"), "decimal(12,2)", "1.50"),
        (dt.date(1969, 12, 31), "date", "-1"),
        (dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC), "timestamp", "1000000"),
        (b"\x00\xff", "binary", "00FF"),
    ],
)
def test_a_part_is_text(value: Any, kind: str, text: str) -> None:
    assert part_text(value, kind) == text
