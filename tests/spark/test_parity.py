"""Parity: clean where nothing was touched; one cell or row changed behind its back is named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.spark import meters
from tests.spark.benches import Bench
from twinlake.flows import checking
from twinlake.flows.project import view_table

KEYS = 8
Tamper = Callable[[Bench], None]


@pytest.fixture(scope="module")
def original(module_bench: Callable[[], Bench]) -> Bench:
    bench = module_bench().define(meters.DEFINITIONS + meters.SERVICE).apply()
    for number, days in enumerate((range(6), range(6, 8))):
        bench.put(str(number), meters.rows_of(days, KEYS), meters.SCHEMA)
        bench.materialize()
    bench.project.store.close()
    bench.project._store = None
    return bench


@pytest.fixture
def copied(original: Bench, tmp_path: Path, spark: SparkSession) -> Bench:
    """A copy of the project, to be tampered with."""
    shutil.copytree(original.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("project"))
    bench = Bench(tmp_path / "copy", spark)
    shutil.copy(original.root / "features.py", bench.root)
    return bench


def check(bench: Bench, keys: int | None = None, as_of: str | None = None) -> checking.Verdict:
    view = bench.project.view("usage")
    try:
        return checking.check_parity(bench.project, [view], keys, as_of)
    finally:
        bench.close()


def on_sqlite(statement: str, *arguments: Any) -> Tamper:
    def tamper(bench: Bench) -> None:
        table = view_table(bench.project.view("usage"))
        with sqlite3.connect(bench.folder / "state" / "online.sqlite") as connection:
            done = connection.execute(statement.format(table=f'"{table}"'), arguments)
            assert done.rowcount == 1
        connection.close()

    return tamper


def on_delta(statement: str, of_view: bool) -> Tamper:
    def tamper(bench: Bench) -> None:
        path = bench.view_path("usage") if of_view else bench.project.places.events("daily")
        [done] = bench.spark.sql(statement.format(table=f"delta.`{path}`")).collect()
        assert done.num_affected_rows == 1

    return tamper


def flip_state(bench: Bench) -> None:
    """Change the last number that the state of m0 holds: a value, not the header."""
    table = view_table(bench.project.view("usage"))
    with sqlite3.connect(bench.folder / "state" / "online.sqlite") as connection:
        [state] = connection.execute(
            f"SELECT tl_state FROM \"{table}\" WHERE meter = 'm0'"
        ).fetchone()
        changed = bytearray(state)
        changed[-1] ^= 1
        connection.execute(
            f"UPDATE \"{table}\" SET tl_state = ? WHERE meter = 'm0'", (bytes(changed),)
        )
    connection.close()


NEWEST_M0 = "meter = 'm0' AND event_timestamp > '2014-02-08' "
# What is tampered with: how, the check that must find it, the feature that must be named.
CASES: dict[str, tuple[Tamper, str, str]] = {
    "online cell": (
        on_sqlite("UPDATE {table} SET wh_3d = wh_3d + 1 WHERE meter = 'm0'"),
        "stored",
        "wh_3d",
    ),
    "online cell to null": (
        on_sqlite("UPDATE {table} SET days_5d = NULL WHERE meter = 'm0'"),
        "stored",
        "days_5d",
    ),
    "online state": (flip_state, "", ""),
    "online row deleted": (on_sqlite("DELETE FROM {table} WHERE meter = 'm0'"), "stored", "(row)"),
    "view row changed": (
        on_delta("UPDATE {table} SET days_5d = days_5d + 1 WHERE " + NEWEST_M0, True),
        "offline",
        "days_5d",
    ),
    "view row deleted": (
        on_delta("DELETE FROM {table} WHERE " + NEWEST_M0, True),
        "offline",
        "(row)",
    ),
    "event changed": (
        on_delta("UPDATE {table} SET kwh = coalesce(kwh, 0) + 0.5 WHERE id = 7000", False),
        "offline",
        "kwh",
    ),
    "event deleted": (on_delta("DELETE FROM {table} WHERE id = 7000", False), "offline", "(row)"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_changed_is_named(copied: Bench, case: str) -> None:
    tamper, of_check, feature = CASES[case]
    tamper(copied)
    verdict = check(copied)
    assert verdict.mismatches > 0
    assert {json.loads(d.key)["meter"] for d in verdict.differences} == {"m0"}
    assert {d.view for d in verdict.differences} == {"usage"}
    if of_check:
        named = {(d.check, d.feature) for d in verdict.differences}
        assert (of_check, feature) in named


def test_an_online_row_that_nothing_happened_to_is_named(copied: Bench) -> None:
    table = view_table(copied.project.view("usage"))
    columns = (
        "meter, tl_event_us, tl_known_us, tl_valid_until_us, tl_write_us, tl_deleted, tl_state"
    )
    on_sqlite(
        f"INSERT INTO \"{table}\" ({columns}) SELECT 'ghost', "
        + columns.removeprefix("meter, ")
        + f" FROM \"{table}\" WHERE meter = 'm0'"
    )(copied)
    verdict = check(copied)
    assert verdict.mismatches == 1
    assert json.loads(verdict.differences[0].key) == {"meter": "ghost"}


def test_columns_that_are_served_past_their_time_are_named(copied: Bench) -> None:
    on_sqlite("UPDATE {table} SET tl_valid_until_us = NULL WHERE meter = 'm0'")(copied)
    verdict = check(copied, as_of="2014-02-20")
    assert {(d.check, json.loads(d.key)["meter"]) for d in verdict.differences} == {
        ("served", "m0")
    }


@pytest.mark.parametrize("keys", [None, 3, 100])
def test_untouched_nothing_differs_and_everything_served_is_compared(
    copied: Bench, keys: int | None
) -> None:
    events = [row for d in (range(6), range(6, 8)) for row in meters.rows_of(d, KEYS)]
    there = {row["meter"] for row in events if row["n"] >= 0}
    verdict = check(copied, keys)
    assert verdict.mismatches == 0
    assert verdict.differences == []
    compared = min(keys or 100, len(there))
    assert verdict.keys == compared
    assert verdict.served_cells == verdict.tallies["served"].cells == 3 * compared
    if keys is None:
        assert verdict.tallies["offline"].rows == len([r for r in events if r["n"] >= 0])


@pytest.mark.parametrize("case", ["online row deleted", "online state", "event changed"])
def test_some_keys_are_compared_as_strictly_as_all(copied: Bench, case: str) -> None:
    CASES[case][0](copied)
    verdict = check(copied, KEYS)
    assert verdict.mismatches > 0
    assert {json.loads(d.key)["meter"] for d in verdict.differences} == {"m0"}
