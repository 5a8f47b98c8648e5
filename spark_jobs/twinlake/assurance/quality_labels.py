"""Labels that come after their predictions: which prediction each is of, and what is said of it."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from twinlake.assurance.quality_figures import NUMBER
from twinlake.assurance.quality_rows import Codes, QualitySpec
from twinlake.assurance.quality_tables import unknown_table
from twinlake.assurance.quality_window import OpenWindow
from twinlake.definitions.times import format_duration, format_instant

# What identifies a prediction: the value of its id column, or a tuple of several.
Key = Any
_PLACE_BITS = 32
_PLACE = (1 << _PLACE_BITS) - 1
USED, DUPLICATE, CONFLICTING = "used", "duplicate", "conflicting"
WAITING, UNKNOWN, LATE, REFUSED = "waiting", "unknown", "late", "refused"
# Of several predictions with one id: what is said of their label.
_RANK = {verdict: rank for rank, verdict in enumerate((LATE, DUPLICATE, CONFLICTING, USED))}


@dataclass(frozen=True, slots=True)
class _Early:
    """A label that came before its prediction."""

    order: int
    value: float
    said: str
    time_us: int
    is_replayed: bool


class LabelBook:
    """Finds predictions by their id; keeps labels that came before theirs.

    Args:
        spec: How the model is watched.
        codes: The classes that were met.
        windows: The windows by start, as the fold keeps them.
        used: Is told the window and the place of a prediction that got its label.
    """

    def __init__(
        self,
        spec: QualitySpec,
        codes: Codes,
        windows: Mapping[int, OpenWindow],
        used: Callable[[OpenWindow, int], None],
    ) -> None:
        self.verdicts: Counter[str] = Counter()
        self._spec, self._codes, self._windows, self._used = spec, codes, windows, used
        self._places: dict[Key, int | list[int]] = {}
        self._early: dict[Key, _Early] = {}
        self._by_time: list[tuple[int, int, Key]] = []
        self._seen = 0
        self._unknown: list[tuple[Key, _Early]] = []

    @property
    def waiting(self) -> int:
        """How many labels wait for their prediction."""
        return len(self._early)

    @property
    def oldest_us(self) -> int | None:
        """The oldest event timestamp of a label that waits."""
        return min((early.time_us for early in self._early.values()), default=None)

    def enter(self, window: OpenWindow, place: int, key: Key, newest_us: int) -> None:
        """Make a prediction findable by its id, and give it a label that came before.

        Args:
            window: Its window.
            place: Its place there.
            key: What identifies it.
            newest_us: The newest event timestamp when it came.
        """
        number = window.start_us // self._spec.window_us
        where = (number << _PLACE_BITS) + place
        known = self._places.setdefault(key, where)
        if known != where:
            self._places[key] = [*(known if isinstance(known, list) else (known,)), where]
        if self._early and key in self._early:
            self._match(key, window, place, newest_us)

    def _match(self, key: Key, window: OpenWindow, place: int, newest_us: int) -> None:
        early = self._early.pop(key)
        if self._is_over(early, newest_us):
            self._unknown.append((key, early))
            return
        verdict = self._apply(window, place, early.value, early.time_us, early.is_replayed)
        if not early.is_replayed:
            self.verdicts[verdict] += 1

    def judge(
        self,
        key: Key,
        said: Any,  # noqa: ANN401 (whatever a column holds)
        time_us: int,
        *,
        replayed: bool,
    ) -> tuple[str, str | None]:
        """Say what becomes of a label, and why where it is neither used nor waits."""
        verdict, message = self._judged(key, said, time_us, replayed)
        if not replayed and verdict != WAITING:
            self.verdicts[verdict] += 1
        return verdict, message

    def _judged(
        self,
        key: Key,
        said: Any,  # noqa: ANN401 (whatever a column holds)
        time_us: int,
        replayed: bool,
    ) -> tuple[str, str | None]:
        value = self._codes.label(said)
        if key is None or value != value:  # noqa: PLR0124 (NaN)
            return REFUSED, _refusal(key, said, self._spec.task)
        known = self._places.get(key)
        if known is None:
            return self._wait(key, value, said, time_us, replayed)
        best, first = LATE, 0.0
        for place in known if isinstance(known, list) else (known,):
            window = self._windows[(place >> _PLACE_BITS) * self._spec.window_us]
            index = place & _PLACE
            verdict = self._apply(window, index, value, time_us, replayed)
            if _RANK[verdict] >= _RANK[best]:
                best, first = verdict, window.labels[index]
            is_late_us = time_us - window.times[index]
        return best, self._message(best, key, said, first, is_late_us)

    def _apply(
        self, window: OpenWindow, index: int, value: float, time_us: int, replayed: bool
    ) -> str:
        had = window.labels[index]
        if had == had:  # noqa: PLR0124 (not NaN)
            return DUPLICATE if had == value else CONFLICTING
        within_us = self._spec.within_us or 0
        if window.given_up or time_us - window.times[index] > within_us:
            return LATE
        window.labels[index] = value
        window.waiting -= 1
        if window.oldest_label_us is None or time_us < window.oldest_label_us:
            window.oldest_label_us = time_us
        if not replayed:
            self._used(window, index)
        return USED

    def _wait(
        self, key: Key, value: float, said: object, time_us: int, replayed: bool
    ) -> tuple[str, str | None]:
        had = self._early.get(key)
        if had is not None:
            verdict = DUPLICATE if had.value == value else CONFLICTING
            return verdict, self._message(verdict, key, said, had.value, 0)
        self._seen += 1
        early = _Early(self._seen, value, str(said), time_us, replayed)
        self._early[key] = early
        heapq.heappush(self._by_time, (time_us, early.order, key))
        if len(self._early) > self._spec.most_held:
            oldest = next(iter(self._early))
            self._unknown.append((oldest, self._early.pop(oldest)))
        return WAITING, None

    def _message(
        self, verdict: str, key: Key, said: object, first: float, late_us: int
    ) -> str | None:
        if verdict == DUPLICATE:
            return f"prediction {key!r} has this label already; it counts once"
        if verdict == CONFLICTING:
            had = first if self._spec.task == NUMBER else self._codes.names[int(first)]
            return f"prediction {key!r} has the label {had!r}; {said!r} came later and is left out"
        if verdict == LATE:
            within = format_duration(self._spec.within_us or 0)
            ago = format_duration(max(late_us, 0))
            return f"label of prediction {key!r} came {ago} after it; it was waited for {within}"
        return None

    def _is_over(self, early: _Early, newest_us: int) -> bool:
        waited = early.time_us + (self._spec.within_us or 0) + self._spec.lateness_us
        return waited <= newest_us

    def expire(self, newest_us: int) -> None:
        """Give up labels whose prediction did not come in time."""
        while self._by_time:
            _, order, key = self._by_time[0]
            early = self._early.get(key)
            if early is not None and early.order == order:
                if not self._is_over(early, newest_us):
                    break
                self._unknown.append((key, self._early.pop(key)))
            heapq.heappop(self._by_time)

    def forget(self, window: OpenWindow) -> None:
        """Forget the ids of a window's predictions."""
        number = window.start_us // self._spec.window_us
        for key in window.keys:
            known = self._places.pop(key, None)
            if isinstance(known, list):
                left = [place for place in known if place >> _PLACE_BITS != number]
                if left:
                    self._places[key] = left

    def given_up(self) -> pa.Table:
        """Give the labels that no prediction came for since the last time."""
        unknown, self._unknown = self._unknown, []
        self.verdicts[UNKNOWN] += sum(not early.is_replayed for _, early in unknown)
        unknown.sort(key=lambda pair: (pair[1].time_us, pair[1].order))
        rows = [
            (early.time_us, str(key), early.said, _unmatched(key, early.time_us))
            for key, early in unknown
        ]
        return unknown_table(rows)


def _refusal(key: Key, said: object, task: str) -> str:
    if key is None:
        return "the label does not say of which prediction it is: an id column is null"
    return f"label {said!r} of prediction {key!r} is none that a model of {task} could be told"


def _unmatched(key: Key, time_us: int) -> str:
    since = format_instant(time_us)
    return f"no prediction {key!r} was counted; its label of {since} waits no longer"
