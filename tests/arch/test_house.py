"""The house is as its rules say; the rules themselves are in rules.py and tested beside it."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.arch import rules
from tests.arch.rules import CHECKOUT, PACKAGE

FOLDERS = {"bootstrap", "conf", "notebooks", "schemas", "spark_jobs", "tests"}
# What tools and Spark leave where they run; git ignores it.
LEFTOVERS = {"build", "dist", "spark-warehouse", "metastore_db", "mlruns", "__pycache__"}

SOURCES = rules.python_files(CHECKOUT / "spark_jobs", CHECKOUT / "bootstrap")
MODULES = rules.python_files(PACKAGE)
PAGES = sorted(
    page
    for page in CHECKOUT.rglob("*.md")
    if not any(part.startswith(".") for part in page.relative_to(CHECKOUT).parts)
)

# The commands are where the time of day comes in; from there on it is an argument. Who may import
# clock.py is an import contract.
MAY_READ_CLOCKS = {"cli", "clock.py"}

# Beside the standard library; what each may know of twinlake itself is an import contract.
THIRD_PARTIES = {"definitions": (), "planning": (), "kernel": ("numpy",)}
LOWEST = ("clock.py", "errors.py", "java.py", "settings.py", "version.py")


def _name(file: Path) -> str:
    return str(file.relative_to(CHECKOUT))


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 20
    assert CHECKOUT / "CONTRIBUTING.md" in PAGES


def test_top_level_folders_are_the_six() -> None:
    found = {
        place.name
        for place in CHECKOUT.iterdir()
        if place.is_dir() and not place.name.startswith(".") and place.suffix != ".egg-info"
    }
    assert found - LEFTOVERS <= FOLDERS


@pytest.mark.parametrize("file", MODULES, ids=_name)
def test_time_is_an_argument(file: Path) -> None:
    if file.relative_to(PACKAGE).parts[0] not in MAY_READ_CLOCKS:
        assert rules.clock_reads(file.read_text("utf-8")) == []


@pytest.mark.parametrize("file", SOURCES, ids=_name)
def test_files_and_functions_are_small(file: Path) -> None:
    source = file.read_text("utf-8")
    assert len(source.splitlines()) <= rules.MAX_FILE_LINES
    assert rules.long_functions(source) == []


@pytest.mark.parametrize("file", SOURCES, ids=_name)
def test_names_say_something(file: Path) -> None:
    assert not rules.is_vague(file)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*/__init__.py")), ids=_name)
def test_inner_init_files_hold_a_docstring_only(file: Path) -> None:
    if file.parent != PACKAGE:
        assert rules.is_docstring_only(file.read_text("utf-8"))


@pytest.mark.parametrize(("folder", "allowed"), THIRD_PARTIES.items(), ids=THIRD_PARTIES)
def test_what_is_pure_stays_pure(folder: str, allowed: tuple[str, ...]) -> None:
    files = rules.python_files(PACKAGE / folder)
    foreign = {
        _name(file): rules.foreign_imports(file.read_text("utf-8"), allowed) for file in files
    }
    assert {name: found for name, found in foreign.items() if found} == {}


@pytest.mark.parametrize("name", LOWEST)
def test_the_lowest_modules_need_the_standard_library_only(name: str) -> None:
    assert rules.foreign_imports((PACKAGE / name).read_text("utf-8"), ()) == []


def test_importing_twinlake_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'pandas', 'pyarrow', 'pyspark', 'mlflow', 'xgboost', 'great_expectations'}"
    program = f"import sys, twinlake; print(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", program]
    answer = subprocess.run(
        command, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_pages_tell_the_truth(page: Path) -> None:
    text = page.read_text("utf-8")
    assert rules.dead_links(text, page.parent) == []
    assert rules.dead_commands(text, CHECKOUT, _lanes()) == []


def test_no_registry_is_named_where_things_are_fetched() -> None:
    """Which one is asked is each user's own configuration."""
    hosts = re.compile(r"\w+://")
    kept = [file for file in (CHECKOUT / "bootstrap").glob("*") if file.is_file()]
    assert [_name(file) for file in kept if hosts.search(file.read_text("utf-8"))] == []


def _lanes() -> set[str]:
    spec = importlib.util.spec_from_file_location("lanes", CHECKOUT / "bootstrap" / "lanes.py")
    assert spec is not None
    assert spec.loader is not None
    lanes = importlib.util.module_from_spec(spec)
    sys.modules["lanes"] = lanes  # dataclasses look their module up
    spec.loader.exec_module(lanes)
    return {*lanes.BUILT}
