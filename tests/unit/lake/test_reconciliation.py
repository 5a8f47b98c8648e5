"""Rows are compared with their events up to what they reflect, and with no others."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.assurance.naive import Happened
from tests.unit.online.meters import COLUMNS, events, meter_view
from twinlake import Aggregate, Column
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import stored_features
from twinlake.flows.reconciling import _as_arrow
from twinlake.kernel.views import ViewShape
from twinlake.lake import publication, reconciliation
from twinlake.lake.arrow_types import arrow_type
from twinlake.lake.publication import Folding
from twinlake.online.store import Key, OnlineRow

VIEW = meter_view(
    features=[
        *(Column(name) for name in COLUMNS),
        Aggregate("count", windows={"rows": "20us"}),
        Aggregate("sum", "d", windows={"d_sum": "20us"}),
        Aggregate("last", "s", windows={"s_last": "40us"}),
        Aggregate("mean", "x", windows={"x_mean": "40us"}),
    ]
)
SHAPE = ViewShape.of(VIEW)
FINGERPRINT, TABLE = bytes.fromhex(view_fingerprint(VIEW)), b"t" * 16
# Versions are committed at ten times their numbers; the third is the last that was published.
PUBLISHED, NEWEST = 3, 5
EXPECTED = reconciliation.Expected(PUBLISHED, NEWEST, 10 * NEWEST, FINGERPRINT, TABLE)
Landed = list[tuple[int, Happened]]


def table_of(landed: dict[Key, Landed]) -> pa.Table:
    """Events as ``differing`` reads them."""
    flat = [(key, version, row) for key, rows in landed.items() for version, row in rows]
    cells: dict[str, Any] = {
        name: pa.array([key[place] for key, _, _ in flat], arrow_type(kind))
        for place, (name, kind) in enumerate(VIEW.entity.join_keys.items())
    }
    numbers = {
        "version": [version for _, version, _ in flat],
        "event_us": [row.event_us for _, _, row in flat],
        "known_us": [row.known_us for _, _, row in flat],
        "hash_a": [0] * len(flat),
        "hash_b": [row.tie for _, _, row in flat],
    }
    cells |= {name: pa.array(values, pa.int64()) for name, values in numbers.items()}
    for name, kind in COLUMNS.items():
        cells[f"c_{name}"] = pa.array([row.cells[name] for _, _, row in flat], arrow_type(kind))
    return pa.table(cells)


def row_as_of(key: Key, rows: Landed, version: int) -> OnlineRow:
    """What is published of a key at a version."""
    seen = table_of({key: [each for each in rows if each[0] <= version]})
    folding = Folding(0, version, 10 * version, FINGERPRINT, TABLE)
    (folded,) = publication.rows_in(publication.fold_part(seen.to_batches(), SHAPE, folding), VIEW)
    return OnlineRow(
        folded.key,
        folded.values,
        folded.event_us,
        folded.known_us,
        folded.valid_until_us,
        folded.state,
        10 * version,
    )


def compared(landed: dict[Key, Landed], stored: list[OnlineRow]) -> dict[Key, tuple[str, str]]:
    schema = reconciliation.stored_schema(VIEW)
    flag = reconciliation._STORED
    sides = []
    for table, is_stored in ((table_of(landed), False), (_as_arrow(stored, VIEW, schema), True)):
        sides.append(table.append_column(flag, pa.array([is_stored] * table.num_rows, pa.bool_())))
    both = pa.concat_tables(sides, promote_options="default").combine_chunks()
    found = reconciliation.compare_part(both.to_batches(max_chunksize=5), SHAPE, EXPECTED)
    listed = pa.Table.from_batches(rows).to_pylist() if (rows := list(found)) else []
    return {(row["id"], row["region"]): (row["tl_kind"], row["tl_what"]) for row in listed}


@st.composite
def keys(draw: st.DrawFn) -> tuple[dict[Key, Landed], list[OnlineRow]]:
    """Events of some keys, each with a version, and the rows that are online."""
    landed: dict[Key, Landed] = {}
    stored = []
    for number in range(draw(st.integers(1, 4))):
        key = (number, draw(st.sampled_from(["a", "b"])))
        rows = [(draw(st.integers(1, NEWEST)), row) for row in draw(events())]
        reflected = draw(st.integers(0, NEWEST))
        landed[key] = rows
        if any(version <= reflected for version, _ in rows):
            stored.append(row_as_of(key, rows, reflected))
    return landed, stored


@given(keys())
@settings(max_examples=12)
def test_a_row_is_right_if_it_is_the_fold_at_its_version_and_that_is_late_enough(
    drawn: tuple[dict[Key, Landed], list[OnlineRow]],
) -> None:
    landed, stored = drawn
    reflected = {row.key: row.write_us // 10 for row in stored}
    wanted = {}
    for key, rows in landed.items():
        due = [version for version, _ in rows if version <= PUBLISHED]
        if key not in reflected:
            if due:
                wanted[key] = ("missing", "")
        elif any(version > reflected[key] for version in due):
            wanted[key] = ("different", "newer events")
    assert compared(landed, stored) == wanted


@given(events(min_size=2), st.data())
@settings(max_examples=12)
def test_whatever_is_changed_is_named(rows: list[Happened], data: st.DataObject) -> None:
    key = (1, "a")
    landed = {key: [(1, row) for row in rows]}
    row = row_as_of(key, landed[key], 2)
    features = stored_features(VIEW)
    place = data.draw(st.integers(0, len(features) - 1))
    values = list(row.values)
    values[place] = _other(values[place], features[place].type)
    state = bytearray(row.state)
    state[data.draw(st.integers(0, len(state) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changes: list[tuple[dict[str, Any], str]] = [
        ({"values": tuple(values)}, features[place].name),
        ({"event_us": row.event_us + 1}, "tl_event_us"),
        ({"known_us": row.known_us - 1}, "tl_known_us"),
        ({"valid_until_us": 7_777}, "tl_valid_until_us"),
        ({"state": b""}, "tl_state"),
    ]
    for change, what in changes:
        (found,) = compared(landed, [row._replace(**change)]).items()
        assert found == (key, ("different", what))
    (found,) = compared(landed, [row._replace(state=bytes(state))]).items()
    assert found[1][0] == "different"
    # The state says from when on it is exact, which a commit's time may bound.
    (found,) = compared(landed, [row._replace(write_us=10 * NEWEST + 1)]).items()
    assert found[1][1].removeprefix("tl_state, ") == "a write timestamp in the future"


def _other(value: Any, kind: str) -> Any:
    """A value of the type that is another one."""
    some = {
        "string": "another", "boolean": True, "date": date(2001, 1, 1), "float": 0.5,
        "double": 0.5, "bigint": 5, "timestamp": datetime(2001, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    other = some.get(kind, Decimal(5))
    return None if value == other else other


@pytest.mark.parametrize("landed", [{}, {(2, "b"): []}])
def test_a_row_whose_key_has_no_event_is_of_nobody(landed: dict[Key, Landed]) -> None:
    row = Happened(1, 1, 1, dict.fromkeys(COLUMNS))
    stored = row_as_of((1, "a"), [(1, row)], 1)
    assert compared(landed, [stored]) == {(1, "a"): ("unknown", "")}


def test_a_version_that_is_not_there_and_a_value_of_another_type_are_named() -> None:
    row = Happened(1, 1, 1, dict.fromkeys(COLUMNS))
    landed = {(1, "a"): [(1, row)]}
    early = row_as_of((1, "a"), landed[1, "a"], NEWEST + 1)._replace(write_us=1)
    assert compared(landed, [early]) == {(1, "a"): ("different", "a version that is not there")}
    right = row_as_of((1, "a"), landed[1, "a"], 1)
    (place,) = [i for i, f in enumerate(stored_features(VIEW)) if f.name == "n"]
    values = (*right.values[:place], 2**70, *right.values[place + 1 :])
    assert compared(landed, [right._replace(values=values)]) == {(1, "a"): ("different", "n")}


def test_a_part_without_rows_is_nothing() -> None:
    assert compared({}, []) == {}
