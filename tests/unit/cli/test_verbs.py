"""The verbs that need no Spark: plan, ls, show, get; and what the others refuse before it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.assurance.naive import Happened
from tests.unit.cli.conftest import EXAMPLE, Command, pretend_applied
from tests.unit.online.meters import COLUMNS, folded, meter_view
from twinlake import Clock, FeatureService
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.loading import gather, load
from twinlake.definitions.times import MAX_US, MIN_US
from twinlake.flows.project import online_table, view_table
from twinlake.online.sqlite import SqliteStore
from twinlake.registry.places import Places
from twinlake.registry.state import Landing, Landings, Publication, Publications

DEFINED = load(EXAMPLE)
ROWS = 188_190
LANDING = Landing(1, "b", [], MAX_US, 10, 10, 0, 0, 40, 60)


def test_plan_shows_what_apply_would_do(run: Command, state: Path) -> None:
    found = run("plan")
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[0] == "Against nothing yet, apply will:"
    assert "  + source   daily_energy                 register" in lines
    tables = [
        f"  + tables   {view_table(view):<28} create, offline and online"
        for view in DEFINED.views.values()
    ]
    assert [line for line in lines if line.startswith("  + tables")] == tables
    assert lines[-1].endswith(f"(the beginning, everything]: 1 new file, {ROWS:,} rows")
    assert found.err == ""
    assert not state.exists()


@pytest.mark.parametrize("arguments", [["--json", "plan"], ["plan", "--json"]])
def test_plan_in_json_is_one_object(run: Command, arguments: list[str]) -> None:
    found = run(*arguments)
    assert (found.code, found.err) == (0, "")
    document = found.document
    assert (document["registry_version"], document["changes"]) == (0, True)
    assert [step["step"] for step in document["steps"]].count("CreateViewTables") == 2
    assert document["pending"][0]["new_rows"] == ROWS


def test_plan_tells_by_its_exit_code_whether_changes_wait(run: Command, state: Path) -> None:
    assert run("plan", "--exit-code").code == 4
    pretend_applied(state, DEFINED)
    found = run("plan", "--exit-code")
    assert found.code == 0
    assert found.out.startswith("Nothing to apply; definitions are those of registry version 1.\n")
    assert f"1 new file, {ROWS:,} rows" in found.out
    assert run("plan", "--exit-code", "--json").document["steps"] == []


def test_plan_looks_at_the_source_that_is_named(run: Command, tmp_path: Path) -> None:
    found = run("--source", f"daily_energy={tmp_path / 'none'}", "plan")
    assert found.code == 0
    assert "no files to look at" in found.err
    assert "Not computed yet" not in found.out
    header = ",".join(
        column.split()[0] for column in DEFINED.sources["daily_energy"].schema.split(", ")
    )
    (tmp_path / "days.csv").write_text(header)
    found = run("--source", f"daily_energy={tmp_path / 'days.csv'}", "plan")
    assert "1 new file, rows unknown" in found.out


def test_files_that_were_landed_are_not_new(run: Command, state: Path) -> None:
    pretend_applied(state, DEFINED)
    source = DEFINED.sources["daily_energy"]
    assert source.batch is not None
    path = (EXAMPLE / source.batch.path).resolve()
    key = f"{path}|{path.stat().st_size}|{path.stat().st_mtime_ns}"
    Landings(state, source.name).finish(replace(LANDING, files=[key]))
    found = run("plan")
    assert "10 landed rows to fold\n" in found.out
    assert "new file" not in found.out


def published(state: Path, fingerprint: str, number: int, view: str = "household_recent") -> None:
    Publications(state, view).write(
        Publication(number, fingerprint, 1, MIN_US, MAX_US, 10, 1, 3, 60, superseding=False)
    )


def changed(tmp_path: Path) -> Path:
    """The example with another meaning of one view."""
    text = (EXAMPLE / "features.py").read_text("utf-8")
    assert text.count('ttl="60d"') == 1
    (tmp_path / "features.py").write_text(text.replace('ttl="60d"', 'ttl="61d"'), "utf-8")
    return tmp_path


def test_a_changed_view_is_filled_as_far_as_it_was_published(
    run: Command, state: Path, tmp_path: Path
) -> None:
    pretend_applied(state, DEFINED)
    Landings(state, "daily_energy").finish(LANDING)
    before = DEFINED.views["household_recent"]
    project = changed(tmp_path)
    after = load(project).views["household_recent"]
    steps = run("plan", "--json", project=project).document["steps"]
    assert [step["step"] for step in steps] == ["Register", "CreateViewTables"]
    published(state, view_fingerprint(before), 1)
    steps = run("plan", "--json", project=project).document["steps"]
    assert [step["step"] for step in steps] == ["Register", "CreateViewTables", "Recompute"]
    assert steps[2]["table"] == view_table(after)
    assert steps[2]["rows"] == 10
    text = run("plan", project=project).out
    assert "fill from events over (the beginning, everything], 10 rows" in text


def test_tables_of_an_old_meaning_are_dropped_and_filled_again_when_it_returns(
    run: Command, state: Path, tmp_path: Path
) -> None:
    pretend_applied(state, DEFINED)
    Landings(state, "daily_energy").finish(LANDING)
    before = DEFINED.views["household_recent"]
    published(state, view_fingerprint(before), 1)
    project = changed(tmp_path)
    other = load(project)
    pretend_applied(state, other)
    published(state, view_fingerprint(other.views["household_recent"]), 2)
    (drop,) = run("plan", "--json", project=project).document["steps"]
    assert drop == {"step": "DropTables", "table": view_table(before)}
    old = Places(state).view(view_table(before))
    (old / "_delta_log").rmdir()
    old.rmdir()
    with SqliteStore(state / "online.sqlite") as store:
        store.drop(view_table(before))
    steps = run("plan", "--json").document["steps"]
    assert [step["step"] for step in steps] == ["Register", "CreateViewTables", "Recompute"]
    assert steps[2]["table"] == view_table(before)


def test_a_lost_online_store_is_made_anew(run: Command, state: Path) -> None:
    pretend_applied(state, DEFINED)
    assert run("plan", "--json").document["steps"] == []
    (state / "online.sqlite").unlink()
    steps = run("plan", "--json").document["steps"]
    assert [step["step"] for step in steps] == ["CreateViewTables", "CreateViewTables"]


def test_what_is_applied_is_listed(run: Command, state: Path) -> None:
    pretend_applied(state, DEFINED)
    Landings(state, "daily_energy").finish(LANDING)
    document = run("ls", "--json").document
    assert document["registry_version"] == 1
    assert [item["name"] for item in document["views"]] == ["household_energy", "household_recent"]
    assert document["sources"][0]["event_timestamp"] == "day_end"
    assert document["sources"][0]["accepted"] == 10
    names = [
        name for _, names in DEFINED.services["energy_forecast"].selections() for name in names
    ]
    assert document["services"] == [{"name": "energy_forecast", "features": names}]
    text = run("ls").out
    for kind in ("sources", "entities", "views", "services", "models"):
        assert f"{kind}\n" in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("daily_energy", "date_add(day, 1)"),
        ("household", "household_id: string"),
        ("household_energy", "energy_sum_3months"),
        ("energy_forecast", "energy_mean_7d"),
        ("next_day_energy", "max_depth: 8"),
    ],
)
def test_what_is_applied_is_shown_whole(run: Command, state: Path, name: str, told: str) -> None:
    pretend_applied(state, DEFINED)
    found = run("show", name)
    assert (found.code, found.err) == (0, "")
    assert told in found.out
    assert run("show", name, "--json").document


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (["show", "nothing"], "there is no definition or training set named 'nothing'", 2),
        (["get", "forecast", "household_id=1"], "there is no service named 'forecast'", 2),
        (["get", "energy_forecast", "home=1"], "cannot be read by the key home", 2),
        (["get", "energy_forecast", "household_id=1", "--as-of", "noon"], "'noon' is not a", 2),
        (["get", "energy_forecast", "household_id=1"], "nothing was landed of source daily", 3),
        (["get", "energy_forecast", "household_id=1", "--as-of", "wall"], "never published", 3),
        (["parity"], "view household_energy was never published", 3),
        (["parity", "forecast"], "there is no service named 'forecast'", 2),
        (["materialize", "energy"], "there is no view named 'energy'", 2),
        (["materialize", "--start", "2014-02-01", "--end", "2014-01-01"], "is empty", 2),
        (["materialize", "household_energy", "households"], "no view named 'households'", 2),
    ],
)
def test_what_cannot_be_is_told_before_spark_starts(
    run: Command, state: Path, arguments: list[str], told: str, code: int
) -> None:
    pretend_applied(state, DEFINED)
    found = run(*arguments)
    assert (found.code, found.out) == (code, "")
    assert told in found.err
    assert "Hint: " in found.err
    assert "starting Spark" not in found.err
    assert run("--json", *arguments).document["exit_code"] == code


CELLS: dict[str, Any] = {
    "x": 0.5, "f": 1.5, "n": 7, "d": Decimal("1.25"), "s": None, "b": True,
    "day": date(2024, 5, 1), "seen": datetime(2024, 5, 1, 12, tzinfo=UTC),
}  # fmt: skip


def serving(state: Path) -> None:
    """A view of every type, published for one key."""
    view = meter_view()
    service = FeatureService("meters", [view.select(*COLUMNS, "rows_20us")])
    pretend_applied(state, gather({"service": service, "clock": Clock("data")}))
    Landings(state, "readings").finish(LANDING)
    with SqliteStore(state / "online.sqlite") as store:
        store.create(online_table(view))
        rows = {(3, "north"): [Happened(30, 30, 1, CELLS | {"n": 5}), Happened(40, 40, 2, CELLS)]}
        store.write(online_table(view), folded(view, rows, 60))
    published(state, view_fingerprint(view), 1, view.name)


def test_get_prints_value_status_and_time(run: Command, state: Path) -> None:
    serving(state)
    found = run("get", "meters", "id=3", "region=north")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("as of 1970-01-01T00:00:00.000040Z (data clock)\n\nfeature ")
    lines = [line.split() for line in found.out.splitlines()[3:]]
    assert [line[:3] for line in lines if line[0] in {"n", "d", "s", "rows_20us"}] == [
        ["n", "7", "present"],
        ["d", "1.25", "present"],
        ["s", "-", "null"],
        ["rows_20us", "2", "present"],
    ]
    document = run("get", "meters", "region=north", "id=3", "--json").document
    assert document["key"] == {"id": 3, "region": "north"}
    assert list(document["features"]) == [*COLUMNS, "rows_20us"]
    assert document["features"]["x"] == {
        "value": 0.5, "status": "present", "event_us": 40,
        "event_timestamp": "1970-01-01T00:00:00.000040Z",
    }  # fmt: skip
    assert document["features"]["day"]["value"] == "2024-05-01"


def test_get_as_of_another_moment(run: Command, state: Path) -> None:
    serving(state)
    later = run("get", "meters", "id=3", "region=north", "--as-of", "1970-01-01T00:00:00.000055Z")
    assert "(as asked)" in later.out
    assert ["rows_20us", "1", "present"] in [line.split()[:3] for line in later.out.splitlines()]
    wall = run("get", "meters", "id=3", "region=north", "--as-of", "wall", "--json").document
    assert {feature["status"] for feature in wall["features"].values()} == {"expired"}
    early = run("get", "meters", "id=3", "region=north", "--as-of", "1970-01-01")
    assert early.code == 2
    assert "id=3, region=north" in early.err
    assert "training set" in early.err
    nobody = run("get", "meters", "id=4", "region=north", "--json").document
    assert {feature["status"] for feature in nobody["features"].values()} == {"missing"}


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (["id=three", "region=north"], "id='three' is no bigint"),
        (["id=3"], "cannot be read by the key without region"),
        (["id=3", "region=north", "zip=1"], "cannot be read by the key zip"),
        ([f"id={2**63}", "region=north"], "outside bigint"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(
    run: Command, state: Path, key: list[str], told: str
) -> None:
    serving(state)
    found = run("get", "meters", *key)
    assert (found.code, found.out) == (2, "")
    assert told in found.err


def test_a_damaged_registry_is_named(run: Command, state: Path) -> None:
    pretend_applied(state, DEFINED)
    (path,) = (state / "registry").iterdir()
    path.write_text("{")
    for verb in ("plan", "ls", "parity"):
        found = run(verb)
        assert found.code == 3
        assert f"{path} is damaged" in found.err
