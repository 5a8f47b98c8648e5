"""Numbered documents: written once, by one writer, and never half read."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.registry.racers import race
from twinlake.errors import EnvironmentFailure, StateError
from twinlake.registry.documents import AlreadyWritten, Documents

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    return Documents(tmp_path / "state" / "registry")


def test_a_folder_that_is_not_there_is_empty(documents: Documents) -> None:
    assert documents.numbers() == []
    assert documents.latest() is None
    assert list(documents.all()) == []
    assert not documents.folder.exists()


def test_documents_come_in_the_order_of_their_numbers(documents: Documents) -> None:
    for number in (10, 2, 1):
        documents.create(number, {"number": number, "ä": "日本"})
    assert documents.numbers() == [1, 2, 10]
    assert documents.latest() == (10, {"number": 10, "ä": "日本"})
    assert [document["number"] for _, document in documents.all()] == [1, 2, 10]


def test_a_number_is_taken_once(documents: Documents) -> None:
    documents.create(1, {"by": "first"})
    with pytest.raises(AlreadyWritten, match="written by another process") as failure:
        documents.create(1, {"by": "second"})
    assert failure.value.exit_code == 3
    assert documents.read(1) == {"by": "first"}
    assert len(list(documents.folder.iterdir())) == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_any_document_reads_back(documents: Documents, document: dict[str, object]) -> None:
    number = len(documents.numbers())
    documents.create(number, document)
    assert documents.read(number) == document


def test_of_two_processes_that_race_for_a_number_one_wins(tmp_path: Path) -> None:
    rounds, names = 20, ("a", "b")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(names))
    racers = [
        context.Process(target=race, args=(tmp_path, name, rounds, barrier)) for name in names
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(30)
    assert [racer.exitcode for racer in racers] == [0, 0]
    documents = Documents(tmp_path)
    assert documents.numbers() == list(range(rounds))
    for number, document in documents.all():
        (loser,) = (name for name in names if (tmp_path / f"{name}-lost-{number}").exists())
        assert document["by"] != loser
        assert document["text"] == document["by"] * 10_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is damaged"),
        (b'{"a": 1', "is damaged"),
        (b'{"a": "\xff"}', "is damaged"),
        (b"[1]", "holds a list, expected an object"),
        (b"null", "holds a NoneType"),
    ],
)
def test_a_damaged_document_is_named(documents: Documents, content: bytes, told: str) -> None:
    documents.create(1, {})
    path = documents.folder / f"{1:020d}.json"
    path.write_bytes(content)
    for read in (lambda: documents.read(1), documents.latest, lambda: list(documents.all())):
        with pytest.raises(StateError, match=told) as failure:
            read()
        assert str(path) in failure.value.message


def test_a_missing_document_is_named(documents: Documents) -> None:
    with pytest.raises(StateError, match=r"0007\.json is missing"):
        documents.read(7)


def test_other_files_are_passed_over(documents: Documents) -> None:
    documents.create(3, {})
    for name in ("notes.txt", ".x.part", "3.json", f"{4:020d}.json.bak"):
        (documents.folder / name).touch()
    (documents.folder / "intents").mkdir()
    assert documents.numbers() == [3]


@pytest.mark.parametrize("place", ["state", "state/registry"])
def test_a_folder_that_cannot_be_is_no_other_writer(tmp_path: Path, place: str) -> None:
    blocked = tmp_path / place
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file")
    with pytest.raises(EnvironmentFailure, match="cannot write") as failure:
        Documents(tmp_path / "state" / "registry").create(1, {})
    assert "--state" in (failure.value.hint or "")
    assert blocked.read_text() == "a file"


def test_what_is_no_json_leaves_nothing_behind(documents: Documents) -> None:
    with pytest.raises(TypeError):
        documents.create(1, {"a": object()})
    assert documents.numbers() == []


def test_a_deleted_document_is_gone(documents: Documents) -> None:
    documents.create(1, {})
    documents.create(2, {})
    documents.delete(1)
    documents.delete(1)
    assert documents.numbers() == [2]
