"""Break one guarantee at a time, and see that the tests notice.

    .venv/bin/python -m tests.mutations [--sure] [NAME...]
    .venv/bin/python -m tests.mutations --list

Each mutant is one change of one place in a copy of the checkout, and names the tests that must go
red there. First these tests run in a copy without a change, where all must pass; not with --sure,
for who has seen that already, such as in a run of their lanes. Exit code 1 where a mutant lives.
Those on Spark and those that kill processes take minutes each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.mutations.mutants import MUTANTS, Mutant

CHECKOUT = Path(__file__).resolve().parents[2]
PASSED, FAILED = 0, 1  # pytest's exit codes; anything else says that no test decided
LIMIT_S = 1800


@contextmanager
def copied() -> Iterator[Path]:
    """Copy what git knows of the checkout, as it lies there now."""
    with tempfile.TemporaryDirectory(prefix="mutant") as folder:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True, text=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            source, target = CHECKOUT / name, Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_file():
                shutil.copy(source, target)
        yield Path(folder)


def mutate(folder: Path, mutant: Mutant) -> None:
    """Change the place; a mutant that does not fit the code any more is a failure of its own."""
    file = folder / mutant.file
    text = file.read_text()
    found = text.count(mutant.before)
    if found != 1:
        sys.exit(f"{mutant.name}: {mutant.file} has its place {found} times, expected once")
    file.write_text(text.replace(mutant.before, mutant.after))


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int, float]:
    """Run tests in a copy up to the first failure; pytest's exit code and how long it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=folder,
        env={**os.environ, "HYPOTHESIS_PROFILE": "mutants"},
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, time.monotonic() - began


def passes_unchanged(mutants: Sequence[Mutant]) -> bool:
    """Tell whether the tests of some mutants pass where nothing is changed."""
    targets = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    with copied() as folder:
        code, seconds = run_tests(folder, targets)
    say(f"{'unchanged':<48} {'passes' if code == PASSED else 'FAILS':<8} {seconds:6.0f} s")
    return code == PASSED


def check(mutants: Sequence[Mutant]) -> int:
    """Try mutants one by one; how many live."""
    living = 0
    for mutant in mutants:
        with copied() as folder:
            mutate(folder, mutant)
            code, seconds = run_tests(folder, mutant.tests)
        living += code != FAILED
        verdict = {PASSED: "LIVES", FAILED: "red"}.get(code, f"EXIT {code}")
        say(f"{mutant.name:<48} {verdict:<8} {seconds:6.0f} s")
    say(f"{len(mutants) - living} of {len(mutants)} went red")
    return living


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutations")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which mutants; default: all")
    parser.add_argument("--sure", action="store_true", help="the tests pass unchanged")
    parser.add_argument("--list", action="store_true", help="only name them")
    options = parser.parse_args()
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := sorted(set(options.names) - set(by_name)):
        parser.error(f"no such mutant: {', '.join(unknown)}")
    chosen = [by_name[name] for name in options.names] or list(MUTANTS)
    if options.list:
        for mutant in chosen:
            say(f"{mutant.name:<48} {' '.join(mutant.tests)}")
        return 0
    if not options.sure and not passes_unchanged(chosen):
        return 1
    return 1 if check(chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
