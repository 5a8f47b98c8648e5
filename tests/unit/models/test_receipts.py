"""Receipts: one text for one receipt, and none for what cannot be."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

import pytest

from twinlake.errors import StateError
from twinlake.models.receipts import Receipt, SpinePin, TablePin

EVENTS = TablePin("daily_energy", "lake/events", "7c1e", version=3, sequence=2)
HOMES = TablePin("homes", "lake/homes", "99aa", version=12)


def receipt(**changes: Any) -> Receipt:
    parts: dict[str, Any] = {
        "training_set": "energy_forecast_1",
        "service": "energy_forecast",
        "definition": "d" * 64,
        "tables": (HOMES, EVENTS),
        "spine": SpinePin("spine.parquet", "f" * 32, 10),
        "columns": ("household_id", "event_timestamp", "energy_sum"),
        "content": "c" * 32,
        "rows": 10,
        "statuses": {"energy_sum": {"present": 7, "missing": 3}, "energy_mean_7d": {"present": 10}},
        "code_version": "0.1.0",
        "created_at": dt.datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=dt.UTC),
    }
    return Receipt(**(parts | changes))


def test_it_survives_json() -> None:
    assert Receipt.from_json(receipt().to_json()) == receipt()
    assert Receipt.from_json(receipt().to_json()).digest() == receipt().digest()


def test_one_receipt_has_one_text() -> None:
    summer = dt.timezone(dt.timedelta(hours=2))
    same = receipt(
        tables=(EVENTS, HOMES),
        statuses={"energy_mean_7d": {"present": 10}, "energy_sum": {"missing": 3, "present": 7}},
        created_at=dt.datetime(2024, 5, 6, 9, 8, 9, 10, tzinfo=summer),
    )
    assert same.to_json() == receipt().to_json()
    text = receipt().to_json()
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Receipt)])
def test_every_part_counts(field: str) -> None:
    other: dict[str, Any] = {
        "tables": (dataclasses.replace(EVENTS, sequence=3), HOMES),
        "spine": SpinePin("spine.parquet", "e" * 32, 10),
        "columns": ("household_id",),
        "rows": 0,
        "statuses": {"energy_sum": {"present": 10}},
        "created_at": dt.datetime(2024, 5, 6, tzinfo=dt.UTC),
    }
    changes = {field: other.get(field, "other")} | ({"statuses": {}} if field == "rows" else {})
    assert receipt(**changes).digest() != receipt().digest()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(
        StateError, match="statuses of feature energy_sum sum to 9, but there are 10"
    ):
        receipt(statuses={"energy_sum": {"present": 9}})
    with pytest.raises(StateError, match="pinned twice"):
        receipt(tables=(EVENTS, EVENTS))
    with pytest.raises(StateError, match="has no zone"):
        receipt(created_at=dt.datetime(2024, 5, 6))  # noqa: DTZ001


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format":1}', '{"format":1,"tables":[{}]}'])
def test_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(StateError, match="no receipt"):
        Receipt.from_json(text)


def test_another_format_is_refused() -> None:
    with pytest.raises(StateError, match="format 2"):
        Receipt.from_json(receipt().to_json().replace('"format":1', '"format":2'))


def test_it_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        receipt().statuses["energy_sum"]["present"] = 8  # type: ignore[index]


def test_what_is_not_there_leaves_no_trace() -> None:
    """Receipts of before there were states and spine tables in them keep their digest."""
    plain = json.loads(receipt().to_json())
    assert "state" not in plain
    assert plain["spine"].keys() == {"path", "fingerprint", "rows"}
    assert Receipt.from_json(receipt().to_json()).state is None
    pinned = receipt(state="0a1b", spine=SpinePin("spine", "f" * 32, 10, "5e7", version=0))
    again = Receipt.from_json(pinned.to_json())
    assert (again, again.spine.version, again.state) == (pinned, 0, "0a1b")
    assert len({receipt().digest(), pinned.digest()}) == 2


def test_tags_say_all_that_a_training_set_was_made_from() -> None:
    tags = receipt(spine=SpinePin("spine", "f" * 32, 10, "5e7", version=0)).tags()
    assert tags == {
        "twinlake.receipt_digest": tags["twinlake.receipt_digest"],
        "twinlake.training_set": "energy_forecast_1",
        "twinlake.definition": "d" * 64,
        "twinlake.spine": "spine at version 0",
        "twinlake.spine_fingerprint": "f" * 32,
        "twinlake.content": "c" * 32,
        "twinlake.code_version": "0.1.0",
        "twinlake.table.daily_energy": "7c1e version 3 sequence 2",
        "twinlake.table.homes": "99aa version 12 sequence None",
    }


def test_columns_are_of_the_spine_or_features_or_marks() -> None:
    whole = receipt(
        columns=(
            "household_id",
            "event_timestamp",
            "y",
            "energy_sum",
            "energy_mean_7d",
            "v__status",
        )
    )
    assert whole.spine_columns() == ("household_id", "event_timestamp", "y")
    assert whole.marks() == ("v__status",)
