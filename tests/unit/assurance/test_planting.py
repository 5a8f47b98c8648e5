"""What is planted lies just beyond what a spine row may see, and what arrives is named."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from twinlake.assurance.planting import (
    CLEAN,
    FUTURE,
    PLANTED,
    TWIN,
    Copy,
    SpineRow,
    copies,
    examine,
    plants_at,
)
from twinlake.definitions.times import DAY_US

AT = 1_393_545_600_000_000
ROW = SpineRow(0, {"k": "a", "g": 1}, AT)
VIEWS = {"x": "view", "view__status": "view"}


@given(
    at_us=st.integers(-(2**50), 2**52),
    windows=st.lists(st.integers(1, 400 * DAY_US), max_size=4),
    known=st.sampled_from(["event", "arrival", "made"]),
)
def test_no_spine_row_may_see_a_planted_one_and_every_twin_it_may(
    at_us: int, windows: list[int], known: str
) -> None:
    plants = list(plants_at(at_us, "things", ("k",), known, windows))
    assert len(plants) == len(set(plants))
    for plant in plants:
        # Law 1: visible iff it happened by t and was known by t.
        assert max(plant.event_us, plant.known_us) > at_us
        assert (plant.event_us > at_us) == (plant.kind == FUTURE)
        twin = plant.seen_at(at_us)
        assert max(twin.event_us, twin.known_us) <= at_us
        if known == "event":
            assert plant.known_us == plant.event_us
    assert min(plant.event_us for plant in plants if plant.kind == FUTURE) == at_us + 1
    if known != "event":
        hidden = {plant.event_us for plant in plants if plant.kind != FUTURE}
        assert hidden == {at_us, *(at_us - window + 1 for window in windows)}


def made() -> list[Copy]:
    return copies([ROW], {0: list(plants_at(AT, "things", ("k",), "event", []))})


def test_each_planted_row_has_a_copy_for_itself() -> None:
    roles = [copy.role for copy in made()]
    assert roles == [CLEAN, *[PLANTED] * 4, *[TWIN] * 2]
    assert [copy.number for copy in made()] == list(range(7))


def cells(**changed: Any) -> dict[int, dict[str, Any]]:
    usual = {copy.number: {"x": 1.0, "view__status": "present"} for copy in made()}
    twin = next(copy.number for copy in made() if copy.role == TWIN)
    usual[twin]["x"] = 7.0
    return usual | {int(name[1:]): cell for name, cell in changed.items()}


def test_nothing_that_arrives_is_no_leak() -> None:
    found = examine(made(), cells(), VIEWS)
    assert (found.rows, found.planted, found.cells, found.leaks) == (1, {"future": 4}, 8, [])
    assert found.shown == {"x": 1, "view__status": 0}
    assert found.untested == ["view__status"]


def test_what_arrives_is_named_with_what_was_planted() -> None:
    found = examine(made(), cells(_3={"x": -0.0, "view__status": "present"}), VIEWS)
    [leak] = found.leaks
    assert (leak.view, leak.feature, leak.key, leak.as_of_us) == ("view", "x", {"k": "a"}, AT)
    assert (leak.planted, leak.source, leak.planted_event_us) == ("future", "things", AT + DAY_US)
    assert (leak.expected, leak.found) == ("1.0", "-0.0")


def test_nan_is_nan_and_zero_has_a_sign() -> None:
    same = {number: {"x": float("nan"), "view__status": None} for number in range(7)}
    assert not examine(made(), same, VIEWS).leaks
    signed = {number: {"x": -0.0 if number == 1 else 0.0, "view__status": None} for number in same}
    assert len(examine(made(), signed, VIEWS).leaks) == 1
