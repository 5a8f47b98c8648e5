"""The command in this process, and projects that look as if apply had run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from twinlake.cli.main import report, twinlake
from twinlake.definitions.documents import Definitions
from twinlake.flows.project import online_table, view_table
from twinlake.online.sqlite import SqliteStore
from twinlake.registry.places import Places
from twinlake.registry.state import Registry
from twinlake.settings import DEFAULTS

EXAMPLE = Path(__file__).resolve().parents[3] / "spark_jobs" / "examples" / "smart_meters"


@dataclass(frozen=True)
class Result:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON object on one line and nothing else."""
        (line,) = self.out.splitlines()
        document = json.loads(line)
        assert isinstance(document, dict)
        return document


Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from outside."""
    for name in ("STATE", "SPARK_MASTER", "DRIVER_MEMORY", "SHUFFLE_PARTITIONS", "CONF", "DEBUG"):
        monkeypatch.delenv(f"TWINLAKE_{name}", raising=False)
    assert DEFAULTS


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def run(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command on the example, unless another project is named."""

    def run_it(*arguments: str | Path, project: Path = EXAMPLE) -> Result:
        told = ["twinlake", "-C", project, "--state", state, *arguments]
        monkeypatch.setattr(sys, "argv", [str(part) for part in told])
        code = report(twinlake, as_json="--json" in sys.argv)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Result(code, out, err)

    return run_it


def pretend_applied(state: Path, definitions: Definitions) -> None:
    """Leave what apply leaves, as far as commands without Spark look at it."""
    places = Places(state)
    for name in definitions.sources:
        (places.events(name) / "_delta_log").mkdir(parents=True, exist_ok=True)
    for view in definitions.views.values():
        (places.view(view_table(view)) / "_delta_log").mkdir(parents=True, exist_ok=True)
    with SqliteStore(state / "online.sqlite") as store:
        for view in definitions.views.values():
            store.create(online_table(view))
    registry = Registry(state)
    registry.write(registry.current(), definitions, 1)
