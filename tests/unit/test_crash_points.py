"""Crash points: the list is what the code holds, and each kills or stops as asked."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from twinlake import crash_points
from twinlake.crash_points import NAMES

PACKAGE = Path(crash_points.__file__).parent


def points_in_code() -> list[str]:
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reached":
                (name,) = node.args
                assert isinstance(name, ast.Constant)
                found.append(str(name.value))
    return found


def test_the_list_is_what_the_code_holds_each_once() -> None:
    assert sorted(points_in_code()) == sorted(NAMES)


def run(program: str, tmp_path: Path, point: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "TWINLAKE_CRASH_SEEN": str(tmp_path / "seen")}
    return subprocess.run(
        [sys.executable, "-c", f"from twinlake.crash_points import reached\n{program}"],
        env={**environ, "TWINLAKE_CRASH_POINT": point},
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


THRICE = "for _ in range(3): reached('landing.begun'); print('alive', flush=True)"


@pytest.mark.parametrize(
    ("point", "code", "lived"),
    [
        ("", 0, 3),
        ("landing.judged", 0, 3),
        ("landing.begun", -signal.SIGKILL, 0),
        ("landing.begun:2", -signal.SIGKILL, 1),
        ("landing.begun:4", 0, 3),
    ],
)
def test_a_point_kills_where_and_when_it_is_asked_to(
    tmp_path: Path, point: str, code: int, lived: int
) -> None:
    ended = run(THRICE, tmp_path, point)
    assert (ended.returncode, ended.stdout.count("alive")) == (code, lived)
    reached = (tmp_path / "seen").read_text().split()
    assert reached == ["landing.begun"] * (lived + (code != 0))


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    ended = run(THRICE, tmp_path, "landing.begin")
    assert ended.returncode == 1
    assert "names no crash point: 'landing.begin'" in ended.stderr


def test_a_stopped_process_goes_on() -> None:
    program = "from twinlake.crash_points import reached\nreached('landing.begun')\nprint('on')"
    environ = {**os.environ, "TWINLAKE_CRASH_POINT": "landing.begun:stop"}
    started = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environ,
        cwd=PACKAGE.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    _, status = os.waitpid(started.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(started.pid, signal.SIGCONT)
    answer, _ = started.communicate(timeout=60)
    assert (started.returncode, answer) == (0, "on\n")
