"""Landing: every row once, with its verdict, in one commit; nothing lost, nothing twice."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.spark.benches import NOW_US, Bench, Cells
from twinlake.definitions.times import DAY_US, MAX_US, parse_instant_us, to_datetime
from twinlake.flows.landing import land_files
from twinlake.lake import landing
from twinlake.registry.state import Landing, Landings

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("k", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("v", pa.float64()),
        ("n", pa.int32()),
        ("m", pa.decimal128(12, 2)),
    ]
)
DEFINITIONS = """
things = Source(
    "things",
    schema="id string, k string, at timestamp, v double, n int, m decimal(12,2)",
    event_timestamp="at",
    event_id=IDENTITY,
    with_columns={"scaled": Derived("double", "v * 1e300")},
    batch=Files("in"),
    expectations=[
        Expectation("expect_column_values_to_be_between", column="n", min_value=0, max_value=9)
    ],
)
thing = Entity("thing", join_keys={"k": "string"})
view = FeatureView("view", entity=thing, source=things, features=[Column("v"), Column("scaled")])
"""
MIDDAY = dt.datetime(2014, 2, 1, 12, tzinfo=dt.UTC)


def row(identity: str | None, **cells: Any) -> Cells:
    usual: Cells = {"k": "key", "at": MIDDAY, "v": 1.0, "n": 1, "m": Decimal("1.50")}
    return {"id": identity} | usual | cells


def things(bench: Bench, identity: str = '"id"') -> Bench:
    return bench.define(DEFINITIONS.replace("IDENTITY", identity)).apply()


def land(bench: Bench, through_us: int = MAX_US) -> Landing | None:
    source = bench.project.applied().definitions.sources["things"]
    return land_files(bench.project, source, through_us)


def sequences(bench: Bench) -> list[tuple[int, int]]:
    return [(r["_version"], r["_row"]) for r in bench.events("things", "_version", "_row")]


def accepted(bench: Bench) -> Counter[tuple[Any, ...]]:
    rows = bench.events("things", "_verdict", "_hash_a", "_hash_b", "id", "v")
    return Counter(tuple(r.values()) for r in rows if r["_verdict"] == "accepted")


EARLIEST = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)
TICK = dt.timedelta(microseconds=1)
AHEAD = to_datetime(NOW_US + DAY_US)
FINE: list[Cells] = [
    row("fine"),
    row("negative zero", v=-0.0),
    row("nulls", v=None, n=None, m=None),
    row("earliest", at=EARLIEST),
    row("ahead", at=AHEAD),
    row("twice"),
    row("claimed", v=2.0),
]
BAD: list[tuple[Cells, str]] = [
    (row("nan", v=float("nan")), "v: not a finite number"),
    (row("inf", v=float("inf")), "v: not a finite number"),
    (row("minus inf", v=float("-inf")), "v: not a finite number"),
    (row("too great", v=1e10), "scaled: not a finite number"),
    (row("no key", k=None), "k: a key must not be null"),
    (row(None), "id: a key must not be null"),
    (row("no time", at=None), "no event timestamp"),
    (row("before 1900", at=EARLIEST - TICK), "event timestamp before 1900"),
    (row("far ahead", at=AHEAD + TICK), "more than 1d ahead"),
    (row("n is 10", n=10), "expect_column_values_to_be_between(column='n'"),
    # Quarantined, it does not claim the identity that a clean row of the batch has.
    (row("claimed", n=-1), "expect_column_values_to_be_between(column='n'"),
]


def test_one_commit_holds_every_row_with_its_verdict_and_reason(bench: Bench) -> None:
    things(bench)
    bench.put("one", [*FINE, row("twice"), *(bad for bad, _ in BAD)], SCHEMA)
    before = bench.delta_versions()["events/things"]
    done = land(bench)
    assert done is not None
    assert bench.delta_versions()["events/things"] == before + 1
    counts = (done.read, done.accepted, done.duplicate, done.quarantined)
    assert counts == (len(FINE) + 1 + len(BAD), len(FINE), 1, len(BAD))
    assert done.newest_event_us == NOW_US + DAY_US

    stored = bench.events("things")
    assert len(stored) == done.read
    assert len({(r["_version"], r["_row"]) for r in stored}) == done.read
    assert {r["_version"] for r in stored} == {done.version}
    good = [r["id"] for r in stored if r["_verdict"] == "accepted"]
    assert sorted(good) == sorted(r["id"] for r in FINE)
    assert [r["id"] for r in stored if r["_verdict"] == "duplicate"] == ["twice"]
    reasons = {(r["id"], r["n"]): r["_reasons"] for r in stored if r["_verdict"] == "quarantined"}
    for bad, reason in BAD:
        assert reason in reasons[bad["id"], bad["n"]][0], bad["id"]
    assert all(r["_reasons"] is None for r in stored if r["_verdict"] != "quarantined")
    [zero] = [r["v"] for r in stored if r["id"] == "negative zero"]
    assert str(zero) == "0.0"


def test_identities_hold_within_and_across_batches_and_dates(bench: Bench) -> None:
    things(bench)
    next_day = MIDDAY + dt.timedelta(days=1)
    bench.put("1", [row("a"), row("b"), row("b", v=9.0), row("c", n=-1), row("d")], SCHEMA)
    first = land(bench)
    assert bench.verdicts("things", "id") == {
        "a": ["accepted"],
        "b": ["accepted", "quarantined"],
        "c": ["quarantined"],
        "d": ["accepted"],
    }
    kept = bench.delta_versions()
    assert land(bench) is None
    assert bench.delta_versions() == kept

    second_rows = [
        row("a"),
        row("a", at=next_day),
        row("c"),
        row("d", v=-1.0),
        row("d", v=-1.0),
        row("e", at=next_day),
    ]
    bench.put("2", second_rows, SCHEMA)
    second = land(bench)
    assert first is not None
    assert second is not None
    assert (first.read, second.read) == (5, 6)  # the grown folder's new file, nothing else
    assert second.version > first.version
    assert bench.verdicts("things", "id") == {
        "a": ["accepted", "duplicate", "quarantined"],
        "b": ["accepted", "quarantined"],
        "c": ["accepted", "quarantined"],
        "d": ["accepted", "quarantined", "quarantined"],
        "e": ["accepted"],
    }
    found = bench.events("things", "id", "_version", "_verdict", "_reasons")
    told = [r["_reasons"] for r in found if r["id"] == "d" and r["_verdict"] == "quarantined"]
    assert told == [["id: another row with other content has this identity"]] * 2
    assert len(set(sequences(bench))) == 11


def test_the_accepted_rows_do_not_depend_on_the_order_and_split_of_files(
    bench: Bench, module_bench: Any
) -> None:
    draw = random.Random(3)
    rows = [
        row(
            f"id{draw.randrange(60)}",
            v=draw.choice([-0.0, 0.0, 1.0, None]),
            n=draw.randrange(-1, 9),
        )
        for _ in range(300)
    ]
    things(bench).put("all", rows, SCHEMA)
    land(bench)
    other = things(module_bench())
    draw.shuffle(rows)
    for number, start in enumerate((250, 0, 100)):
        end = {250: 300, 0: 100, 100: 250}[start]
        other.put(f"part{number}/rows", rows[start:end], SCHEMA)
    land(other)
    assert accepted(bench) == accepted(other)
    assert len(accepted(bench)) == sum(accepted(bench).values())


def test_without_an_id_the_whole_row_is_the_identity(bench: Bench) -> None:
    things(bench, "None")
    rows = [
        row(None, k="a"),
        row("a", k="b"),
        row("a", k="b"),
        row("a", k="b", n=None, m=Decimal("1.00")),
        row("a", k="b", n=1, m=None),
        row("ab", k="c"),
        row("a", k="bc"),
        row("a", k="b", v=0.0),
        row("a", k="b", v=-0.0),
    ]
    bench.put("1", rows, SCHEMA)
    bench.put("2", [row("a", k="b")], SCHEMA)
    done = land(bench)
    assert done is not None
    assert (done.accepted, done.duplicate, done.quarantined) == (7, 3, 0)


def test_null_in_one_column_is_not_null_in_another(bench: Bench) -> None:
    bench.define(
        """
