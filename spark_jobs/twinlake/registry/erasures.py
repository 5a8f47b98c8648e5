"""Which training sets rows were erased from: STATE/receipts/erased/NAME.json.

A receipt never changes, for its digest names it; so what was erased since stands beside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from twinlake.registry import notes


@dataclass(frozen=True)
class Erasure:
    """What was erased from a training set since it was built.

    Attributes:
        rows: How many of its rows, at least.
        times: How often something was.
        last_us: When it was the last time.
        of_inputs: Whether rows were erased that others of its rows were aggregated from.
    """

    rows: int
    times: int
    last_us: int
    of_inputs: bool = False


def erasure(receipts: Path, name: str) -> Erasure | None:
    """Give what was erased from a training set; None for nothing."""
    file = _file(receipts, name)
    return Erasure(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def note_erasure(receipts: Path, name: str, rows: int, now_us: int, *, of_inputs: bool) -> None:
    """Write down that rows of a training set are erased, before they are."""
    before = erasure(receipts, name) or Erasure(0, 0, now_us)
    told = Erasure(before.rows + rows, before.times + 1, now_us, before.of_inputs or of_inputs)
    notes.write(_file(receipts, name), json.dumps(asdict(told)))


def drop_erasure(receipts: Path, name: str) -> None:
    """Take the note of a training set away that is built anew."""
    _file(receipts, name).unlink(missing_ok=True)


def _file(receipts: Path, name: str) -> Path:
    return receipts / "erased" / f"{name}.json"
