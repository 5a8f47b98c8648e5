"""What the published states of a view hold, derived from the view's measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinlake.errors import InputError
from twinlake.kernel.measures import Measure, needs_of

KINDS = ("f8", "i8", "utf8")
PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class StateColumn:
    """One column of a state.

    Attributes:
        name: Its name in the events.
        kind: ``f8`` float64, ``i8`` int64 or scaled decimal, ``utf8`` text.
        parts: Of ``elements.PARTS`` what windows need; ``plain`` for the newest value ever.
        scale10: Decimal places of a scaled decimal.
    """

    name: str
    kind: str
    parts: frozenset[str]
    scale10: int = 0

    @property
    def window_parts(self) -> frozenset[str]:
        """The parts without ``plain``."""
        return self.parts - {PLAIN}


@dataclass(frozen=True, slots=True)
class Shape:
    """What the states of a view hold.

    Attributes:
        hop_us: The view's hop, or None.
        max_window_us: The longest window; None for a view of plain columns only.
        columns: In the order of the blob.
        most_rows: How many rows of a key a window may hold; None for any number.
    """

    hop_us: int | None
    max_window_us: int | None
    columns: tuple[StateColumn, ...]
    most_rows: int | None = None

    @classmethod
    def of(
        cls,
        measures: Sequence[Measure],
        kinds: Mapping[str, tuple[str, int]],
        hop_us: int | None,
        most_rows: int | None = None,
    ) -> Shape:
        """Derive the shape from a view's measures.

        Args:
            measures: All measures; a plain column is ``Measure("last", column, None)``.
            kinds: Kind and decimal places by column name, in the order wanted in the blob.
            hop_us: The view's hop, or None.
            most_rows: How many rows of a key a window may hold; None for any number.

        Raises:
            InputError: If a measure without a window is not ``last``, or a column has no kind.
        """
        windows = [m.window_us for m in measures if m.window_us is not None]
        for measure in measures:
            if measure.column is not None and measure.column not in kinds:
                raise InputError.unknown("column", measure.column, kinds)
            if measure.window_us is None and measure.function != "last":
                raise InputError(f"{measure.function} without a window cannot be published")
        needs = needs_of([m for m in measures if m.window_us is not None])
        plain = {m.column for m in measures if m.window_us is None}
        columns = tuple(
            StateColumn(
                name,
                kind,
                needs.get(name, frozenset()) | (frozenset({PLAIN}) if name in plain else set()),
                scale10,
            )
            for name, (kind, scale10) in kinds.items()
            if name in needs or name in plain
        )
        return cls(hop_us, max(windows, default=None), columns, most_rows)

    @property
    def windowed(self) -> list[StateColumn]:
        """The columns that windows need."""
        return [column for column in self.columns if column.window_parts]

    @property
    def plain(self) -> list[StateColumn]:
        """The columns whose newest value is kept whatever its age."""
        return [column for column in self.columns if PLAIN in column.parts]

    def check(self, measures: Sequence[Measure]) -> None:
        """Refuse measures that states of this shape cannot answer.

        Raises:
            InputError: Naming the measure.
        """
        parts = {column.name: column.parts for column in self.columns}
        for measure in measures:
            plain = frozenset({PLAIN}) if measure.function == "last" else frozenset({"no such"})
            if measure.window_us is None:
                needed = plain
            else:
                needed = needs_of([measure]).get(measure.column or "", frozenset())
            held = parts.get(measure.column or "", frozenset())
            too_long = (measure.window_us or 0) > (self.max_window_us or 0)
            if too_long or not needed <= held:
                raise InputError(f"{measure} is not held by states of {self}")
