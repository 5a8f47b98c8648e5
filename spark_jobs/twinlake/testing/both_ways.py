"""A view's values for a few rows both ways: as training sets hold them, as reads serve them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import stored_features
from twinlake.definitions.types import canonical_type
from twinlake.definitions.views import FeatureView
from twinlake.kernel.aggregates import compute
from twinlake.kernel.asof import Lookup, expired, newest
from twinlake.kernel.cells import to_column, to_python
from twinlake.kernel.events import NEVER_US, Events, Queries, sort_order
from twinlake.kernel.folded_keys import folded_keys
from twinlake.kernel.measures import Measured
from twinlake.kernel.state import ID_BYTES, Provenance
from twinlake.kernel.views import STATUSES, ViewShape
from twinlake.online.reader import EXPIRED, NULL, OVERFLOW, PRESENT, Served, serve
from twinlake.online.row_check import RowCheck
from twinlake.online.store import Key, OnlineRow, OnlineTable
from twinlake.testing.happened import Happened

MISSING, NOT_YET_KNOWN = STATUSES[1], STATUSES[3]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a view.

    Attributes:
        key: The parts of the key.
        as_of_us: The moment t: rows with event <= t are visible,
        known_by_us: and known <= k. None: k is t, as for every read.
    """

    key: Key
    as_of_us: int
    known_by_us: int | None = None

    @property
    def k_us(self) -> int:
        """What a row must have been known by."""
        return self.as_of_us if self.known_by_us is None else self.known_by_us


@dataclass(frozen=True, slots=True)
class Event:
    """A row that takes part in a view.

    Attributes:
        key: The key that it is of.
        event_us: When it happened.
        known_us: When it became known.
        cells: Its columns.
    """

    key: Key
    event_us: int
    known_us: int
    cells: Mapping[str, Any]

    @property
    def place(self) -> tuple[Key, int, int]:
        """What orders rows, but for the last tie-break, which is a hash."""
        return self.key, self.event_us, self.known_us


class ViewRows:
    """A view over the rows of a test.

    Args:
        view: The view.
        rows: The rows of its source.
    """

    def __init__(self, view: FeatureView, rows: Sequence[Happened]) -> None:
        self.view = view
        self.shape = ViewShape.of(view)
        self.rows = [
            Event(
                tuple(row.cells[name] for name in self.view.stored.entity.join_keys),
                row.event_us,
                row.known_us,
                row.cells,
            )
            for row in rows
            if row.takes_part and row.event_us is not None and row.known_us is not None
        ]

    @property
    def turns(self) -> int:
        """In how many orders rows of one key, event and known time may stand, one after another."""
        return max(Counter(row.place for row in self.rows).values(), default=1)

    def trained(self, questions: Sequence[Question], turn: int = 0) -> list[dict[str, Served]]:
        """Answer from the rows themselves, as a training set does.

        Args:
            questions: What is asked.
            turn: Which order rows of one key, event and known time stand in.
        """
        keys, events = self._events(self.rows, turn)
        codes = [keys.index(asked.key) if asked.key in keys else -1 for asked in questions]
        queries = Queries(
            np.array(codes, np.int64),
            np.array([asked.as_of_us for asked in questions], np.int64),
            np.array([asked.k_us for asked in questions], np.int64),
        )
        shape, lookup = self.shape, Lookup(events)
        newest_row, not_yet_known = newest(lookup, queries)
        is_expired = expired(events, newest_row, queries.as_of_us, shape.ttl_us)
        measured = compute(lookup, queries, shape.measures, shape.hop_us, shape.most_rows)
        answers = []
        for place, row in enumerate(newest_row.tolist()):
            if row < 0:
                status = NOT_YET_KNOWN if not_yet_known[place] else MISSING
                answers.append({f.name: Served(None, status, None) for f in shape.features})
                continue
            at_us = int(events.event_us[row])
            answers.append(
                {
                    feature.name: Served(None, EXPIRED, at_us)
                    if is_expired[place]
                    else _served(found, place, feature.type, at_us)
                    for feature, found in zip(shape.features, measured, strict=True)
                }
            )
        return answers

    def served(self, asked: Question) -> dict[str, dict[str, Served]]:
        """Answer from what would be published, as a read does.

        Returns:
            From what it was read, to the answer: from the row that was there at the moment asked
            for, and from the one that holds all rows, if that can answer for the moment. Both from
            the row's columns as long as they hold, and from its state alone. Nothing where a
            read cannot ask the like: known after the moment.
        """
        if asked.k_us > asked.as_of_us:
            return {}
        then = [row for row in self.rows if row.known_us <= asked.k_us]
        held = {"the row published then": (then, asked.as_of_us)}
        own = [row.event_us for row in self.rows if row.key == asked.key]
        if asked.known_by_us is None and own and max(own) <= asked.as_of_us:
            ends = [max(row.event_us, row.known_us) for row in self.rows]
            held["the row published of all rows"] = (self.rows, max(ends))
        answers = {}
        for name, (rows, version_us) in held.items():
            store = _Published(self, rows, version_us)
            for how, columns in (("", True), (", its state", False)):
                found = serve(
                    store, store.table, self.view, [asked.key], asked.as_of_us, columns=columns
                )
                answers[name + how] = dict(found.rows[0])
        return answers

    def _events(self, rows: Sequence[Event], turn: int = 0) -> tuple[list[Key], Events]:
        """Give the kernel rows in the order of law 2, and the keys that they are of."""
        keys = list(dict.fromkeys(row.key for row in rows))
        codes = {key: code for code, key in enumerate(keys)}
        code = np.array([codes[row.key] for row in rows], np.int64)
        event_us = np.array([row.event_us for row in rows], np.int64)
        known_us = np.array([row.known_us for row in rows], np.int64)
        tie = np.array(_ties(rows, turn), np.int64)
        order = sort_order(code, event_us, known_us, np.zeros_like(tie), tie)
        columns = {
            name: to_column([rows[place].cells[name] for place in order.tolist()], kind)
            for name, kind in self.shape.columns.items()
        }
        return keys, Events(len(keys), code[order], event_us[order], known_us[order], columns)

    def published(self, rows: Sequence[Event], version_us: int) -> list[OnlineRow]:
        """Fold rows into what is published of each of their keys."""
        if not rows:
            return []
        keys, events = self._events(rows)
        shape = self.shape
        origin = Provenance(bytes.fromhex(view_fingerprint(self.view)), bytes(ID_BYTES), 1)
        folded = folded_keys(events, shape, origin, version_us)
        measured = compute(events, folded.moments, shape.measures, shape.hop_us, shape.most_rows)
        columns = {
            feature.name: _cells(found, feature.type)
            for feature, found in zip(shape.features, measured, strict=True)
        }
        ordered = [columns[feature.name] for feature in stored_features(self.view)]
        until = [None if at == NEVER_US else at for at in folded.until_us.tolist()]
        return [
            OnlineRow(key, tuple(column[n] for column in ordered), event, known, end, state, 1)
            for n, (key, event, known, end, state) in enumerate(
                zip(
                    keys,
                    folded.moments.as_of_us.tolist(),
                    folded.known_us.tolist(),
                    until,
                    folded.states,
                    strict=True,
                )
            )
        ]


