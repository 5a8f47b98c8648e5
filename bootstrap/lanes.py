"""The test lanes: run one or all, hide no result, say where the time goes.

bash bootstrap/test [--lane NAME] [-- PYTEST ARGUMENTS]

A lane is a list of folders under tests/. One that is missing or in which no test is found fails
the lane, for a lane that runs nothing proves nothing. Without --lane all lanes that are built
run but those on demand, each whatever the others gave. Exit codes: 0 all passed, 1 a lane failed,
2 wrong use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import randrange
from xml.etree import ElementTree as ET

CHECKOUT = Path(__file__).resolve().parents[1]
BIN = Path(sys.prefix) / "bin"
CHECKED = ("spark_jobs", "tests", "bootstrap", "schemas")

LINT: dict[str, list[str | Path]] = {
    "ruff check": [BIN / "ruff", "check", "--output-format=concise"],
    "ruff format": [BIN / "ruff", "format", "--check"],
    "mypy": [BIN / "mypy", *CHECKED],
    "import contracts": [BIN / "lint-imports", "--no-cache", "--no-logo"],
}
FOLDERS = {
    "unit": ("tests/unit", "tests/arch", "tests/conformance", "tests/simulation"),
    "spark": ("tests/spark",),
    "stack": ("tests/stack", "tests/conformance"),
    "faults": ("tests/faults",),
    "soak": ("tests/soak",),
    "browser": ("tests/browser",),
    "notebooks": ("tests/notebooks",),
}
BUILT = ("lint", *FOLDERS)
# Built, but run only when asked for: an hour of faults, and what needs a browser.
ON_DEMAND = ("faults", "browser")
# Lanes that run in several processes: one alone leaves much of a second core idle.
PROCESSES = {"unit": 2, "spark": 2}
# Which online stores the conformance tests try; SQLite where a lane does not say.
STORES = {"stack": "cassandra"}
LATER = ("cluster", "spark40")
# How long the lane's own run lasts; among all lanes it is a short one, by a fixed seed.
SOAK_S = 1_200


@dataclass(frozen=True, slots=True)
class Result:
    """What one lane gave.

    Attributes:
        problem: Why the lane failed although no test did; empty otherwise.
    """

    lane: str
    passed: int
    failed: int
    seconds: float
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """Whether something ran and all of it passed."""
        return self.failed == 0 and self.passed > 0 and not self.problem


def lint() -> Result:
    """Run every check, whatever the one before said."""
    started = time.monotonic()
    failed = []
    for name, command in LINT.items():
        say(f"-- {name}")
        if subprocess.run(command, cwd=CHECKOUT, env=environment(), check=False).returncode:
            failed.append(name)
    seconds = time.monotonic() - started
    return Result("lint", len(LINT) - len(failed), len(failed), seconds, ", ".join(failed))


def tests(lane: str, arguments: list[str], *, is_alone: bool) -> Result:
    """Run the tests of a lane by one call of pytest."""
    empty = [folder for folder in FOLDERS[lane] if not any(test_files(folder))]
    present = [folder for folder in FOLDERS[lane] if folder not in empty]
    problem = f"no test in {', '.join(empty)}" if empty else ""
    if not present:
        return Result(lane, 0, 0, 0.0, problem)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "--durations=10", f"--junitxml={report}"]
        if lane in PROCESSES:  # a file's tests share what its fixtures made
            command += ["-n", str(PROCESSES[lane]), "--dist", "loadfile"]
        command.append("--continue-on-collection-errors")  # one broken file hides no other
        done = subprocess.run(
            [*command, *present, *arguments],
            cwd=CHECKOUT,
            env=environment(lane, is_alone=is_alone),
            check=False,
        )
        passed, failed = counts(report)
    if done.returncode and not failed:
        problem = problem or f"pytest ended with exit code {done.returncode}"
    if not passed and not failed:
        problem = problem or "no test ran"
    return Result(lane, passed, failed, time.monotonic() - started, problem)


def test_files(folder: str) -> list[Path]:
    """The files that pytest would collect in a folder."""
    return sorted((CHECKOUT / folder).rglob("test_*.py"))


def counts(report: Path) -> tuple[int, int]:
    """Passed and failed of a JUnit report; skipped tests are neither."""
    if not report.is_file():
        return 0, 0
    # Written a moment ago by our own pytest, so no untrusted XML.
    suite = next(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314
    total, failures, errors, skipped = (
        int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors


def environment(lane: str = "", *, is_alone: bool = False) -> dict[str, str]:
    """What the tools run with: this interpreter for Spark's workers too, and one time zone."""
    soak = {}
    if lane == "soak" and is_alone:  # what a variable says comes first
        seed = randrange(1_000_000)  # noqa: S311 (what happens when is no secret)
        soak = {"TWINLAKE_SOAK_S": str(SOAK_S), "TWINLAKE_SOAK_SEED": str(seed)}
    return {
        **soak,
        **os.environ,
        "TZ": "UTC",
        "PYSPARK_PYTHON": sys.executable,
        "TWINLAKE_TEST_STORES": STORES.get(lane, "sqlite"),
    }


def chosen(lane: str | None) -> list[str]:
    """The lanes to run: the one asked for, else all that are built."""
    if lane is None:
        # Notebooks come with the first notebook test; after that the folder cannot be left empty.
        missing = {"notebooks"} if not (CHECKOUT / "tests/notebooks").is_dir() else set()
        return [name for name in BUILT if name not in missing and name not in ON_DEMAND]
    if lane in BUILT:
        return [lane]
    state = "is not built yet" if lane in LATER else "does not exist"
    say(f"test: lane {lane!r} {state}\nHint: lanes there are: {', '.join(BUILT)}")
    sys.exit(2)


def say(text: str) -> None:
    """Tell the user, in order with what the tools print."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(arguments: list[str]) -> int:
    """Run what was asked for and sum it up; the exit code."""
    parser = argparse.ArgumentParser(prog="bootstrap/test", allow_abbrev=False)
    parser.add_argument("--lane", help=f"one of: {', '.join(BUILT)}; default: all of them")
    parser.add_argument("pytest", nargs="*", help="after --: arguments for pytest")
    options = parser.parse_args(arguments)
    results = []
    for lane in chosen(options.lane):
        say(f"== lane {lane}")
        is_alone = options.lane is not None
        one = lint() if lane == "lint" else tests(lane, options.pytest, is_alone=is_alone)
        results.append(one)
    say(f"\n{'lane':<12}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for result in results:
        verdict = "" if result.is_good else f"  FAILED {result.problem}".rstrip()
        row = f"{result.lane:<12}{result.passed:>8}{result.failed:>8}{result.seconds:>9.1f}"
        say(row + verdict)
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
