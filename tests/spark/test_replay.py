"""Replayed parity: what was landed goes through the killed and restarted stream job once more."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.faults.processes import SMALL
from tests.spark.benches import Bench
from tests.spark.test_streaming import defined, line, payments, send, stream
from twinlake.cli.main import twinlake
from twinlake.flows import replaying, streaming
from twinlake.flows.project import view_table

ROWS = 300


@pytest.fixture
def landed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    rows = payments(random.Random(41), ROWS)
    send(defined(bench), "0", map(line, rows))
    stream(bench, "activity", "history")
    bench.project.environ = {**bench.project.environ, **SMALL}
    return bench


def views_of(bench: Bench) -> list[Any]:
    return list(bench.project.applied().definitions.views.values())


def test_what_was_landed_ends_in_the_same_whatever_dies(landed: Bench) -> None:
    accepted = [one for one in landed.events("payments") if one["_verdict"] == "accepted"]
    before = landed.delta_versions()
    done = replaying.replay(landed.project, views_of(landed), batches=5, restarts=1, seed=3)
    assert done.holds
    assert (done.recorded, done.accepted) == (len(accepted), len(accepted))
    assert done.read == done.accepted + done.duplicate + done.quarantined
    assert done.duplicate > 0
    assert done.quarantined > 0
    assert len(done.killed) == 1
    assert sorted(done.beside) == [
        "materialize payments",
        "push payments",
        "quarantine replay",
    ]
    assert done.verdict.tallies["offline"].rows == 2 * sum(one["amount"] < 900 for one in accepted)
    assert done.verdict.tallies["served"].cells > 0
    assert landed.delta_versions() == before
    assert list(landed.project.places.scratch.glob("replay-*")) == []


def test_one_wrong_cell_is_named_with_the_events_behind_it(
    landed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = replaying._Replay.count

    def run_here(self: Any, _batches: int, _restarts: int) -> None:
        self._apply(self.whole)
        self._send(1)
        streaming.stream(self.sandbox, once=True)

    def count_and_tamper(self: Any) -> None:
        count(self)
        table = view_table(self.sandbox.view("activity"))
        with closing(sqlite3.connect(self.sandbox.settings.online_path)) as store, store:
            store.execute(f'UPDATE "{table}" SET count_10m = count_10m + 1 WHERE card = 7')

    monkeypatch.setattr(replaying._Replay, "count", count_and_tamper)
    monkeypatch.setattr(replaying._Replay, "run", run_here)
    done = replaying.replay(landed.project, views_of(landed)[:1], batches=2, restarts=0)
    assert not done.holds
    assert (done.missing > 0, done.unexpected) == (True, 0)  # what goes other ways was not sent
    first = done.verdict.differences[0]
    assert (first.view, first.feature, json.loads(first.key)) == (
        "activity",
        "count_10m",
        {"card": 7},
    )
    assert int(first.found) == int(first.expected) + 1
    of_key = {row["_hash_a"] for row in landed.events("payments") if row["card"] == 7}
    assert 0 < len(done.involved) <= len(of_key)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (["--restarts", "2"], "--restarts needs --replay"),
        (["--replay", "--all"], "--replay compares all keys"),
    ],
)
def test_options_that_do_not_fit(asked: list[str], problem: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(twinlake, ["-C", str(tmp_path), "parity", *asked])
    assert done.exit_code == 2
    assert problem in done.output
