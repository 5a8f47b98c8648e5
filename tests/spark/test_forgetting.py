"""A forgotten key is nowhere, in no byte of the state, and does not come back."""

from __future__ import annotations

import datetime as dt
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.spark.benches import Bench, Cells
from tests.spark.test_streaming import send
from twinlake.assurance.damage import find_damage
from twinlake.definitions.types import Field
from twinlake.errors import InputError, StateError
from twinlake.flows import (
    checking,
    forgetting,
    maintaining,
    pushing,
    rebuilding,
    streaming,
    training_sets,
)
from twinlake.flows.erasable import EntityKey
from twinlake.flows.forgetting import Forgetting
from twinlake.flows.spine_files import spine_file
from twinlake.lake import tables
from twinlake.registry.inbox import Inbox
from twinlake.registry.ledger import Ledger

MAIL, CARD = "somebody.to.be.forgotten@example.org", 0x7A6B5C4D3E2F1A0B
# As text, and as the eight bytes that Parquet and Arrow, and SQLite and Cassandra, write.
TRACES = (MAIL.encode(), str(CARD).encode(), struct.pack("<q", CARD), struct.pack(">q", CARD))
START = dt.datetime(2022, 1, 1, tzinfo=dt.UTC)
SCHEMA = pa.schema(
    [
        ("tid", pa.string()),
        ("mail", pa.string()),
        ("card", pa.int64()),
        ("shop", pa.string()),
        ("amount", pa.decimal128(12, 2)),
        ("at", pa.timestamp("us", "UTC")),
    ]
)
DEFINITIONS = """
from twinlake import Kafka, Model
holder = Entity("holder", join_keys={"mail": "string", "card": "bigint"})
shop = Entity("shop", join_keys={"shop": "string"})
payments = Source(
    "payments",
    schema="tid string, mail string, card bigint, shop string, amount decimal(12,2), at timestamp",
    event_timestamp="at", event_id="tid", batch=Files("in"), stream=Kafka("payments"),
    expectations=[
        Expectation("expect_column_values_to_be_between", column="amount", min_value=0)
    ],
)
activity = FeatureView(
    "activity", entity=holder, source=payments, publish="stream", max_events_per_key=10_000,
    features=[Aggregate("count", windows={"count_1h": "1h"}), Column("amount", "newest")],
)
sales = FeatureView(
    "sales", entity=shop, source=payments, publish="stream", hop="1d",
    features=[
        Aggregate("sum", "amount", windows={"sold_9d": "9d"}),
        Aggregate("last", "mail", windows={"buyer_9d": "9d"}),
    ],
)
paying = FeatureService("paying", features=[activity])
giving = FeatureService("giving", features=[activity.joined_as("giver", mail="from", card="by")])
selling = FeatureService("selling", features=[sales])
risk = Model("risk", service=paying, label="bad")
"""


def payment(number: int, who: int, amount: int = 5, day: int = 0) -> Cells:
    """A row; of the one who is to be forgotten where ``who`` is 0."""
    mail, card = (f"m{who}@example.org", who) if who else (MAIL, CARD)
    at = START + dt.timedelta(days=day, minutes=number)
    named = {"tid": f"t{number}", "mail": mail, "card": card, "shop": f"s{number % 3}"}
    return {**named, "amount": Decimal(amount), "at": at}


def spine_of(*names: str) -> pa.Table:
    mail, card = names
    whose = [payment(0, who) for who in (0, 1, 2)]
    cells = {mail: [r["mail"] for r in whose], card: [r["card"] for r in whose]}
    times = [START + dt.timedelta(days=2)] * 3
    columns = {**cells, "event_timestamp": pa.array(times, pa.timestamp("us", "UTC"))}
    return pa.table(columns | {"bad": [0, 1, 0]})


def wire(row: Cells) -> str:
    return json.dumps({**row, "amount": float(row["amount"]), "at": row["at"].isoformat()})


@pytest.fixture
def everywhere(bench: Bench) -> Bench:
    """A lake in which a key is wherever one can be."""
    bench.define(DEFINITIONS).apply()
    rows = [payment(number, number % 4) for number in range(20)]
    rows += [rows[4], payment(30, 0, amount=-1)]  # a duplicate, and one for the quarantine
    bench.put("first", rows, SCHEMA)
    bench.materialize()
    # One that cannot be read, whose bytes are kept.
    broken = wire(payment(40, 0)).replace('"amount": 5.0', '"amount": "much"')
    send(bench, "a", [wire(payment(41, 0)), wire(payment(42, 1)), broken])
    streaming.stream(bench.open(), (), once=True)
    project = bench.project
    folder = project.places.spines
    for service, names in (("paying", ("mail", "card")), ("giving", ("from", "by"))):
        training_sets.build(project, service, spine_file(spine_of(*names), folder))
    shops = {"shop": ["s0", "s1"], "event_timestamp": [START + dt.timedelta(days=2)] * 2}
    training_sets.build(project, "selling", spine_file(pa.table(shops), folder))
    others = spine_of("mail", "card").slice(1)
    training_sets.build(project, "paying", spine_file(others, folder))
    _predictions(bench)
    served = project.places.served / "giving" / "1.parquet"
    served.parent.mkdir(parents=True)
    pq.write_table(spine_of("from", "by"), served)
    left = Inbox(project.settings.state, "payments").new("push", {}, 1)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), left.rows)
    return bench


