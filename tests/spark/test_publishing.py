"""Publishing: once and whole, in pieces or at once, also after a kill at any step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from tests.spark import meters
from tests.spark.benches import Bench
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.times import to_us
from twinlake.errors import InputError
from twinlake.flows import publishing
from twinlake.flows.project import online_table
from twinlake.online.store import OnlineRow
from twinlake.registry.state import Publications


def test_pieces_come_to_the_same_as_all_at_once_and_again_changes_nothing(bench: Bench) -> None:
    rows = meters.rows_of(range(12))
    bench.define(meters.DEFINITIONS).apply().put("1", rows, meters.SCHEMA)
    bench.materialize(end_us=meters.day_us(4))
    early = [row for row in rows if row["at"] <= meters.day(4)]
    assert meters.stored_rows(bench) == meters.oracle_rows(early)
    bench.materialize(start_us=meters.day_us(6), end_us=meters.day_us(8))
    covered = meters.oracle_rows([row for row in rows if row["at"] <= meters.day(8)])
    gap = (meters.day_us(4), meters.day_us(6))
    assert meters.stored_rows(bench) == {r for r in covered if not gap[0] < r[1] <= gap[1]}
    assert bench.materialize().changed
    assert meters.stored_rows(bench) == meters.oracle_rows(rows)
    assert bench.materialize(incremental=True).landings == {"daily": None}

    kept = (bench.delta_versions(), bench.write_times())
    for again in ({}, {"incremental": True}, {"start_us": 0, "end_us": meters.day_us(7)}):
        assert not bench.materialize(**again).changed
    assert (bench.delta_versions(), bench.write_times()) == kept


def test_an_empty_interval_is_refused_before_anything_is_landed(bench: Bench) -> None:
    bench.define(meters.DEFINITIONS).apply().put("1", meters.rows_of([0]), meters.SCHEMA)
    kept = bench.delta_versions()
    with pytest.raises(InputError, match="is empty"):
        bench.materialize(start_us=meters.day_us(5), end_us=meters.day_us(4))
    assert bench.delta_versions() == kept


class KilledError(Exception):
    """Stands for SIGKILL: nothing of the product catches it."""


def _kill_before_online(*_: Any) -> int:
    raise KilledError


def _kill_amid_online(rows: Iterator[Any], write_us: int) -> Iterator[OnlineRow]:
    stamped = _real_stamped(rows, write_us)
    yield next(stamped)
    raise KilledError


def _kill_before_document(*_: Any) -> None:
    raise KilledError


_real_stamped = publishing._stamped
KILLS: dict[str, tuple[Any, str, Any]] = {
    "before online": (publishing, "_write_online_rows", _kill_before_online),
    "amid online": (publishing, "_stamped", _kill_amid_online),
    "before the document": (Publications, "write", _kill_before_document),
}


@pytest.mark.parametrize("when", KILLS)
def test_a_killed_publisher_is_finished_by_the_next_run(
    bench: Bench, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = meters.rows_of(range(3))
    bench.define(meters.DEFINITIONS).apply().put("1", rows, meters.SCHEMA)
    monkeypatch.setattr(*KILLS[when])
    with pytest.raises(KilledError):
        bench.materialize()
    monkeypatch.undo()
    assert not bench.project.publications("usage").all(fingerprint(bench))
    # More rows arrive before anybody runs again, a late one among them.
    more = meters.rows_of([3], seed=2)
    late = {**rows[0], "id": 77, "at": rows[0]["at"] - dt.timedelta(hours=1), "kwh": 3.25}
    bench.put("2", [*more, late], meters.SCHEMA)
    bench.materialize()

    everything = [*rows, *more, late]
    assert meters.stored_rows(bench) == meters.oracle_rows(everything)
    every = bench.feature_rows("usage", every=True)
    written = [(r["_event_version"], r["_event_row"], r["_view_version"]) for r in every]
    assert len(set(written)) == len(written)
    newest = {r["meter"]: r["at"] for r in sorted(everything, key=lambda r: r["at"]) if r["n"] >= 0}
    online = bench.online("usage")
    assert {key[0]: row.event_us for key, row in online.items()} == {
        name: to_us(at) for name, at in newest.items()
    }
    kept = (bench.delta_versions(), bench.write_times())
    assert not bench.materialize().changed
    assert (bench.delta_versions(), bench.write_times()) == kept


def fingerprint(bench: Bench) -> str:
    return view_fingerprint(bench.project.view("usage"))


def test_a_later_landing_writes_later_and_an_older_row_never_comes_back(bench: Bench) -> None:
    bench.define(meters.DEFINITIONS).apply().put("1", meters.rows_of(range(2)), meters.SCHEMA)
    bench.materialize()
    old = bench.online("usage")
    bench.put("2", [row for row in meters.rows_of([2]) if row["meter"] == "m0"], meters.SCHEMA)
    bench.materialize()
    new = bench.online("usage")
    assert new[("m0",)].write_us > old[("m0",)].write_us
    assert new[("m0",)].event_us > old[("m0",)].event_us
    assert {key: row for key, row in new.items() if key != ("m0",)} == {
        key: row for key, row in old.items() if key != ("m0",)
    }
    # The older publication arrives after the newer one.
    report = bench.project.store.write(online_table(bench.project.view("usage")), old.values())
    assert report.applied == 0
    assert bench.online("usage") == new
