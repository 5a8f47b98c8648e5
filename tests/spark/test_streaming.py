"""A stream ends in what one batch over the same rows gives, whatever comes in between."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from tests.spark import oracle
from tests.spark.benches import Bench, Cells, without
from twinlake.errors import InputError, StateError
from twinlake.flows import checking, pushing, stream_lander, streaming
from twinlake.lake import tables
from twinlake.lake.streams import Limits

MINUTE_US = 60_000_000
START_S = 1_640_995_200
SCHEMA = pa.schema(
    [
        ("tid", pa.string()),
        ("card", pa.int64()),
        ("amount", pa.decimal128(12, 2)),
        ("at", pa.timestamp("us", "UTC")),
    ]
)
DEFINITIONS = """
from twinlake import DeltaTable, Kafka
card = Entity("card", join_keys={"card": "bigint"})
payments = Source(
    "payments", schema="tid string, card bigint, amount decimal(12,2), at timestamp",
    event_timestamp="at", event_id="tid", batch=Files("in"),
    stream=%(stream)s, where="amount < 900",
)
activity = FeatureView(
    "activity", entity=card, source=payments, publish="stream", max_events_per_key=10_000,
    features=[
        Aggregate("count", windows={"count_10m": "10m"}),
        Aggregate("mean", "amount", windows={"mean_10m": "10m", "mean_1h": "1h"}),
        Aggregate("max", "amount", windows={"max_10m": "10m"}),
        Column("amount", "newest"),
    ],
)
history = FeatureView(
    "history", entity=card, source=payments, publish="batch", hop="1h", ttl="20d",
    features=[Aggregate("sum", "amount", windows={"sum_1d": "1d"}),
              Aggregate("last", "tid", windows={"last_1d": "1d"})],
)
paying = FeatureService("paying", features=[activity, history])
"""
# When files were sent.
_SECONDS = itertools.count(START_S)
STREAM = 'Kafka("payments", times_in="s")'
VIEWS = ("activity", "history")


def defined(bench: Bench, stream: str = STREAM, more: str = "") -> Bench:
    return bench.define(DEFINITIONS % {"stream": stream} + more).apply()


def payments(draw: random.Random, count: int) -> list[Cells]:
    """Rows in time order; some are late in the list, some repeat another, some contradict it."""
    at = START_S * 1_000_000
    rows: list[Cells] = []
    for number in range(count):
        at += draw.randrange(60_000_000)
        late = draw.choice([0] * 20 + [7 * MINUTE_US, 50 * MINUTE_US])
        # Some at one moment, so that what breaks a tie matters.
        moment = at - late - (at % MINUTE_US if draw.random() < 0.3 else 0)
        amount = Decimal(draw.randrange(100_000)).scaleb(-2)
        rows.append(
            {"tid": f"t{number}", "card": draw.randrange(12), "amount": amount, "at": moment}
        )
        if draw.random() < 0.05:
            rows.append(dict(draw.choice(rows[-30:])))
    return rows


def line(row: Cells) -> str:
    whole, rest = divmod(row["at"], 1_000_000)
    fields = {name: json.dumps(row[name]) for name in ("tid", "card")}
    fields |= {"amount": str(row["amount"]), "at": f"{whole}.{rest:06}"}
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


def send(bench: Bench, name: str, lines: Iterable[str], topic: str = "payments") -> None:
    folder = bench.folder / "state" / "topics" / topic
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{name}"
    aside.write_text("".join(f"{one}\n" for one in lines))
    # Files are taken in the order of their times, which may be equal within a millisecond.
    second = next(_SECONDS)
    os.utime(aside, (second, second))
    aside.rename(folder / f"{name}.json")


def stream(bench: Bench, *views: str, files: int = 50, **told: Any) -> stream_lander.Progress:
    """Take in what is there, as a process of its own would."""
    done = streaming.stream(bench.open(), views, once=True, limits=Limits(files=files), **told)
    return done["payments"]


def content(bench: Bench, view: str) -> Counter[Any]:
    system = ("_event_version", "_event_row", "_view_version")
    return Counter(
        tuple(oracle.bits(cell) for cell in without(row, system).values())
        for row in bench.feature_rows(view)
    )


def served(bench: Bench, view: str) -> dict[Any, Any]:
    """Online rows without what depends on the commits that they were made from."""
    found = {}
    for key, row in bench.online(view).items():
        # See kernel/state.py: the id of the events table and the version.
        state = row.state[:24] + bytes(24) + row.state[48:]
        cells = tuple(map(oracle.bits, row.values))
        found[key] = (cells, row.event_us, row.known_us, row.valid_until_us, state)
    return found


def check_equal_to_one_batch(bench: Bench, other: Bench, rows: list[Cells]) -> None:
    """Land the winners of the stream as one batch elsewhere, and compare everything."""
    accepted = {
        r["tid"]
        for r in bench.events("payments", "tid", "_verdict", "amount")
        if r["_verdict"] == "accepted"
    }
    winners = bench.events("payments", "tid", "card", "amount", "at", "_verdict")
    kept = [without(row, ("_verdict",)) for row in winners if row["_verdict"] == "accepted"]
    assert accepted == {row["tid"] for row in rows}
    assert len(kept) == len(accepted)
    defined(other).put("all", kept, SCHEMA)
    other.materialize()
    for view in VIEWS:
        assert content(bench, view) == content(other, view)
        assert served(bench, view) == served(other, view)
    with bench.open() as project:
        project._spark = bench.spark
        views = list(project.applied().definitions.views.values())
        assert checking.check_parity(project, views, None).mismatches == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_stream_in_pieces_ends_in_the_rows_of_one_batch(
    bench: Bench, module_bench: Any, seed: int
) -> None:
    draw = random.Random(seed)
    rows = payments(draw, 400)
    defined(bench)
    lines = [line(row) for row in rows]
    cuts = sorted(draw.sample(range(len(lines)), 7))
    pieces = [lines[low:high] for low, high in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    read = 0
    for number, piece in enumerate(pieces):
        send(bench, f"{number:02}", piece)
        if draw.random() < 0.6 or number == len(pieces) - 1:
            done = stream(bench, *VIEWS, files=draw.choice([1, 2]))
            read += done.read
            assert done.read == done.accepted + done.duplicate + done.quarantined
    assert read == len(lines)
    assert len(bench.events("payments")) == len(lines)
    check_equal_to_one_batch(bench, module_bench(), rows)
    assert stream(bench, *VIEWS).batches == 0


def test_what_reaches_further_back_than_is_held_is_computed_from_the_lake(
    bench: Bench, module_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_lander, "_SLACK_US", 10 * MINUTE_US)
    rows = payments(random.Random(4), 150)
    defined(bench)
    send(bench, "0", map(line, rows))
    stream(bench, *VIEWS)
    last = rows[-1]["at"]
    days_late = [
        {"tid": f"late{n}", "card": n, "amount": Decimal("5.00"), "at": last - n * 86_400_000_000}
        for n in range(4)
    ]
    send(bench, "1", map(line, [*days_late, dict(rows[3])]))
    done = stream(bench, *VIEWS)
    assert done.slow_batches == 2
    assert (done.accepted, done.duplicate) == (4, 1)
    check_equal_to_one_batch(bench, module_bench(), [*rows, *days_late])


BROKEN = {
    '{"tid": "a", "card": 1': "record: no JSON object",
    "[1]": "record: no JSON object",
    '{"tid": "b", "card": "one", "amount": 1, "at": 1640995200}': "card: cannot be read as bigint",
    '{"tid": "c", "card": 1, "amount": 1.005, "at": 1640995200}': "amount: cannot be read as dec",
    '{"tid": "d", "card": 1, "amount": 1, "at": "soon"}': "at: cannot be read as timestamp",
    '{"tid": "e", "amount": 1, "at": 1640995200}': "card: a key must not be null",
    '{"card": 1, "amount": 1, "at": 1640995200}': "tid: a key must not be null",
    '{"tid": "f", "card": 1, "amount": 1}': "no event timestamp",
    '{"tid": "g", "card": 1, "amount": 1, "at": 32503680000}': "ahead of its landing",
    '{"tid": "h", "card": 1, "amount": 1, "at": -9999999999}': "event timestamp before 1900",
    '{"tid": "i", "text": "' + 5_000_000 * "x" + '"}': "record: 5000024 bytes",
}


def test_what_cannot_be_read_is_quarantined_with_its_place_and_the_stream_lives(
    bench: Bench,
) -> None:
    defined(bench)
    good = payments(random.Random(5), 20)
    send(bench, "0", [*BROKEN, *map(line, good)])
    done = stream(bench)
    assert (done.read, done.quarantined) == (len(BROKEN) + done.accepted + done.duplicate, 11)
    found = [r for r in bench.events("payments") if r["_verdict"] == "quarantined"]
    raw = {bytes(row["_raw"]).decode(): row for row in found}
    assert raw.keys() == BROKEN.keys()
    for text, reason in BROKEN.items():
        assert any(reason in told for told in raw[text]["_reasons"]), raw[text]["_reasons"]
        assert raw[text]["_origin"].endswith("/topics/payments/0.json")


def test_numbers_that_are_none_do_not_pass(bench: Bench) -> None:
    stream_of = DEFINITIONS.replace("amount decimal(12,2)", "amount double")
    bench.define(stream_of % {"stream": STREAM}).apply()
    values = ("NaN", "Infinity", "-Infinity", "1e999", "-0.0")
    send(
        bench,
        "0",
        [f'{{"tid": "{v}", "card": 1, "amount": {v}, "at": {START_S}}}' for v in values],
    )
    done = stream(bench)
    assert (done.accepted, done.quarantined) == (1, 4)
    (row,) = bench.online("activity").values()
    assert str(row.values[-1]) == "0.0"


def test_a_table_is_read_as_a_stream(bench: Bench, spark: SparkSession, module_bench: Any) -> None:
    rows = payments(random.Random(6), 90)
    table = bench.folder / "theirs"
    defined(bench, f"DeltaTable({str(table)!r})")
    for start in (0, 40):
        path = bench.put("part", rows[start : start + 40 if start == 0 else None], SCHEMA)
        spark.read.parquet(str(path)).write.format("delta").mode("append").save(str(table))
        path.unlink()
        stream(bench, *VIEWS)
    check_equal_to_one_batch(bench, module_bench(), rows)


def test_a_batch_view_takes_what_the_stream_landed(bench: Bench, module_bench: Any) -> None:
    rows = payments(random.Random(7), 120)
    defined(bench)
    send(bench, "0", map(line, rows[:70]))
    stream(bench)
    bench.materialize("history")
    send(bench, "1", map(line, rows[70:]))
    stream(bench)
    bench.materialize("history")
    check_equal_to_one_batch(bench, module_bench(), rows)


def test_batch_and_stream_take_turns_on_one_source(bench: Bench, module_bench: Any) -> None:
    rows = payments(random.Random(8), 120)
    defined(bench)
    bench.put("old", rows[:60], SCHEMA)
    bench.materialize()
    send(bench, "0", map(line, rows[50:100]))
    done = stream(bench, *VIEWS)
    assert done.duplicate >= 10
    bench.put("new", rows[90:], SCHEMA)
    bench.materialize()
    check_equal_to_one_batch(bench, module_bench(), rows)


def test_a_new_view_begins_with_all_that_was_landed(bench: Bench) -> None:
    rows = payments(random.Random(9), 100)
    defined(bench)
    send(bench, "0", map(line, rows[:60]))
    stream(bench)
    more = """
