"""A project that looks as if apply had run, and the command in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input import FEATURES, Case, Place, Result, assert_refused, call, prepare, tree
from tests.unit.cli.conftest import pretend_applied
from twinlake.definitions.loading import load


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in ("STATE", "SPARK_MASTER", "DRIVER_MEMORY", "SHUFFLE_PARTITIONS", "CONF", "DEBUG"):
        monkeypatch.delenv(f"TWINLAKE_{name}", raising=False)
    made = Place(tmp_path / "project", tmp_path / "state")
    made.data.mkdir(parents=True)
    made.features.write_text(FEATURES, "utf-8")
    return made


@pytest.fixture(scope="session")
def applied_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state that every test copies: making one waits for the disk."""
    folder = tmp_path_factory.mktemp("applied")
    (folder / "features.py").write_text(FEATURES, "utf-8")
    pretend_applied(folder / "state", load(folder))
    return folder / "state"


@pytest.fixture
def applied(place: Place, applied_state: Path) -> Place:
    shutil.copytree(applied_state, place.state)
    return place


Refuse = Callable[[Case], None]
Run = Callable[..., Result]


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on the place."""

    def run_it(*command: str) -> Result:
        return call(place, command, monkeypatch, capsys)

    return run_it


@pytest.fixture
def refuse(
    applied: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refuse:
    """Run a case against what was applied, as text and as JSON; it must leave all as it was."""

    def refuse_it(case: Case) -> None:
        prepare(case, applied, monkeypatch)
        before = tree(applied.state)
        assert before
        assert_refused(case, call(applied, ["--json", *case.command], monkeypatch, capsys))
        plain = call(applied, case.command, monkeypatch, capsys)
        assert (plain.code, plain.out) == (case.code, "")
        assert "starting Spark" not in plain.err
        assert tree(applied.state) == before

    return refuse_it
