"""The command itself: its verbs, its exit codes, and what goes to which stream."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.unit.cli.conftest import Command
from twinlake.cli.layout import table
from twinlake.cli.main import twinlake
from twinlake.definitions.loading import load
from twinlake.errors import CheckFailed, EnvironmentFailure, InputError, StateError, TwinlakeError
from twinlake.flows import applying

CHECKOUT = Path(__file__).resolve().parents[3]
PROGRAM = Path(sys.executable).parent / "twinlake"
VERBS = {
    "init", "plan", "apply", "ls", "show", "materialize", "materialize-incremental",
    "backfill", "stream", "score", "push", "quarantine", "training-set", "train", "get", "parity",
    "doctor", "validate", "leak-check", "maintain",
}  # fmt: skip


def paths(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*before, name)
        if isinstance(command, click.Group):
            yield from paths(command, (*before, name))


def test_every_verb_is_listed(run: Command) -> None:
    found = run("--help")
    assert found.code == 0
    assert set(twinlake.commands) >= VERBS
    for verb in VERBS:
        assert f"\n  {verb} " in found.out
    assert run("-h").out == found.out


@pytest.mark.parametrize("path", list(paths(twinlake)), ids="-".join)
def test_every_verb_explains_itself(run: Command, path: tuple[str, ...]) -> None:
    found = run(*path, "--help")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("Usage: ")
    assert f" {' '.join(path)} [OPTIONS]" in found.out
    assert len(found.out.splitlines()) > 5
    if path not in {("training-set",), ("quarantine",), ("token",)}:
        assert "--json" in found.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fly"], "No such command 'fly'"),
        (["training-set", "fly"], "No such command 'fly'"),
        (["plan", "--fly"], "--fly"),
        (["--fly", "plan"], "--fly"),
        (["plan", "extra"], "unexpected extra argument"),
        (["--env", "moon", "plan"], "there is no environment named 'moon'"),
        (["-C", "nowhere", "plan"], "nowhere is not a project"),
        (["--source", "daily_energy", "plan"], "is not NAME=PATH"),
        (["--source", "=x", "plan"], "is not NAME=PATH"),
        (["--source", "nightly=x", "plan"], "there is no source named 'nightly'"),
        (["show"], "Missing argument 'NAME'"),
        (["get"], "Missing argument 'SERVICE'"),
        (["get", "energy_forecast"], "Missing argument 'KEY=VALUE...'"),
        (["get", "energy_forecast", "x"], "'x' is not KEY=VALUE"),
        (["parity", "--keys", "0"], "0 is not in the range"),
        (["leak-check", "--keys", "0"], "0 is not in the range"),
        (["validate"], "Missing argument 'SOURCE'"),
        (["validate", "daily_energy", "--landed", "--batch", "1"], "give --landed or --batch"),
        (["parity", "--keys", "5", "--all"], "give --keys or --all"),
        (["training-set", "build", "energy_forecast"], "Missing option '--spine'"),
        (["materialize", "--start", "soon"], "'soon' is not a time"),
        (["backfill", "household_energy", "--start", "2014-01-01"], "Missing option '--end'"),
        (["backfill", "--start", "2014-01-01", "--end", "2014-02-01"], "Missing argument"),
        (["stream", "--validate-every", "often"], "'often' is not a duration"),
        (["token", "new"], "name at least one --service"),
        (["token", "revoke", "x"], "there is no token named 'x'"),
        (["serve", "--host", "192.0.2.1", "--without-tokens"], "would let everybody read"),
        (["serve", "--port", "70000"], "70000 is not in the range"),
    ],
)
def test_wrong_use_is_told_in_one_line(run: Command, arguments: list[str], told: str) -> None:
    found = run(*arguments)
    assert found.code == 2
    assert found.out == ""
    assert told in found.err
    assert found.err.startswith("twinlake: ")
    as_json = run(*arguments, "--json")
    assert as_json.code == as_json.document["exit_code"] == 2
    assert told in as_json.document["error"]


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_mistake_in_a_project_is_told_with_its_line(
    run: Command, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "features.py").write_text("x = 1\ny = (\n")
    found = run(verb, project=tmp_path)
    assert found.code == 2
    assert "features.py, line 2: SyntaxError" in found.err
    (tmp_path / "features.py").write_text(
        "from twinlake import *\ns = Source('Orders', 'id', 'at')\ne = Entity('e', {})\n"
    )
    found = run(verb, "--json", project=tmp_path)
    assert found.code == 2
    assert "4 problems in the definitions" in found.document["error"]


BEFORE_APPLY = [
    ["get", "energy_forecast", "household_id=MAC000002"],
    ["parity"],
    ["parity", "energy_forecast", "--all"],
    ["materialize"],
    ["materialize", "household_energy", "--end", "2014-01-01"],
    ["materialize-incremental"],
    ["backfill", "household_energy", "--start", "2014-01-01", "--end", "2014-02-01"],
    ["ls"],
    ["show", "daily_energy"],
    ["validate", "daily_energy"],
    ["leak-check"],
    ["leak-check", "energy_forecast"],
]


@pytest.mark.parametrize("arguments", BEFORE_APPLY, ids=" ".join)
def test_before_apply_the_next_command_is_named(
    run: Command, state: Path, arguments: list[str]
) -> None:
    found = run(*arguments)
    assert (found.code, found.out) == (3, "")
    assert f"nothing is applied in {state}" in found.err
    assert "Hint: run `twinlake apply` first" in found.err
    document = run("--json", *arguments).document
    assert document["exit_code"] == 3
    assert "twinlake apply" in document["hint"]
    assert not state.exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckFailed("found it"), 1),
        (InputError("found it", hint="mend it"), 2),
        (StateError("found it"), 3),
        (EnvironmentFailure("found it"), 3),
        (ZeroDivisionError("found it\nand more"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_have_their_exit_codes(
    run: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(applying, "plan", fail)
    found = run("plan")
    assert (found.code, found.out) == (code, "")
    if code != 130:
        assert "found it" in found.err
        assert "and more" not in found.err
        assert run("plan", "--json").document["exit_code"] == code
    if isinstance(error, ZeroDivisionError):
        assert "TWINLAKE_DEBUG=1" in found.err


def test_who_debugs_sees_where_an_error_comes_from(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINLAKE_DEBUG", "1")
    with pytest.raises(TwinlakeError, match="is not a project"):
        run("plan", project=Path("nowhere"))


def test_init_makes_a_project_that_plan_takes(run: Command, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "shop"
    made = run("init", folder)
    assert made.code == 0
    assert f"twinlake -C {folder} plan" in made.out
    planned = run("plan", "--json", project=folder)
    assert planned.code == 0
    assert planned.document["changes"] is True
    assert list(load(folder).views) == ["customer_orders"]
    assert "no files to look at" in planned.err
    again = run("init", folder, "--json")
    assert again.code == 2
    assert "is there already" in again.document["error"]


def test_init_into_a_file_is_refused(run: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    found = run("init", tmp_path / "taken")
    assert found.code == 2
    assert "taken" in found.err


def test_the_doctor_speaks_json(run: Command) -> None:
    found = run("doctor", "--json")
    assert found.code == (0 if found.document["ok"] else 3)
    assert {finding["name"] for finding in found.document["findings"]} >= {"Python", "Java", "jars"}
    told = run("doctor")
    assert told.code == found.code
    assert all(finding["name"] in told.out for finding in found.document["findings"])


def test_the_command_is_light_and_keeps_its_streams_apart(tmp_path: Path) -> None:
    heavy = "{'pyspark', 'numpy', 'pandas', 'pyarrow', 'mlflow', 'xgboost', 'great_expectations'}"
    program = f"import sys, twinlake.cli.main; print(sorted({heavy} & set(sys.modules)))"
    folder = CHECKOUT / "spark_jobs"
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
    folders = ["--state", str(tmp_path), "-C", str(tmp_path)]
    command = [str(PROGRAM), "--json", *folders, "plan"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert json.loads(found.stdout)["exit_code"] == 2
    assert "Traceback" not in found.stderr


def test_a_table_lines_up() -> None:
    assert table(
        ("name", "rows"), [("a", 1), ("long name", 1_234_567), ("b", None)]
    ).splitlines() == [
        "name            rows",
        "a                  1",
        "long name  1,234,567",
        "b                  -",
    ]
    assert table(("rows",), [(1,), (1_000,)]).splitlines() == [" rows", "    1", "1,000"]
    assert table(("a", "b"), []) == "a  b"