added = FeatureView(
    "added", entity=card, source=payments, publish="stream", max_events_per_key=10_000,
    features=[Aggregate("count", windows={"count_7d": "7d"})],
)
"""
    defined(bench, more=more)
    send(bench, "1", map(line, rows[60:]))
    stream(bench)
    accepted = [r for r in bench.events("payments") if r["_verdict"] == "accepted"]
    taking_part = [row for row in accepted if row["amount"] < 900]
    counts = Counter(row["card"] for row in taking_part)
    assert {key[0]: row.values[0] for key, row in bench.online("added").items()} == counts
    assert len(bench.feature_rows("added")) == len(taking_part)


def test_without_its_checkpoint_a_stream_lands_nothing_twice(bench: Bench) -> None:
    rows = payments(random.Random(10), 60)
    defined(bench)
    send(bench, "0", map(line, rows))
    first = stream(bench)
    kept = served(bench, "activity"), content(bench, "activity")
    checkpoint = bench.folder / "state" / "streams" / "payments" / "checkpoint"
    checkpoint.rename(bench.folder / "gone")
    again = stream(bench)
    assert (again.accepted, again.duplicate) == (0, first.accepted + first.duplicate)
    assert (served(bench, "activity"), content(bench, "activity")) == kept


def test_there_is_one_lander_and_one_publisher(bench: Bench) -> None:
    defined(bench)
    send(bench, "0", map(line, payments(random.Random(11), 10)))
    refusals = []

    def try_others(*_: Any) -> None:
        other = bench.open()
        source = other.view("activity").source
        for what in (
            lambda: streaming.stream(other, once=True),
            lambda: stream_lander.SourceLander(other, source, [], "somebody else"),
        ):
            try:
                what()
            except StateError as error:
                refusals.append(str(error))

    stream(bench, after_batch=try_others)
    assert ["another process is the lander of payments" in text for text in refusals] == [True] * 2


def test_other_definitions_stop_the_stream_before_it_writes(bench: Bench) -> None:
    defined(bench)
    rows = payments(random.Random(12), 20)
    send(bench, "0", map(line, rows[:10]))

    def change(*_: Any) -> None:
        path = bench.root / "features.py"
        path.write_text(path.read_text().replace('"sum_1d": "1d"', '"sum_1d": "2d"'))
        from twinlake.flows import applying

        applying.apply(bench.open())
        send(bench, "1", map(line, rows[10:]))

    send(bench, "1", map(line, rows[10:]))
    with pytest.raises(StateError, match="definitions of payments or its views changed"):
        stream(bench, files=1, after_batch=change)
    assert len(bench.events("payments")) == 10
    assert stream(bench, *VIEWS).read == len(rows) - 10


def test_a_further_column_is_read_from_the_next_batch_on(bench: Bench) -> None:
    defined(bench)
    rows = payments(random.Random(13), 60)
    send(bench, "0", map(line, rows[:20]))
    # A record may have a field before anybody asks for it.
    send(bench, "1", [line(row)[:-1] + ', "colour": "red"}' for row in rows[20:40]])
    send(bench, "2", [line(row)[:-1] + ', "colour": "blue"}' for row in rows[40:]])
    batches = []

    def widen(name: str, progress: stream_lander.Progress) -> None:
        batches.append((progress.batches, progress.read))
        if progress.batches == 2:
            text = (bench.root / "features.py").read_text()
            bench.define(text.replace("tid string,", "tid string, colour string,")).apply()

    done = stream(bench, *VIEWS, files=1, after_batch=widen)
    assert batches == [(1, 20), (2, 40), (3, len(rows))]
    assert (done.batches, done.read) == (3, len(rows))
    found = bench.events("payments", "colour")
    assert Counter(row["colour"] for row in found) == {None: 40, "blue": len(rows) - 40}
    # Records that were landed before are known again, also where they have the new field as null.
    send(bench, "3", [line(row)[:-1] + ', "colour": null}' for row in rows[:20]])
    assert stream(bench, *VIEWS).duplicate == 20
    views = list(bench.project.applied().definitions.views.values())
    assert checking.check_parity(bench.project, views, None).mismatches == 0


def test_a_view_without_stream_is_refused_by_name(bench: Bench) -> None:
    bench.define(
        DEFINITIONS.replace('publish="stream", ', "").replace("stream=%(stream)s, ", "")
    ).apply()
    with pytest.raises(InputError, match="no view is published by stream"):
        stream(bench)
    with pytest.raises(InputError, match="source payments has no stream"):
        stream(bench, "activity")


def test_documents_do_not_grow_with_batches(bench: Bench) -> None:
    defined(bench)
    for number, row in enumerate(payments(random.Random(13), 6)):
        send(bench, str(number), [line(row)])
    done = stream(bench, files=1)
    assert done.batches >= 6
    landings = bench.project.landings("payments").all()
    assert [one.read for one in landings] == [done.read]
    state = bench.folder / "state"
    assert len(list((state / "landings" / "payments").glob("*.json"))) == 1
    assert len(list((state / "publications" / "activity").glob("*.json"))) == 1
    versions = tables.commits(bench.spark, bench.view_path("activity"), 100)
    assert 1 < len(versions) <= 1 + done.batches  # some batches hold no event that takes part


def test_pushed_rows_are_rows_like_any_other(bench: Bench, module_bench: Any) -> None:
    rows = payments(random.Random(14), 80)
    defined(bench)
    send(bench, "0", map(line, rows[:30]))
    stream(bench, *VIEWS)
    table = pa.Table.from_pylist(rows[20:60], schema=SCHEMA)
    first = pushing.push(bench.open(), "payments", table)
    assert first["read"] == 40
    assert first["duplicate"] >= 10
    again = pushing.push(bench.open(), "payments", table)
    assert (again["accepted"], again["duplicate"]) == (0, 40)
    send(bench, "1", map(line, rows[60:]))
    stream(bench, *VIEWS)
    check_equal_to_one_batch(bench, module_bench(), rows)


def test_a_running_stream_lands_what_others_ask_for(bench: Bench, module_bench: Any) -> None:
    rows = payments(random.Random(15), 90)
    defined(bench)
    send(bench, "0", map(line, rows[:30]))
    stopped, took = threading.Event(), threading.Event()
    found: list[BaseException] = []

    def run() -> None:
        try:
            streaming.stream(
                bench.open(), VIEWS, stopped=stopped, after_batch=lambda *_: took.set()
            )
        except BaseException as error:
            found.append(error)
            took.set()

    worker = threading.Thread(target=run)
    worker.start()
    try:
        assert took.wait(300)
        assert not found
        pushed = pushing.push(
            bench.open(), "payments", pa.Table.from_pylist(rows[30:60], schema=SCHEMA)
        )
        assert pushed["read"] == 30
        bench.put("old", rows[60:], SCHEMA)
        done = bench.materialize()  # the stream lands the file and publishes both views
        assert done.landings["payments"] is not None
        assert done.landings["payments"].read == len(rows) - 60
    finally:
        stopped.set()
        worker.join(300)
    assert not worker.is_alive()
    assert not found, found
    check_equal_to_one_batch(bench, module_bench(), rows)


def test_what_was_quarantined_is_let_in_after_a_fix(bench: Bench, module_bench: Any) -> None:
    """Amounts above 50 were refused by mistake; broken records stay where they are."""
    text = DEFINITIONS.replace(
        'where="amount < 900",',
        'where="amount < 900", expectations=[Expectation('
        '"expect_column_values_to_be_between", column="amount", max_value=50)],',
    )
    bench.define(text % {"stream": STREAM}).apply()
    rows = payments(random.Random(16), 60)
    send(bench, "0", ["{broken", *map(line, rows)])
    first = stream(bench, *VIEWS)
    assert first.quarantined > 20
    listed, count = pushing.list_quarantined(bench.open(), "payments", 5)
    assert (len(listed), count) == (5, first.quarantined)
    defined(bench)
    done = pushing.replay(bench.open(), "payments")
    assert done["refused"] == 1
    assert done["read"] == first.quarantined - 1
    assert pushing.replay(bench.open(), "payments") == {
        "read": 0, "accepted": 0, "duplicate": 0, "quarantined": 0, "erased": 0, "refused": 1
    }  # fmt: skip
    assert len(bench.events("payments")) == first.read + done["read"]
    stream(bench, *VIEWS)
    check_equal_to_one_batch(bench, module_bench(), rows)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"tid": "a", "colour": 1}], "no column named 'colour'"),
        ([{"tid": "a", "card": "one"}], "column card: no bigint"),
    ],
)
def test_rows_that_do_not_fit_are_not_pushed(bench: Bench, rows: list[Cells], problem: str) -> None:
    defined(bench)
    with pytest.raises(InputError, match=problem):
        pushing.push(bench.project, "payments", rows)
    assert bench.events("payments") == []