def _predictions(bench: Bench) -> None:
    path = bench.project.places.predictions("risk")
    columns = [Field("mail", "string"), Field("card", "bigint"), Field("prediction", "double")]
    tables.create(bench.spark, path, columns, "Predictions", skipped_by=["card"])
    made = bench.spark.createDataFrame(
        [(MAIL, CARD, 0.5), ("m1@example.org", 1, 0.25)],
        "mail string, card bigint, prediction double",
    )
    told = {"ingest_version": 7}
    tables.append(made, path, writer="scorer", number=7, metadata=told)


def traces(state: Path) -> dict[str, set[bytes]]:
    """Every file of a state in which bytes of the key are, and which."""
    found: dict[str, set[bytes]] = {}
    for file in state.rglob("*"):
        if file.is_file():
            content = b"".join(readable(file))
            if there := {trace for trace in TRACES if trace in content}:
                found[str(file.relative_to(state))] = there
    return found


def readable(file: Path) -> Iterator[bytes]:
    """The bytes of a file, and of Parquet the cells, which are compressed there."""
    yield file.read_bytes()
    if file.suffix == ".parquet":
        for batch in pq.read_table(file, partitioning=None).to_batches():
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            yield sink.getvalue().to_pybytes()


def areas(state: Path) -> set[str]:
    """Where traces are, but for the folder that plays the topic, which is its writer's."""
    named = set()
    for name in traces(state):
        parts = Path(name).parts
        named.add("/".join(parts[:3] if parts[0] == "lake" else parts[:1]))
    # Rows that were written last are in the log beside the file.
    named = {"online.sqlite" if name.startswith("online.sqlite") else name for name in named}
    return named - {"topics"}


def key(bench: Bench, who: int = 0) -> EntityKey:
    row = payment(0, who)
    parts = {"mail": row["mail"], "card": str(row["card"])}
    return EntityKey.of(bench.project, "holder", parts)


def forget(bench: Bench) -> Forgetting:
    return forgetting.forget(bench.project, key(bench))


def parity(bench: Bench) -> int:
    views = list(bench.project.applied().definitions.views.values())
    return checking.check_parity(bench.project, views, None).mismatches


def sequences(bench: Bench) -> set[tuple[Any, ...]]:
    rows = bench.events("payments", "_version", "_row", "tid")
    return {(row["_version"], row["_row"], row["tid"]) for row in rows if row["tid"] is not None}


def verdicts(bench: Bench) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in bench.events("payments", "_verdict"):
        found[row["_verdict"]] = found.get(row["_verdict"], 0) + 1
    return found


def test_no_byte_of_it_is_left_and_all_else_is_as_it_was(everywhere: Bench) -> None:
    bench, state = everywhere, everywhere.folder / "state"
    names = training_sets.names(bench.project)
    before, total = sequences(bench), sum(verdicts(bench).values())
    tables_of_sets = {f"lake/training_sets/{name}" for name in names}
    found = areas(state)
    assert len(found & tables_of_sets) == 2
    assert found - tables_of_sets >= {
        "lake/events/payments", "lake/predictions/risk", "online.sqlite", "served", "inbox",
        "spines",
    }  # fmt: skip
    assert {Path(name).name.split("__")[0] for name in found} >= {"activity", "sales"}
    looked = forgetting.look(bench.project, key(bench))
    assert {one.table.split("__")[0]: one.rows for one in looked.tables} == {
        "events payments": 9, "view activity": 6, "online activity": 1, "predictions risk": 1,
        "training set paying": 1, "training set giving": 1, "served giving": 1,
        "inbox payments": 7, "spines": 2,
    }  # fmt: skip
    assert areas(state) == found, "looking changed something"

    done = forget(bench)

    assert areas(state) == set(), traces(state)
    assert {one.table: one.rows for one in done.tables} == {
        one.table: one.rows for one in looked.tables
    }
    assert verdicts(bench)["erased"] == 9
    assert sum(verdicts(bench).values()) == total
    assert sequences(bench) < before
    assert parity(bench) == 0
    assert find_damage(bench.project.places, state / "online.sqlite") == []
    assert maintaining.maintain(bench.project, (), maintaining.Work(reconcile=True)).is_clean
    assert done.refolded == {"sales": 3}
    _check_what_is_told(bench, done)
    _check_sets(bench)
    _check_it_stays_away(bench)


def _check_what_is_told(bench: Bench, done: Forgetting) -> None:
    told = {left.what: left.where for left in done.left}
    assert [Path(one).name for one in told["files of source payments"]] == ["first.parquet"]
    (file,) = told["topic payments of source payments"]
    assert Path(file).name == "a.json"
    again = forget(bench)
    assert (again.rows, again.was_known, again.tables) == (0, True, [])


