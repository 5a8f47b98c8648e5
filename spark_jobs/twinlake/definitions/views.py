"""Feature views: features of one entity from one source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from twinlake.definitions.entities import Entity
from twinlake.definitions.sources import Source
from twinlake.definitions.times import parse_duration_us

# What an aggregate can be; each is exact in every engine and order of arrival.
FUNCTIONS = ("count", "sum", "mean", "min", "max", "stddev", "first", "last")
NUMERIC_ONLY = ("sum", "mean", "min", "max", "stddev")


@dataclass(frozen=True, slots=True)
class Column:
    """The value of a column in the newest visible row.

    Attributes:
        column: A column of the source.
        name: The feature's name; the column's own without it.
    """

    column: str
    name: str | None = None

    @property
    def feature_name(self) -> str:
        """The name under which the feature is stored and served."""
        return self.name or self.column


@dataclass(frozen=True)
class Aggregate:
    """One function over one column, over one or more windows ``(t - W, t]``.

    Attributes:
        function: One of count, sum, mean, min, max, stddev (sample), first, last.
        column: The column it aggregates; a count without one counts rows.
        windows: Feature name to window length, such as ``{"num_trans_last_10m": "10m"}``.
    """

    function: str
    column: str | None = None
    windows: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature, after a view's declarations were taken apart.

    Attributes:
        name: Its name.
        type: Its canonical type.
        column: The source column that it reads; None for a count of rows.
        function: The aggregate function; None for a plain column.
        window_us: The window's length; None for a plain column.
    """

    name: str
    type: str
    column: str | None
    function: str | None = None
    window_us: int | None = None


@dataclass(frozen=True)
class FeatureView:
    """Features of one entity from one source.

    Attributes:
        name: The view's name; its table carries it.
        entity: What the features are about.
        source: Where they come from.
        features: Plain columns and aggregates.
        ttl: A key whose newest row is older than this has expired values. None: never.
        hop: Width of a tile. The far end of every window is rounded down to a whole hop counted
            from the UTC epoch, so a window is never shorter than asked. None: exact windows.
        max_events_per_key: Needed without a hop: as of a moment at which a window holds more
            visible rows of a key, its features have no value and the status ``overflow``; shorter
            windows, plain columns and later moments stay exact. With a hop it has no effect.
        publish: ``"batch"`` or ``"stream"``: which job keeps the online row fresh.
        topic: A topic to which the stream sends every new feature row as JSON; no part of the
            meaning.
        description: For people; no part of the meaning.
        owner: For people; no part of the meaning.
    """

    name: str
    entity: Entity
    source: Source
    features: Sequence[Column | Aggregate]
    ttl: str | None = None
    hop: str | None = None
    max_events_per_key: int | None = None
    publish: str = "batch"
    topic: str | None = None
    description: str = ""
    owner: str = ""

    @property
    def ttl_us(self) -> int | None:
        """The time to live in microseconds."""
        return None if self.ttl is None else parse_duration_us(self.ttl)

    @property
    def hop_us(self) -> int | None:
        """The width of a tile in microseconds."""
        return None if self.hop is None else parse_duration_us(self.hop)

    def declared(self) -> Iterator[tuple[str, str | None, str | None, str | None]]:
        """Yield (feature name, column, function, window) as they were written."""
        for item in self.features:
            if isinstance(item, Column):
                yield item.feature_name, item.column, None, None
            else:
                for name, window in (item.windows or {}).items():
                    yield name, item.column, item.function, window

    @property
    def stored(self) -> FeatureView:
        """The view as it is stored and published: itself, unless it is joined under a name."""
        return self

    def select(self, *names: str) -> Selection:
        """Take some of the view's features, in this order, into a service."""
        return Selection(self, names)

    def joined_as(self, name: str, **keys: str) -> AliasedView:
        """Join the view under another name, by other columns of the question.

        Args:
            name: What it is called in a service; each feature's name begins with it:
                ``population`` of ``zipcode_features.joined_as("home")`` is ``home_population``.
            keys: Join key of the view to the column of the spine, or field of a read, that holds
                it; a key that is not named keeps its name.

        Examples:
            >>> home = zipcode_features.joined_as("home", zipcode="home_zip")  # doctest: +SKIP
            >>> work = zipcode_features.joined_as("work", zipcode="work_zip")  # doctest: +SKIP
        """
        told = {key: keys.get(key, key) for key in self.entity.join_keys}
        kinds = {told[key]: kind for key, kind in self.entity.join_keys.items()}
        own = {each.name: getattr(self, each.name) for each in fields(FeatureView)}
        own |= {
            "name": name,
            "entity": replace(self.entity, join_keys=kinds),
            "features": tuple(_prefixed(item, name) for item in self.features),
        }
        return AliasedView(**own, of_view=self.stored, keys=keys)


@dataclass(frozen=True, kw_only=True)
class AliasedView(FeatureView):
    """A view that a service joins under another name; made by ``joined_as``.

    Its name, join keys and features carry the names that the service uses. What is stored and
    published is the view itself.

    Attributes:
        of_view: The view.
        keys: Join key of the view to the column of the question that holds it.
    """

    of_view: FeatureView
    keys: Mapping[str, str]

    @property
    def stored(self) -> FeatureView:
        """The view as it is stored and published."""
        return self.of_view


def _prefixed(item: Column | Aggregate, name: str) -> Column | Aggregate:
    if isinstance(item, Column):
        return Column(item.column, f"{name}_{item.feature_name}")
    windows = {f"{name}_{feature}": length for feature, length in (item.windows or {}).items()}
    return replace(item, windows=windows)


@dataclass(frozen=True)
class Selection:
    """Some features of a view, in the order given."""

    view: FeatureView
    names: Sequence[str]
