"""A view as the kernel takes it: which measures, over which columns, held in which state.

Workers and the online reader both build it from the same definition, so what one writes the other
can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinlake.definitions.resolution import longest_window_us, needed_columns, view_features
from twinlake.definitions.types import FLOAT_TYPES, decimal_scale
from twinlake.definitions.views import Feature, FeatureView
from twinlake.kernel.measures import Measure
from twinlake.kernel.shape import Shape

# The status of a whole row, by code.
STATUSES = ("present", "missing", "expired", "not_yet_known")
PRESENT, MISSING, EXPIRED, NOT_YET_KNOWN = range(4)


@dataclass(frozen=True)
class ViewShape:
    """What the arithmetic needs to know of a view, and nothing else.

    Attributes:
        name: The view's name.
        keys: Its join keys.
        features: Its features, typed.
        columns: The source columns that they read: name to type.
        hop_us: Width of a tile; None for exact windows.
        ttl_us: Time to live; None for ever.
        longest_us: The longest window; 0 without any.
        most_rows: How many rows of a key a window may hold; None with a hop.
    """

    name: str
    keys: tuple[str, ...]
    features: tuple[Feature, ...]
    columns: Mapping[str, str]
    hop_us: int | None
    ttl_us: int | None
    longest_us: int
    most_rows: int | None = None

    @classmethod
    def of(cls, view: FeatureView, only: Sequence[str] | None = None) -> ViewShape:
        """Take what matters of a view; ``only`` some of its features, in that order."""
        features = view_features(view)
        columns = needed_columns(view)
        if only is not None:
            by_name = {feature.name: feature for feature in features}
            features = tuple(by_name[name] for name in only)
            used = {feature.column for feature in features}
            columns = {name: kind for name, kind in columns.items() if name in used}
        return cls(
            view.name,
            tuple(view.entity.join_keys),
            features,
            columns,
            view.hop_us,
            view.ttl_us,
            longest_window_us(view),
            view.max_events_per_key if view.hop_us is None else None,
        )

    @property
    def measures(self) -> list[Measure]:
        """One measure per feature, in order; a plain column is the last of all visible rows."""
        return [
            Measure(feature.function or "last", feature.column, feature.window_us)
            for feature in self.features
        ]

    @property
    def reach_us(self) -> int:
        """How far before an event what it changes may look; at least to its own moment."""
        return self.longest_us + (self.hop_us or 0) or 1

    @property
    def windows_us(self) -> list[int]:
        """The distinct windows, shortest first."""
        return sorted({f.window_us for f in self.features if f.window_us is not None})

    @property
    def state(self) -> Shape:
        """What the published states of the view hold."""
        # By name: states must not depend on the order in which features were written.
        columns = sorted(self.columns.items())
        kinds = {name: (_kind(kind), decimal_scale(kind)) for name, kind in columns}
        return Shape.of(self.measures, kinds, self.hop_us, self.most_rows)

    @property
    def overflowing(self) -> tuple[int, ...]:
        """The places of features that can have a value that cannot be given."""
        is_bounded = self.most_rows is not None
        return tuple(
            place
            for place, feature in enumerate(self.features)
            if (is_bounded and feature.window_us is not None)
            or (feature.function == "sum" and feature.type == "bigint")
        )

    @property
    def can_overflow(self) -> bool:
        """Whether some feature can have a value that cannot be given."""
        return bool(self.overflowing)


def _kind(type_name: str) -> str:
    if type_name in FLOAT_TYPES:
        return "f8"
    return "utf8" if type_name == "string" else "i8"
