"""Plan and apply: what is shown is what is done, and two at once do not undo each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.spark import meters
from tests.spark.benches import IMPORTS, Bench
from tests.spark.oracle import Feature, View
from twinlake.definitions.times import DAY_US, MAX_US, MIN_US, Interval
from twinlake.definitions.types import Field
from twinlake.errors import DefinitionError, InputError, StateError
from twinlake.flows import applying, checking
from twinlake.flows.project import Project, view_table
from twinlake.planning.steps import (
    AddColumns,
    CreateEventsTable,
    CreateViewTables,
    DropTables,
    Plan,
    Recompute,
    Register,
)
from twinlake.registry.documents import AlreadyWritten
from twinlake.registry.state import Registry

CHANGED = meters.DEFINITIONS.replace('"wh_3d": "3d"', '"wh_3d": "4d"')


def tables(bench: Bench) -> tuple[set[str], set[str]]:
    """Tables of views, offline and online."""
    folder = bench.project.places.views
    return {path.name for path in folder.iterdir()}, set(bench.project.store.tables())


def test_a_changed_meaning_fills_new_tables_and_then_drops_the_old_ones(bench: Bench) -> None:
    rows = meters.rows_of(range(5))
    bench.define(meters.DEFINITIONS)
    first = applying.plan(bench.project)
    assert not bench.delta_versions()
    assert [type(step) for step in first.steps if not isinstance(step, Register)] == [
        CreateEventsTable,
        CreateViewTables,
    ]
    bench.apply().put("1", rows, meters.SCHEMA)
    bench.materialize()
    old = view_table(bench.project.view("usage"))
    accepted = bench.project.landings("daily").all()[0].accepted

    bench.define(CHANGED)
    new = view_table(bench.project.definitions.views["usage"])
    made = applying.plan(bench.project)
    assert Recompute("usage", new, Interval(MIN_US, MAX_US), accepted) in made.steps
    assert CreateViewTables("usage", new) in made.steps
    assert not any(isinstance(step, DropTables) for step in made.steps)
    assert applying.apply(bench.project) == made
    assert tables(bench) == ({old, new}, {old, new})
    longer = View(
        [
            Feature("wh_3d", "wh", "sum", 4 * DAY_US) if f.name == "wh_3d" else f
            for f in meters.VIEW.features
        ],
        meters.VIEW.hop_us,
        meters.VIEW.ttl_us,
    )
    assert meters.stored_rows(bench) == meters.oracle_rows(rows, longer)
    assert {key[0] for key in bench.online("usage")} == {r["meter"] for r in rows if r["n"] >= 0}

    left = applying.plan(bench.project)
    assert left.steps == (DropTables(old),)
    bench.apply()
    assert tables(bench) == ({new}, {new})
    kept = bench.delta_versions()
    assert not applying.apply(bench.project).changes
    assert not bench.materialize().changed
    assert bench.delta_versions() == kept


def test_a_changed_text_changes_no_table(bench: Bench) -> None:
    bench.define(meters.DEFINITIONS).apply().put("1", meters.rows_of([0]), meters.SCHEMA)
    bench.materialize()
    kept = (bench.delta_versions(), bench.write_times(), tables(bench))
    text = meters.DEFINITIONS.replace('ttl="20d",', 'ttl="480h", description="Energy.",')
    bench.define(text.replace('"kwh * 1000"', '"kwh  *\\n 1000"'))
    made = applying.apply(bench.project)
    assert {(step.kind, step.changes_meaning) for step in made.steps if isinstance(step, Register)}
    assert all(isinstance(step, Register) and not step.changes_meaning for step in made.steps)
    assert not bench.materialize().changed
    assert (bench.delta_versions(), bench.write_times(), tables(bench)) == kept


def test_a_further_column_rewrites_nothing_and_known_rows_stay_known(bench: Bench) -> None:
    rows = meters.rows_of(range(5))
    bench.define(meters.DEFINITIONS).apply().put("1", rows, meters.SCHEMA)
    bench.materialize()
    path = bench.project.places.events("daily")
    files = set(path.rglob("*.parquet"))
    kept = meters.stored_rows(bench), bench.write_times(), tables(bench)

    wider = meters.DEFINITIONS.replace("id bigint,", "tariff string, id bigint,")
    bench.define(wider)
    added = AddColumns("daily", (Field("tariff", "string"),))
    assert applying.apply(bench.project).steps == (Register("source", "daily", False, True), added)
    assert set(path.rglob("*.parquet")) == files
    assert applying.plan(bench.project).steps == ()

    schema = meters.SCHEMA.append(pa.field("tariff", pa.string()))
    later = meters.rows_of(range(5, 7))
    bench.put("2", [{**row, "tariff": "low"} for row in later], schema)
    with pytest.raises(InputError, match=r"1\.parquet has no column tariff"):
        bench.materialize()
    bench.define(wider.replace('Files("in")', 'Files("in", may_lack=["tariff"])')).apply()
    bench.materialize()
    # Known rows come once more: as they were, and with something in the new column.
    bench.put("3", [dict(rows[0]), {**rows[1], "tariff": "high"}], schema)
    bench.materialize()
    assert meters.stored_rows(bench) == meters.oracle_rows([*rows, *later])
    assert (meters.stored_rows(bench) >= kept[0], tables(bench)) == (True, kept[2])
    found = bench.events("daily", "id", "tariff", "_verdict", "_batch")
    assert {(row["tariff"], row["_verdict"]) for row in found} == {
        (None, "accepted"), ("low", "accepted"), (None, "duplicate"), ("high", "quarantined")
    }  # fmt: skip
    again = [row["id"] for row in found if row["_verdict"] != "accepted"]
    assert sorted(again) == sorted(row["id"] for row in rows[:2])
    views = list(bench.project.applied().definitions.views.values())
    assert checking.check_parity(bench.project, views, None).mismatches == 0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("kwh double", "kwh float", "kwh"),
        ('event_id="id"', 'event_id="meter"', "event_id"),
        ('event_timestamp="at"', 'event_timestamp="at", known="at"', "known"),
    ],
)
def test_a_source_that_its_table_cannot_follow_is_refused(
    bench: Bench, old: str, new: str, told: str
) -> None:
    bench.define(meters.DEFINITIONS).apply()
    kept = bench.delta_versions()
    assert old in meters.DEFINITIONS
    bench.define(meters.DEFINITIONS.replace(old, new))
    with pytest.raises(DefinitionError, match="source daily") as caught:
        applying.apply(bench.project)
    assert told in str(caught.value)
    assert bench.project.registry.current().number == 1
    assert bench.delta_versions() == kept


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"kwh * 1000"', '"kwh * nothing"', "source daily, with_columns"),
        ('"kwh * 1000"', '"kwh *"', "source daily, with_columns"),
        ('where="n >= 0"', 'where="nought >= 0"', "source daily, where"),
        ('where="n >= 0"', 'where="n >= "', "source daily, where"),
    ],
)
def test_sql_that_spark_cannot_read_is_named_with_its_place(
    bench: Bench, old: str, new: str, place: str
) -> None:
    assert old in meters.DEFINITIONS
    bench.define(meters.DEFINITIONS.replace(old, new))
    with pytest.raises(DefinitionError) as caught:
        applying.apply(bench.project)
    assert [problem.place for problem in caught.value.problems] == [place]
    assert bench.project.registry.current().number == 0
    assert not bench.delta_versions()


def test_the_second_of_two_applies_is_told_and_drops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.define(meters.DEFINITIONS).apply()
    other = bench.open()
    text = bench.root / "features.py"
    original = text.read_text()
    text.write_text(original.replace('"wh_3d": "3d"', '"wh_3d": "4d"'))
    theirs = view_table(other.definitions.views["usage"])
    text.write_text(original.replace('"wh_3d": "3d"', '"wh_3d": "2d"'))
    mine = bench.open()
    real = applying._plan

    def meanwhile(project: Any, applied: Any) -> Plan:
        # The other made its tables but has not registered them when this one plans, and ends
        # before this one begins.
        monkeypatch.setattr(applying, "_plan", real)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Project, "registry", property(lambda _: _Unregistered(other)))
            with pytest.raises(_StoppedError):
                applying.apply(other)
        made = real(project, applied)
        applying.apply(other)
        return made

    monkeypatch.setattr(applying, "_plan", meanwhile)
    with pytest.raises(AlreadyWritten):
        applying.apply(mine)
    current = mine.registry.current()
    assert view_table(current.definitions.views["usage"]) == theirs
    assert (Path(mine.places.view(theirs)) / "_delta_log").is_dir()
    assert theirs in mine.store.tables()


class _StoppedError(Exception):
    """The other process stands still between its tables and its registration."""


class _Unregistered:
    def __init__(self, project: Any) -> None:
        self._state = project.settings.state

    def current(self) -> Any:
        return Registry(self._state).current()

    def write(self, *_: Any) -> Any:
        raise _StoppedError


def test_while_one_applies_another_is_refused(bench: Bench) -> None:
    bench.define(meters.DEFINITIONS)
    with (
        bench.project.places.exclusively("applier", "registry"),
        pytest.raises(StateError, match="another process"),
    ):
        applying.apply(bench.open())
    assert not bench.delta_versions()


def test_of_two_at_the_same_number_one_is_registered(bench: Bench) -> None:
    registry = bench.define(meters.DEFINITIONS).project.registry
    base = registry.current()
    registry.write(base, bench.project.definitions, 1)
    with pytest.raises(AlreadyWritten):
        registry.write(base, bench.project.definitions, 2)
    assert registry.current().applied_us == 1


def test_of_two_processes_that_apply_at_once_none_undoes_the_other(bench: Bench) -> None:
    """Two commands, two definitions, one state: each is carried out whole, or told why not."""
    state, command = bench.folder / "state", Path(sys.prefix) / "bin" / "twinlake"
    running = []
    for window in ("3d", "4d"):
        folder = bench.folder / f"project {window}"
        folder.mkdir()
        text = meters.DEFINITIONS.replace('"wh_3d": "3d"', f'"wh_3d": "{window}"')
        (folder / "features.py").write_text(IMPORTS + text)
        told: list[str | Path] = [command, "-C", folder, "--state", state, "apply"]
        running.append(subprocess.Popen(told, stderr=subprocess.PIPE, text=True))
    ended = [(process.communicate(timeout=600)[1], process.returncode) for process in running]
    done = [code for _, code in ended].count(0)
    assert done >= 1, ended
    for text, code in ended:
        assert code in {0, 3}
        assert code == 0 or "another process is the applier" in text or "somebody else" in text
    applied = bench.define(meters.DEFINITIONS).project.registry.current()
    assert applied.number == done
    registered = view_table(applied.definitions.views["usage"])
    offline, online = tables(bench)
    assert registered in offline & online
    assert offline == online
    assert len(online) == done
