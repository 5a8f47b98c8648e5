"""What the tables of bad input share: a project, a case, the command, and what a state holds.

Every case must end with its exit code and one message that says what was found, what was expected
and what to do; and it must leave the state as it was.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from twinlake.cli.main import report, twinlake

FEATURES = """
from twinlake import (
    Aggregate, Clock, Column, Derived, Entity, Expectation, FeatureService, FeatureView, Files,
    Source,
)

clock = Clock("data")
shopper = Entity("shopper", join_keys={"shopper_id": "bigint"})
orders = Source(
    "orders",
    schema="order_id string, shopper_id bigint, amount double, pieces bigint, "
    "price decimal(6,2), note string, ordered_at timestamp",
    event_timestamp="ordered_at",
    event_id="order_id",
    batch=Files("data"),
)
totals = FeatureView(
    "totals",
    entity=shopper,
    source=orders,
    ttl="30d",
    hop="1d",
    features=[
        Column("amount", name="last_amount"),
        Column("note"),
        Aggregate("sum", "pieces", windows={"pieces_7d": "7d"}),
    ],
)
ranking = FeatureService("ranking", features=[totals])
"""
# Beside what is stored: rights, what may be deleted at any time, and SQLite's own side files.
_NO_CONTENT = ("locks", "scratch")
_SIDE_FILES = (".lock", "-shm", "-wal")


@dataclass(frozen=True)
class Place:
    """Where a case happens."""

    project: Path
    state: Path

    @property
    def features(self) -> Path:
        return self.project / "features.py"

    @property
    def data(self) -> Path:
        return self.project / "data"

    def edit(self, old: str, new: str) -> None:
        """Put other words into features.py."""
        assert FEATURES.count(old) == 1, f"{old!r} must be there once"
        self.features.write_text(FEATURES.replace(old, new), "utf-8")


Make = Callable[[Place], None]


@dataclass(frozen=True)
class Case:
    """One thing that a user gets wrong.

    Attributes:
        name: What it is.
        command: What the user types after the options; ``{data}`` and ``{project}`` are filled in.
        told: What message and hint must say.
        code: The exit code.
        edit: Words of features.py and what stands there instead.
        make: Makes the place as bad as the case needs it.
        environ: Environment variables.
    """

    name: str
    command: Sequence[str]
    told: Sequence[str]
    code: int = 2
    edit: tuple[str, str] | None = None
    make: Make | None = None
    environ: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON object and nothing else."""
        (line,) = self.out.splitlines()
        document = json.loads(line)
        assert isinstance(document, dict)
        return document


def table(*cases: Case) -> pytest.MarkDecorator:
    """Run a test for every case of a table."""
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Give every file of a state with its size and hash, and every folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.relative_to(folder).parts[0] in _NO_CONTENT or name.endswith(_SIDE_FILES):
            continue
        content = path.read_bytes() if path.is_file() else b""
        found[name] = (len(content), hashlib.sha256(content).hexdigest())
    return found


def call(
    place: Place,
    command: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Result:
    """Run the command line in this process."""
    filled = [
        part.replace("{data}", str(place.data)).replace("{project}", str(place.project))
        for part in command
    ]
    options = ["-C", str(place.project), "--state", str(place.state)]
    monkeypatch.setattr(sys, "argv", ["twinlake", *options, *filled])
    capsys.readouterr()
    code = report(twinlake, as_json="--json" in sys.argv)
    return Result(code, *capsys.readouterr())


def prepare(case: Case, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the place as bad as the case wants it."""
    for name, value in case.environ.items():
        monkeypatch.setenv(name, value)
    if case.edit is not None:
        place.edit(*case.edit)
    if case.make is not None:
        case.make(place)


def assert_refused(case: Case, found: Result) -> None:
    """Check exit code, streams and message of a case that was run with ``--json``."""
    told = found.err
    assert "Traceback" not in told + found.out
    assert found.code == case.code, told
    lines = told.splitlines()
    assert sum(line.startswith("twinlake: ") for line in lines) == 1, told
    assert "TWINLAKE_DEBUG" not in told, "an error that nobody foresaw"
    assert "Hint: " in told, "no word about what to do"
    document = found.document
    assert document["exit_code"] == case.code
    for piece in case.told:
        assert piece in told, f"{piece!r} is not in: {told}"
        assert piece in f"{document['error']}\n{document['hint']}"
