"""What forget says: what it will do, what it did, what is left to whom; never the key."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from twinlake.cli.context import Context, parse_key
from twinlake.cli.forgetting import _ask, forgotten_document, forgotten_text
from twinlake.definitions.entities import Entity
from twinlake.errors import InputError
from twinlake.flows.erasable import EntityKey
from twinlake.flows.forgetting import Forgetting, InTable
from twinlake.flows.unreachable import Left

KEY = EntityKey(Entity("card", {"card": "bigint"}), {"card": 4_111_111_111})
TOPIC = Left(
    "topic cctopic", ("10.0.0.1:9092",), "who runs Kafka", "wait: it keeps a record for 7d"
)


def found(*tables: InTable, was_known: bool = False) -> Forgetting:
    return Forgetting(KEY, list(tables), [TOPIC], was_known)


def test_rows_are_told_by_table_and_what_is_left_by_whose_it_is() -> None:
    done = found(InTable("events payments", 9, 2, True), InTable("online activity", 1))
    assert forgotten_text(done).splitlines() == [
        "table            rows erased  files",
        "events payments            9      2",
        "online activity            1      0",
        "",
        "Left to do:",
        "",
        "topic cctopic (10.0.0.1:9092)",
        "    who runs Kafka: wait: it keeps a record for 7d",
    ]


@pytest.mark.parametrize(
    ("was_known", "told"), [(True, "nothing is left of it"), (False, "it is nowhere")]
)
def test_where_there_was_nothing_it_is_said_why(told: str, *, was_known: bool) -> None:
    assert forgotten_text(found(was_known=was_known)).startswith(told)


def test_the_document_is_json_and_holds_no_key() -> None:
    text = json.dumps(forgotten_document(found(InTable("events payments", 9, 2))))
    assert json.loads(text)["tables"] == {
        "events payments": {"rows": 9, "files": 2, "is_purged": False}
    }
    assert str(KEY.values["card"]) not in text


def test_nothing_is_done_where_nobody_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    context = Context(Path(), "local", None, {}, as_json=False)
    with pytest.raises(InputError, match="nobody is there to be asked"):
        _ask(context, found(InTable("events payments", 9, 2)))
    shown = capsys.readouterr().err
    assert "events payments" in shown
    assert "topic cctopic" in shown


@pytest.mark.parametrize("items", [("card",), ("card=1", "card=2")])
def test_a_key_is_parts_with_values_each_once(items: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        parse_key(items)
