"""The steps of a plan: one frozen dataclass each, without behaviour.

``apply`` carries them out and ``explain`` prints them; both read the same list, so what is shown is
what is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinlake.definitions.times import Interval
from twinlake.definitions.types import Field


@dataclass(frozen=True, slots=True)
class Register:
    """An entity, source, view of either kind, service or model becomes known, or its text changes.

    Attributes:
        kind: ``entity``, ``source``, ``view``, ``on-demand``, ``service`` or ``model``.
        name: Its name.
        is_new: Whether it was not there before.
        changes_meaning: Whether values or verdicts may differ from now on.
    """

    kind: str
    name: str
    is_new: bool
    changes_meaning: bool


@dataclass(frozen=True, slots=True)
class Unregister:
    """A definition goes; its tables stay until a later plan shows them as left over."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class CreateEventsTable:
    """A source gets its events table."""

    source: str


@dataclass(frozen=True, slots=True)
class AddColumns:
    """A source has further columns: its events table gets them, without a file written anew.

    Attributes:
        source: The source.
        columns: Their names and types.
    """

    source: str
    columns: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class CreateViewTables:
    """A view gets its tables, offline and online.

    Attributes:
        view: The view.
        table: The name of both.
    """

    view: str
    table: str


@dataclass(frozen=True, slots=True)
class Recompute:
    """A view that was published changes its meaning: its new tables are filled from events.

    Attributes:
        view: The view.
        table: The tables that are filled.
        interval: The event times computed.
        rows: How many feature rows that are at most: the accepted rows of the source.
    """

    view: str
    table: str
    interval: Interval
    rows: int


@dataclass(frozen=True, slots=True)
class DropTables:
    """Tables that no definition uses any more, since an earlier apply."""

    table: str


Step = (
    Register
    | Unregister
    | CreateEventsTable
    | AddColumns
    | CreateViewTables
    | Recompute
    | DropTables
)


@dataclass(frozen=True, slots=True)
class Pending:
    """What the next materialize would do; shown with a plan, not part of apply.

    Attributes:
        view: The view.
        interval: The event times that are not computed yet.
        landed_rows: Accepted rows of its source that are landed but not folded into it.
        new_rows: Rows in files that are not landed; None where only reading them would tell.
        new_files: How many such files.
    """

    view: str
    interval: Interval
    landed_rows: int
    new_rows: int | None
    new_files: int


@dataclass(frozen=True, slots=True)
class Affected:
    """A service whose vectors change their meaning, and what was built with the old one.

    Attributes:
        service: The service.
        training_sets: Its training sets; they stay as they were built.
        versions: Versions of models that learned from these: model and number.
    """

    service: str
    training_sets: tuple[str, ...]
    versions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between definitions and what is applied.

    Attributes:
        steps: What apply does, in order.
        pending: What materialize would do after it.
        registry_version: What the plan was made against; 0 for nothing applied.
        affected: Training sets and models that were built with what changes.
    """

    steps: tuple[Step, ...]
    pending: tuple[Pending, ...]
    registry_version: int
    affected: tuple[Affected, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether apply would do anything."""
        return bool(self.steps)
