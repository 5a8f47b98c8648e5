"""Loading: what is wrong with a file is told with the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinlake.definitions.loading import load
from twinlake.errors import DefinitionError, InputError

GOOD = """
from twinlake import Clock, Entity, FeatureService, FeatureView, Files, Source, Column

orders = Source("orders", schema="id bigint, at timestamp", event_timestamp="at", batch=Files("x"))
view = FeatureView("v", Entity("e", {"id": "bigint"}), orders, [Column("at", name="last")])
again = view
clock = Clock("data")
"""


def project(folder: Path, text: str) -> Path:
    (folder / "features.py").write_text(text, encoding="utf-8")
    return folder


def test_everything_at_the_top_level_is_found(tmp_path: Path) -> None:
    definitions = load(project(tmp_path, GOOD))
    assert [*definitions.entities, *definitions.sources, *definitions.views] == ["e", "orders", "v"]
    assert definitions.clock.reading == "data"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("x = 1\ny = (2,\n", 2, "SyntaxError"),
        ("x = 1\n\nif True:\nx = 2\n", 4, "IndentationError"),
        ("import nothing_of_that_name\n", 1, "ModuleNotFoundError"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError"),
        ("import json\n\njson.loads('{')\n", 3, "JSONDecodeError"),
        ("from twinlake import Entity\nEntity('a', {}, colour='red')\n", 2, "colour"),
    ],
)
def test_a_file_that_cannot_be_run_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, told: str
) -> None:
    with pytest.raises(InputError, match=rf"features\.py, line {line}: ") as failure:
        load(project(tmp_path, text))
    assert told in failure.value.message
    assert failure.value.exit_code == 2
    assert failure.value.hint


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "features.py").write_bytes(b"x = '\xff\xfe'\n")
    with pytest.raises(InputError, match=r"features\.py, line .*SyntaxError"):
        load(tmp_path)


def test_a_folder_without_features_is_no_project(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            InputError, match=r"is not a project: it has no features\.py"
        ) as failure:
            load(place)
        assert "-C" in (failure.value.hint or "")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('other = Entity("e", {"id": "string"})', "Entity e: is defined twice"),
        ('other = Source("orders", "id bigint, at timestamp", "at")', "Source orders: is defined"),
        ('other = FeatureView("v", view.entity, orders, [])', "FeatureView v: is defined twice"),
        ('a = FeatureService("s", [view])\nb = FeatureService("s", [])', "FeatureService s"),
        ('other = Clock("wall")', "clock: is defined twice"),
    ],
)
def test_the_same_name_defined_twice_is_named(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(DefinitionError) as failure:
        load(project(tmp_path, f"{GOOD}\n{line}\n"))
    assert len(failure.value.problems) == 1
    assert told in failure.value.message


def test_the_same_definition_under_two_names_is_one(tmp_path: Path) -> None:
    same = 'other = Entity("e", {"id": "bigint"})\nsame = Clock("data")\n'
    assert list(load(project(tmp_path, GOOD + same)).entities) == ["e"]


def test_errors_that_the_author_raises_on_purpose_come_through(tmp_path: Path) -> None:
    text = "from twinlake.errors import StateError\nraise StateError('not today')\n"
    with pytest.raises(Exception, match="not today") as failure:
        load(project(tmp_path, text))
    assert type(failure.value).__name__ == "StateError"
