"""Quality windows one row at a time, in plain Python: what the fold must agree with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WIDTH, LATENESS, WITHIN = 60, 10, 300


@dataclass
class Prediction:
    id: str
    time: int
    version: int
    predicted: str
    label: str | None = None
    given_up: bool = False

    @property
    def end(self) -> int:
        return self.time // WIDTH * WIDTH + WIDTH + LATENESS


@dataclass
class Naive:
    """Every row is kept; what is asked is computed from all of them."""

    most_held: int = 10**9
    newest: int = -(10**9)
    rows: list[Prediction] = field(default_factory=list)
    early: dict[str, tuple[int, str]] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)

    def note(self, into: dict[str, int], name: str) -> None:
        into[name] = into.get(name, 0) + 1

    def predict(self, item: tuple[Any, ...]) -> str | None:
        _, key, time, version, predicted, unscored = item
        self.newest = max(self.newest, time)
        self.note(self.sums, "predictions")
        row = Prediction(key, time, version, predicted)
        if row.end <= self.newest:
            self.note(self.sums, "late")
        elif unscored:
            self.note(self.sums, "unscored")
        else:
            self.rows.append(row)
            if key in self.early and not self.is_over(self.early[key][0]):
                at, label = self.early.pop(key)
                self.note(self.verdicts, self.apply(row, at, label))
        self.expire()
        return None

    def expire(self) -> None:
        for row in self.rows:
            row.given_up |= row.label is None and row.end + WITHIN <= self.newest
        for key in [key for key, (time, _) in self.early.items() if self.is_over(time)]:
            del self.early[key]
            self.note(self.verdicts, "unknown")

    def is_over(self, time: int) -> bool:
        return time + WITHIN + LATENESS <= self.newest

    def apply(self, row: Prediction, time: int, label: str) -> str:
        if row.label is not None:
            return "duplicate" if row.label == label else "conflicting"
        if row.given_up or time - row.time > WITHIN:
            return "late"
        row.label = label
        return "used"

    def tell(self, item: tuple[Any, ...]) -> str:
        _, key, time, label = item
        verdict = self.judge(key, time, label)
        if verdict != "waiting":
            self.note(self.verdicts, verdict)
        return verdict

    def judge(self, key: str, time: int, label: str | None) -> str:
        if label is None:
            return "refused"
        known = [row for row in self.rows if row.end + 2 * WITHIN > self.newest]
        mine = [row for row in known if row.id == key]
        if not mine:
            if key in self.early:
                return "duplicate" if self.early[key][1] == label else "conflicting"
            self.early[key] = (time, label)
            return "waiting"
        (row,) = mine
        return self.apply(row, time, label)

    def counts(self) -> dict[tuple[int, int, str, str], int]:
        """Count the labelled rows of windows that are final in everything, in order."""
        final: dict[tuple[int, int, str, str], int] = {}
        for start in sorted({row.time // WIDTH for row in self.rows}):
            inside = [row for row in self.rows if row.time // WIDTH == start]
            is_open = any(row.label is None and not row.given_up for row in inside)
            if is_open or inside[0].end > self.newest:
                break
            for row in inside:
                if row.label is not None:
                    key = (start * WIDTH, row.version, row.label, row.predicted)
                    final[key] = final.get(key, 0) + 1
        return final

    def totals(self) -> dict[str, int]:
        counted = sum(row.label is not None for row in self.rows)
        gone = sum(row.given_up for row in self.rows)
        return {
            "counted": counted,
            "late": self.sums.get("late", 0),
            "predictions": self.sums.get("predictions", 0),
            "unlabelled": gone,
            "unscored": self.sums.get("unscored", 0),
            "waiting": len(self.rows) - counted - gone,
        }