things = Source(
    "things", schema="a string, b string, at timestamp", event_timestamp="at", batch=Files("in")
)
"""
    ).apply()
    schema = pa.schema([("a", pa.string()), ("b", pa.string()), ("at", pa.timestamp("us", "UTC"))])
    pairs = [(None, "a"), ("a", None), ("a", ""), ("", "a"), (None, None), ("a", "a")]
    bench.put("1", [{"a": a, "b": b, "at": MIDDAY} for a, b in pairs], schema)
    done = land(bench)
    assert done is not None
    assert (done.accepted, done.duplicate) == (len(pairs), 0)


def test_an_identity_may_be_a_derived_column(bench: Bench) -> None:
    text = DEFINITIONS.replace("IDENTITY", '"low"').replace(
        '"v * 1e300")', '"v * 1e300"), "low": Derived("string", "lower(id)")'
    )
    bench.define(text).apply()
    bench.put("1", [row("A"), row("b")], SCHEMA)
    land(bench)
    bench.put("2", [row("a"), row("b")], SCHEMA)
    land(bench)
    assert bench.verdicts("things", "id") == {
        "A": ["accepted"],
        "a": ["quarantined"],
        "b": ["accepted", "duplicate"],
    }


def test_up_to_an_end_and_then_the_rest(bench: Bench) -> None:
    things(bench)
    days = [MIDDAY + dt.timedelta(days=n) for n in range(6)]
    bench.put("1", [*(row(f"{at.day}", at=at) for at in days), row("never", at=None)], SCHEMA)
    end_us = parse_instant_us("2014-02-03T12:00:00Z")
    part = land(bench, end_us)
    assert part is not None
    assert (part.read, part.accepted, part.newest_event_us) == (4, 3, end_us)
    assert land(bench, end_us) is None
    bench.put("2", [row("more", at=days[1])], SCHEMA)
    grown = land(bench, end_us)
    assert grown is not None
    assert grown.read == 1
    rest = land(bench)
    assert rest is not None
    assert (rest.read, rest.accepted) == (3, 3)
    assert Counter(row["_verdict"] for row in bench.events("things", "_verdict")) == {
        "accepted": 7,
        "quarantined": 1,
    }
    assert len(set(sequences(bench))) == 8
    assert land(bench) is None


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of the product catches it."""


