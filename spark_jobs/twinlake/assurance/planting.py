"""What a leak check plants around a spine row, and what it makes of the training set. Pure.

Every planted row has a copy of its key's history for itself, so that one never hides another, and
a twin: the same row, moved to where it may be seen. A feature that no twin changes could not have
shown a leak, and is reported as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinlake.definitions.sources import KNOWN_AT_EVENT
from twinlake.definitions.times import DAY_US

HIGH, LOW = "high", "low"
FUTURE, NOT_YET_KNOWN = "future", "not yet known"
CLEAN, PLANTED, TWIN = "clean", "planted", "twin"


@dataclass(frozen=True, slots=True)
class Plant:
    """One row to plant.

    Attributes:
        source: The source among whose events it goes.
        keys: The join keys by which it is found.
        kind: ``future`` or ``not yet known``.
        event_us: When it happened.
        known_us: When it became known.
        values: ``high`` or ``low``: which values it carries.
    """

    source: str
    keys: tuple[str, ...]
    kind: str
    event_us: int
    known_us: int
    values: str

    def seen_at(self, at_us: int) -> Plant:
        """Give its twin, which happened and was known by then."""
        event_us, known_us = min(self.event_us, at_us), min(self.known_us, at_us)
        return Plant(self.source, self.keys, self.kind, event_us, known_us, self.values)


@dataclass(frozen=True, slots=True)
class SpineRow:
    """A row that is checked: keys by name, and as of when."""

    number: int
    keys: Mapping[str, Any]
    at_us: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A spine row with a copy of its keys' history, and what is planted into that.

    Attributes:
        number: Names the copy; its key is made of it.
        row: The spine row.
        role: ``clean``, ``planted`` or ``twin``.
        plant: What is planted; None into a clean copy.
    """

    number: int
    row: SpineRow
    role: str
    plant: Plant | None


@dataclass(frozen=True, slots=True)
class Leak:
    """A planted row that arrived in a training set."""

    view: str
    feature: str
    key: Mapping[str, Any]
    as_of_us: int
    planted: str
    source: str
    planted_event_us: int
    planted_known_us: int
    expected: str
    found: str


@dataclass
class Examined:
    """What came of the comparison.

    Attributes:
        rows: Spine rows.
        planted: Rows planted, by kind.
        cells: Cells compared.
        shown: Per feature, in how many spine rows a twin changed it.
        leaks: What arrived.
    """

    rows: int
    planted: dict[str, int]
    cells: int = 0
    shown: dict[str, int] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)

    @property
    def untested(self) -> list[str]:
        """Features that nothing planted could have changed."""
        return [name for name, count in self.shown.items() if not count]


def plants_at(
    at_us: int, source: str, keys: tuple[str, ...], known: str, windows_us: Sequence[int]
) -> Iterator[Plant]:
    """Yield what must not be seen at an instant.

    Args:
        at_us: The instant of the spine row.
        source: The source to plant into.
        keys: The join keys.
        known: How the source says when a row became known.
        windows_us: The windows of the views on it.
    """
    times = [(FUTURE, at_us + 1, at_us + 1), (FUTURE, at_us + DAY_US, at_us + DAY_US)]
    if known != KNOWN_AT_EVENT:
        times.append((FUTURE, at_us + 1, at_us - DAY_US))  # announced before it happens
        # At the end of every window, and just inside its beginning, where ``first`` looks.
        events = dict.fromkeys([at_us, *(at_us - window + 1 for window in sorted(windows_us))])
        times += [(NOT_YET_KNOWN, event_us, at_us + 1) for event_us in events]
    for kind, event_us, known_us in times:
        for values in (HIGH, LOW):
            yield Plant(source, keys, kind, event_us, known_us, values)


def copies(rows: Iterable[SpineRow], plants: Mapping[int, Sequence[Plant]]) -> list[Copy]:
    """Give every spine row a clean copy, one for each planted row, and one for each twin."""
    made: list[Copy] = []

    def add(row: SpineRow, role: str, plant: Plant | None) -> None:
        made.append(Copy(len(made), row, role, plant))

    for row in rows:
        add(row, CLEAN, None)
        for plant in plants[row.number]:
            add(row, PLANTED, plant)
        twins = {
            (twin.source, twin.keys, twin.event_us, twin.known_us, twin.values): twin
            for twin in (plant.seen_at(row.at_us) for plant in plants[row.number])
        }
        for twin in twins.values():
            add(row, TWIN, twin)
    return made


def examine(
    made: Sequence[Copy],
    cells: Mapping[int, Mapping[str, Any]],
    views: Mapping[str, str],
) -> Examined:
    """Compare every planted copy with the clean one of its spine row.

    Args:
        made: The copies.
        cells: By copy, what the training set holds: column to value.
        views: The columns to compare, with the view of each.
    """
    clean = {copy.row.number: cells[copy.number] for copy in made if copy.role == CLEAN}
    planted: dict[str, int] = {}
    changed: dict[str, set[int]] = {name: set() for name in views}
    found = Examined(len(clean), planted)
    for copy in made:
        if copy.plant is None:
            continue
        differing = _differing(clean[copy.row.number], cells[copy.number], views)
        if copy.role == TWIN:
            for name in differing:
                changed[name].add(copy.row.number)
            continue
        planted[copy.plant.kind] = planted.get(copy.plant.kind, 0) + 1
        found.cells += len(views)
        for name in differing:
            before, after = clean[copy.row.number][name], cells[copy.number][name]
            found.leaks.append(_leak(views[name], name, copy.row, copy.plant, (before, after)))
    found.shown = {name: len(numbers) for name, numbers in changed.items()}
    return found


def _differing(
    clean: Mapping[str, Any], other: Mapping[str, Any], names: Iterable[str]
) -> list[str]:
    # As text, in which NaN is NaN and -0.0 is not 0.0.
    return [name for name in names if repr(clean[name]) != repr(other[name])]


def _leak(view: str, name: str, row: SpineRow, plant: Plant, cells: tuple[Any, Any]) -> Leak:
    return Leak(
        view=view,
        feature=name,
        key={key: row.keys[key] for key in plant.keys},
        as_of_us=row.at_us,
        planted=plant.kind,
        source=plant.source,
        planted_event_us=plant.event_us,
        planted_known_us=plant.known_us,
        expected=str(cells[0]),
        found=str(cells[1]),
    )