class _Published:
    """The online rows of a view, held in memory; each as every store would take it."""

    def __init__(self, view: ViewRows, rows: Sequence[Event], version_us: int) -> None:
        self.table = OnlineTable(
            view.view.name,
            tuple((n, canonical_type(kind)) for n, kind in view.view.entity.join_keys.items()),
            tuple((feature.name, feature.type) for feature in stored_features(view.view)),
        )
        check = RowCheck(self.table)
        self._rows: dict[Key, OnlineRow] = {}
        for row in view.published(rows, version_us):
            check.row(row)
            self._rows[row.key] = row

    def read(self, table: OnlineTable, keys: Sequence[Key]) -> list[OnlineRow | None]:
        """The rows of these keys."""
        return [self._rows.get(key) for key in keys] if table == self.table else [None] * len(keys)


def difference(
    trained: Mapping[str, Served], served: Mapping[str, Served]
) -> tuple[str, Served, Served] | None:
    """Find the first feature in which two answers are not one; None where they agree.

    What training calls not yet known is missing for a read.
    """
    for name, one in trained.items():
        other = served[name]
        status = MISSING if one.status == NOT_YET_KNOWN else one.status
        alike = (type(one.value), one.value, status, one.event_us)
        if alike != (type(other.value), other.value, other.status, other.event_us):
            return name, one, other
    return None


def _served(measured: Measured, place: int, kind: str, event_us: int) -> Served:
    value = _cells(measured.take(slice(place, place + 1)), kind)[0]
    if value is not None:
        return Served(value, PRESENT, event_us)
    overflows = measured.overflow is not None and bool(measured.overflow[place])
    return Served(None, OVERFLOW if overflows else NULL, event_us)


def _cells(measured: Measured, kind: str) -> list[Any]:
    if measured.values is None:
        raise AssertionError("every column that a view reads is given to the kernel")
    return to_python(measured.values, measured.valid, kind)


def _ties(rows: Sequence[Event], turn: int) -> list[int]:
    """Number the rows of one key, event and known time; each turn another one comes last."""
    sizes = Counter(row.place for row in rows)
    seen: Counter[tuple[Key, int, int]] = Counter()
    ties = []
    for row in rows:
        ties.append((seen[row.place] + turn) % sizes[row.place])
        seen[row.place] += 1
    return ties