@pytest.fixture(params=["before the commit", "after the commit", "before it is written down"])
def kill(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    real = landing.land

    def killed(*arguments: Any) -> None:
        if request.param == "after the commit":
            real(*arguments)
        raise KilledError

    if request.param == "before it is written down":
        monkeypatch.setattr(Landings, "finish", killed_finish)
    else:
        monkeypatch.setattr(landing, "land", killed)
    return str(request.param)


def killed_finish(_: Landings, __: Landing) -> None:
    raise KilledError


def test_a_killed_lander_loses_nothing_and_lands_nothing_twice(
    bench: Bench, kill: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    things(bench).put("1", [row("a"), row("b"), row("b"), row("c", n=-1)], SCHEMA)
    with pytest.raises(KilledError):
        land(bench)
    monkeypatch.undo()
    assert not bench.project.landings("things").all()
    again = land(bench)
    # Where the commit was there it is found and written down, and nothing is left to land.
    assert (again is None) == (kill != "before the commit")
    [done] = bench.project.landings("things").all()
    assert (done.read, done.accepted, done.duplicate, done.quarantined) == (4, 2, 1, 1)
    assert done.landed_us
    assert len(bench.events("things", "id")) == 4
    kept = bench.delta_versions()
    assert land(bench) is None
    assert bench.delta_versions() == kept
    assert not bench.project.landings("things").unfinished()


def test_a_batch_without_rows_is_landed_once(bench: Bench) -> None:
    things(bench).put("1", [row("a")], SCHEMA)
    early = land(bench, 0)
    assert early is not None
    assert (early.read, early.newest_event_us) == (0, None)
    assert land(bench, 0) is None
    rest = land(bench)
    assert rest is not None
    assert rest.accepted == 1


def test_nanoseconds_are_cut_to_the_microsecond_before(bench: Bench) -> None:
    things(bench)
    draw = random.Random(5)
    last = 4_000_000_000 * 10**9
    times = [draw.randrange(-(2**60), last) for _ in range(200)]
    times += [n * 10**6 + d for n in (1_393_632_000_001, -1_000_001) for d in (-1, 0, 1, 999)]
    table = pa.table(
        {
            "id": [str(n) for n in range(len(times))],
            "k": ["key"] * len(times),
            "at": pa.array(times, pa.timestamp("ns")),
            "v": pa.array([1.0] * len(times)),
            "n": pa.array([1] * len(times), pa.int32()),
            "m": pa.array([Decimal("1.00")] * len(times), pa.decimal128(12, 2)),
        }
    )
    pq.write_table(table, bench.inputs / "ns.parquet")
    bench.put("us", [row("plain")], SCHEMA)  # files of both kinds in one batch
    land(bench)
    found = {
        r["id"]: r["_event_timestamp"] for r in bench.events("things", "id", "_event_timestamp")
    }
    assert found.pop("plain") == parse_instant_us("2014-02-01T12:00:00Z")
    assert found == {str(n): time // 1_000 for n, time in enumerate(times)}
