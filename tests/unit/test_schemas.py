"""The contracts under schemas/ are what the definitions give; a change shows in review."""

import sqlite3
from pathlib import Path

import pytest

from schemas import generate
from twinlake.definitions.loading import load

EXAMPLES = generate.examples()
HINT = "run: .venv/bin/python schemas/generate.py, and look at what changed"


def test_there_is_an_example() -> None:
    assert "smart_meters" in EXAMPLES


def test_every_folder_is_of_an_example() -> None:
    folders = {place.name for place in generate.SCHEMAS.iterdir() if place.is_dir()}
    assert folders - {"__pycache__"} == set(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_files_are_what_the_definitions_give(example: str) -> None:
    wanted = generate.contracts(generate.EXAMPLES / example)
    files = (generate.SCHEMAS / example).glob("*")
    assert {file.name: file.read_text("utf-8") for file in files} == wanted, HINT


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_definition_has_its_files(example: str) -> None:
    definitions = load(generate.EXAMPLES / example)
    wanted = {f"events.{name}.json" for name in definitions.sources}
    for name in definitions.views:
        wanted |= {f"view.{name}.json", f"online.{name}.sql", f"online.{name}.cql"}
    wanted |= {f"training_set.{name}.json" for name in definitions.services}
    assert generate.contracts(generate.EXAMPLES / example).keys() == wanted


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_ddl_makes_tables(example: str) -> None:
    with sqlite3.connect(":memory:") as database:
        for file in sorted((generate.SCHEMAS / example).glob("online.*.sql")):
            database.executescript(file.read_text("utf-8"))
        (made,) = database.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")
    database.close()
    assert made[0] == len(load(generate.EXAMPLES / example).views)


def test_a_changed_feature_changes_files(tmp_path: Path) -> None:
    source = (generate.EXAMPLES / "smart_meters" / "features.py").read_text("utf-8")
    (tmp_path / "features.py").write_text(source.replace('"91d"', '"92d"'), "utf-8")
    before = generate.contracts(generate.EXAMPLES / "smart_meters")
    after = generate.contracts(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "view.household_energy.json",
        "online.household_energy.sql",
        "online.household_energy.cql",
    }
