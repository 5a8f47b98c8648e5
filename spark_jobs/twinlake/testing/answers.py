"""Answers as of a moment: compared with what a test expects, and shown with what they come from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.resolution import on_demand_inputs
from twinlake.definitions.services import FeatureService
from twinlake.definitions.sources import KNOWN_AT_EVENT
from twinlake.definitions.times import format_duration, format_instant
from twinlake.definitions.typed_values import exact_value, typed_value
from twinlake.definitions.types import FLOAT_TYPES
from twinlake.definitions.views import Feature
from twinlake.errors import InputError
from twinlake.kernel.windows import FOREVER_AGO_US
from twinlake.online.reader import Served
from twinlake.testing.both_ways import Question, ViewRows
from twinlake.testing.happened import ACCEPTED, Happened

STATUSES = ("present", "null", "missing", "expired", "not_yet_known", "overflow", "error")
_MOST_ROWS = 20


@dataclass(frozen=True)
class Asked:
    """What was asked, and of what.

    Attributes:
        service: What is tested.
        views: Its stored views over the rows, by name.
        rows: Per source, its rows.
        questions: Per view, what was asked of it.
        given: Join keys and request fields.
    """

    service: FeatureService
    views: Mapping[str, ViewRows]
    rows: Mapping[str, Sequence[Happened]]
    questions: Mapping[str, Question]
    given: Mapping[str, Any]

    def __str__(self) -> str:
        named = "".join(f", {name}={value}" for name, value in self.given.items())
        moments = [
            f" as of {format_instant(one.as_of_us)}"
            + ("" if one.known_by_us is None else f" known by {format_instant(one.known_by_us)}")
            for one in self.questions.values()
        ]
        return f"{self.service.name}{(moments or [''])[0]}{named}"


class Answers:
    """The features of one key as of one moment; ``History.at`` makes it.

    Args:
        asked: What was asked.
        types: Feature name to type.
        found: Feature name to what was found.
        undecided: Features whose value depends on a hash, for rows have one time.
    """

    def __init__(
        self,
        asked: Asked,
        types: Mapping[str, str],
        found: Mapping[str, Served],
        undecided: frozenset[str],
    ) -> None:
        self._asked = asked
        self._types = types
        self._found = found
        self._undecided = undecided

    def value(self, name: str) -> Any:  # noqa: ANN401 (a cell of any type)
        """Give a feature's value; None unless its status is ``present``."""
        return self._one(name).value

    def status(self, name: str) -> str:
        """Give a feature's status: present, null, missing, expired, not_yet_known, overflow, error.

        What is not_yet_known, a read calls missing.
        """
        return self._one(name).status

    def values(self) -> dict[str, Any]:
        """Give the values of all features of what is tested, in order."""
        return {name: self.value(name) for name in self._asked.service.feature_names()}

    def equals(self, **expected: Any) -> Self:  # noqa: ANN401 (a cell of any type)
        """Assert values, to the last bit: ``equals(count=2, mean="7.50", ratio=None)``.

        Texts are read as the feature's type, None stands for no value, and whatever else compares
        itself, such as ``pytest.approx``, is asked.

        Raises:
            AssertionError: A value differs; shows each, with the rows that it comes from.
            InputError: There is no such feature, or it has no values like the expected one.
        """
        __tracebackhide__ = True
        wanted = {name: self._read(name, value) for name, value in expected.items()}
        differing = [name for name, value in wanted.items() if not self._is(name, value)]
        if differing:
            raise AssertionError(self._told(expected, differing))
        return self

    def has_status(self, **expected: str) -> Self:
        """Assert statuses: ``has_status(mean="null")``.

        Raises:
            AssertionError: A status differs; shows each, with the rows that it comes from.
            InputError: There is no such feature or status.
        """
        __tracebackhide__ = True
        for status in expected.values():
            if status not in STATUSES:
                raise InputError.unknown("status", str(status), STATUSES)
        differing = [name for name, status in expected.items() if self.status(name) != status]
        if differing:
            raise AssertionError(self._told(expected, differing))
        return self

    def __str__(self) -> str:
        return f"{self._asked}\n\n{self._table({}, self._found, ())}"

    def _one(self, name: str) -> Served:
        if name not in self._found:
            raise InputError.unknown(f"feature of {self._asked.service.name}", name, self._found)
        if name in self._undecided:
            raise InputError(
                f"{self._asked}: feature {name} depends on which of some rows is the newest, and "
                "they have one event timestamp and became known at one time: a hash decides",
                hint="give the rows different times",
            )
        return self._found[name]

    def _read(self, name: str, value: Any) -> Any:  # noqa: ANN401 (a cell of any type)
        """Read an expected value as the feature's type; what compares itself stays as it is."""
        self._one(name)
        kind = self._types[name]
        if isinstance(value, str):
            value = typed_value(name, value, kind)
        if isinstance(value, float) and kind in FLOAT_TYPES:
            return value
        if type(value) in (str, int, float, bool, Decimal):
            return exact_value(name, value, kind)
        return value

    def _is(self, name: str, wanted: Any) -> bool:  # noqa: ANN401 (a cell of any type)
        found = self._found[name].value
        if wanted is None or found is None:
            return wanted is found
        return bool(wanted == found)

    def _told(self, expected: Mapping[str, Any], differing: Sequence[str]) -> str:
        """Show what was expected and found, and the rows that what differs comes from."""
        inputs = list(self._inputs(differing))
        shown = [*expected, *(name for name in inputs if name not in expected)]
        lines = [f"{self._asked}", "", self._table(expected, shown, differing)]
        lines += [f"{name}: {self._found[name].message}" for name in shown if self._says(name)]
        for heading, table in self._evidence({*differing, *inputs}):
            lines += ["", heading, table]
        return "\n".join(lines)

    def _says(self, name: str) -> bool:
        return self._found[name].message is not None

    def _inputs(self, names: Sequence[str]) -> Iterator[str]:
        """Name the stored features that on-demand features are computed from."""
        for view, outputs in self._asked.service.parts():
            if isinstance(view, OnDemandView) and set(outputs) & set(names):
                yield from (name for name in on_demand_inputs(view) if name in self._found)

    def _table(
        self,
        expected: Mapping[str, Any],
        names: Mapping[str, Any] | Sequence[str],
        marked: Sequence[str],
    ) -> str:
        rows = []
        for name in names:
            one = self._found[name]
            row = [name, _shown(one.value), one.status, "differs" if name in marked else ""]
            if expected:
                row.insert(1, _shown(expected[name]) if name in expected else "(input)")
            rows.append(row)
        heads = ["feature", "expected", "found", "status", ""]
        return text_table(heads if expected else [heads[0], *heads[2:]], rows)

    def _evidence(self, names: Collection[str]) -> Iterator[tuple[str, str]]:
        """Show, per window of what differs, the rows of the key and where they stand."""
        done = set()
        for view_name, rows in self._asked.views.items():
            for feature in rows.shape.features:
                which = (view_name, feature.window_us)
                if feature.name in names and which not in done:
                    done.add(which)
                    alike = [f for f in rows.shape.features if f.window_us == feature.window_us]
                    yield self._rows_of(view_name, [f for f in alike if f.name in names])

    def _rows_of(self, view_name: str, features: Sequence[Feature]) -> tuple[str, str]:
        view, asked = self._asked.views[view_name], self._asked.questions[view_name]
        tail = tail_of(view, features[0], asked.as_of_us)
        source = view.view.source
        own = [
            row
            for row in self._asked.rows[source.name]
            if tuple(row.cells[name] for name in view.view.stored.entity.join_keys) == asked.key
        ]
        own.sort(key=lambda row: (row.event_us is not None, row.event_us or 0, row.known_us or 0))
        named = ", ".join(feature.name for feature in features)
        window = features[0].window_us
        over = (
            "the newest row"
            if window is None
            else f"window {format_duration(window)}, ({format_instant(tail)}, "
            f"{format_instant(asked.as_of_us)}]"
        )
        key = ", ".join(f"{n}={v}" for n, v in zip(view.shape.keys, asked.key, strict=True))
        heading = f"rows of {key} for {named}: {over}"
        if len(own) > _MOST_ROWS:
            heading += f"; the last {_MOST_ROWS} of {len(own)}"
        columns = [*source.event_id_columns, *(f.column for f in features if f.column)]
        columns = [
            n for n in dict.fromkeys(columns) if n not in (*view.shape.keys, source.event_timestamp)
        ]
        heads = ["row", source.event_timestamp, *columns, ""]
        if source.known != KNOWN_AT_EVENT:
            heads.insert(2, "known")
        table = []
        for row in own[-_MOST_ROWS:]:
            cells = [str(row.number), format_instant(row.event_us)]
            cells += [] if source.known == KNOWN_AT_EVENT else [format_instant(row.known_us)]
            cells += [_shown(row.cells[name]) for name in columns]
            table.append([*cells, _standing(row, asked, tail)])
        return heading, text_table(heads, table) if table else "there are none"


def tail_of(view: ViewRows, feature: Feature, as_of_us: int) -> int:
    """Give the moment after which the rows of a feature's window lie."""
    if feature.window_us is None:
        return FOREVER_AGO_US
    tail, hop_us = as_of_us - feature.window_us, view.shape.hop_us
    return tail if hop_us is None else tail // hop_us * hop_us


def _standing(row: Happened, asked: Question, tail: int) -> str:
    """Say whether a row counts, and why not."""
    if row.verdict != ACCEPTED:
        return f"{row.verdict}: {row.reason}"
    if not row.is_wanted:
        return "left out by where"
    if row.event_us is None or row.event_us > asked.as_of_us:
        return "later than the moment"
    if row.known_us is None or row.known_us > asked.k_us:
        return "not known yet"
    return "counts" if row.event_us > tail else "before the window"


def _shown(value: Any) -> str:  # noqa: ANN401 (a cell of any type)
    return "-" if value is None else str(value)


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out texts in columns."""
    lines = [heads, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