def _check_sets(bench: Bench) -> None:
    project = bench.project
    found = {
        name: rebuilding.rebuild(project, name).verdict for name in training_sets.names(project)
    }
    assert sorted(found.values()) == ["erased", "erased", "erased", "same"]
    (name,) = [name for name, verdict in found.items() if verdict == "same"]
    assert name.startswith("paying")


def _check_it_stays_away(bench: Bench) -> None:
    """By files, by the stream, by a push, once more from the recorded file, from the quarantine."""
    state, events = bench.folder / "state", len(bench.events("payments"))
    bench.put("second", [payment(50, 0), payment(51, 2), payment(52, 0, amount=-1)], SCHEMA)
    landed = bench.materialize().landings["payments"]
    assert landed is not None
    assert (landed.read, landed.accepted, landed.erased, landed.quarantined) == (3, 1, 2, 0)
    broken = wire(payment(60, 0)).replace('"amount": 5.0', '"amount": "much"')
    unescaped = broken.replace("@", "\\u0040")
    send(bench, "b", [wire(payment(61, 0)), wire(payment(62, 1)), broken, unescaped])
    streamed = streaming.stream(bench.open(), (), once=True)["payments"]
    assert (streamed.read, streamed.accepted, streamed.erased) == (4, 1, 3)
    pushed = pushing.push(bench.open(), "payments", [payment(70, 0), payment(71, 3)])
    assert dict(pushed) == {
        "read": 2, "accepted": 1, "duplicate": 0, "quarantined": 0, "erased": 1
    }  # fmt: skip
    pushing.replay(bench.open(), "payments")
    assert len(bench.events("payments")) == events + 9
    assert areas(state) == set(), traces(state)
    assert parity(bench) == 0


def test_a_key_that_is_nowhere_is_kept_out_from_then_on(bench: Bench) -> None:
    bench.define(DEFINITIONS).apply()
    done = forget(bench)
    assert (done.rows, done.was_known, len(Ledger(bench.folder / "state").entries())) == (
        0,
        False,
        1,
    )
    bench.put("first", [payment(1, 0), payment(2, 1)], SCHEMA)
    landed = bench.materialize().landings["payments"]
    assert landed is not None
    assert (landed.read, landed.accepted, landed.erased) == (2, 1, 1)
    assert areas(bench.folder / "state") == set()


def test_the_verb_in_a_process_of_its_own(bench: Bench) -> None:
    bench.define(DEFINITIONS).apply()
    bench.put("first", [payment(number, number % 4) for number in range(8)], SCHEMA)
    bench.materialize()
    place = ["-C", str(bench.root), "--state", str(bench.project.settings.state)]
    asked = ["--json", "forget", "holder", f"mail={MAIL}", f"card={CARD}", "--yes"]
    done = subprocess.run(
        [sys.executable, "-m", "twinlake.cli.main", *place, *asked],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)  # and nothing else, of what Delta deleted either
    assert told["tables"]["events payments"]["rows"] == 2
    assert {row["_verdict"] for row in bench.events("payments") if row["mail"] == MAIL} == set()
    assert sum(row["_verdict"] == "erased" for row in bench.events("payments")) == 2


def test_nothing_is_forgotten_beside_somebody_who_lands(bench: Bench) -> None:
    bench.define(DEFINITIONS).apply()
    with (
        bench.open().places.exclusively("lander", "payments", "stream"),
        pytest.raises(StateError, match="the stream of payments is running"),
    ):
        forget(bench)
    assert Ledger(bench.folder / "state").entries() == []


@pytest.mark.parametrize(
    ("entity", "parts", "told"),
    [
        ("holders", {"mail": "a", "card": "1"}, "no entity named 'holders'"),
        ("holder", {"mail": "a"}, "has the parts mail, card, not mail"),
        ("holder", {"mail": "a", "card": "one"}, "card='one' is no bigint"),
    ],
)
def test_a_key_is_read_as_get_reads_it(
    bench: Bench, entity: str, parts: dict[str, str], told: str
) -> None:
    bench.define(DEFINITIONS).apply()
    with pytest.raises(InputError, match=told):
        EntityKey.of(bench.project, entity, parts)


class _KilledError(Exception):
    pass


POINTS = ("sets_erased", "online_erased", "rows_erased", "purged")


def test_whatever_ends_it_the_next_one_completes_it(
    everywhere: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run dies a step later than the one before it."""
    bench, state = everywhere, everywhere.folder / "state"
    for point in POINTS:
        monkeypatch.setattr(forgetting, "reached", dying_at(f"forgetting.{point}"))
        with pytest.raises(_KilledError):
            forget(bench)
        assert areas(state) or point == "purged"
    monkeypatch.undo()
    forget(bench)
    assert areas(state) == set(), traces(state)
    assert parity(bench) == 0
    assert find_damage(bench.project.places, state / "online.sqlite") == []
    assert forget(bench).rows == 0


def dying_at(wanted: str) -> Callable[[str], None]:
    def reached(name: str) -> None:
        if name == wanted:
            raise _KilledError

    return reached
