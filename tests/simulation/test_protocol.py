"""The lander and the publishers in virtual time, killed anywhere, their writes late or repeated.

What runs is the product's own code: landing, publishing, finishing what was interrupted, settling
identities, folding rows. Delta, Spark, Cassandra and the clock are models that keep what the real
ones promise. A failure prints the steps that lead to it, and comes back when the test is run again.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.simulation.lake import SPARK, Fate, Killed, Lake, Store
from tests.unit.assurance import naive
from tests.unit.assurance.naive import Happened
from twinlake import Aggregate, Column, Entity, FeatureView, Kafka, Source
from twinlake.definitions.documents import Definitions
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import stored_features, view_features
from twinlake.definitions.times import ALWAYS, SECOND_US, to_us
from twinlake.errors import StateError
from twinlake.flows.project import Project, online_table, view_table
from twinlake.flows.publishing import publish
from twinlake.flows.stream_lander import SourceLander
from twinlake.kernel.state import peek
from twinlake.lake import events, landing, rows, streams
from twinlake.online.reader import serve
from twinlake.online.store import Key
from twinlake.registry.state import Applied
from twinlake.settings import load_settings

NOW_US = 1_700_000_000 * SECOND_US
QUERY = "0123456789abcdef"
CARD = Entity("card", join_keys={"card": "bigint"})


class Sent(NamedTuple):
    """A record of the topic."""

    tid: int
    card: int
    amount: float
    at_us: int


def source_of(known: str) -> Source:
    return Source(
        "payments",
        schema="tid bigint, card bigint, amount double, at timestamp",
        event_timestamp="at",
        event_id="tid",
        known=known,
        stream=Kafka("payments"),
    )


def views_of(source: Source) -> tuple[FeatureView, ...]:
    exact = FeatureView(
        "activity",
        entity=CARD,
        source=source,
        ttl="1h",
        max_events_per_key=100,
        features=[
            Column("amount"),
            Aggregate("count", windows={"num_10s": "10s", "num_60s": "60s"}),
            Aggregate("sum", "amount", windows={"sum_10s": "10s"}),
        ],
    )
    by_hops = FeatureView(
        "history",
        entity=CARD,
        source=source,
        ttl="1d",
        hop="10s",
        features=[Aggregate("max", "amount", windows={"max_40s": "40s"})],
    )
    return exact, by_hops


class World(Project):
    """A project whose lake, store and clock are models."""

    def __init__(self, state: Path, applied: Applied, lake: Lake, store: Store) -> None:
        super().__init__(
            load_settings(state, state=state, environ={}),
            environ={},
            now_us=lake.now_us,
            tell=lambda _: None,
            spark=SPARK,
        )
        self._applied, self._model = applied, store

    def applied(self) -> Applied:
        return self._applied

    @property
    def store(self) -> Any:
        return self._model


def judged(sent: list[Sent], first: int, now_us: int, known: str) -> pa.Table:
    """What the gate gives for records that are all clean."""
    at = np.array([one.at_us for one in sent], np.int64)
    instant = pa.timestamp("us", "UTC")
    told = at if known == "event" else np.full(len(sent), now_us, np.int64)
    tid = np.array([one.tid for one in sent], np.int64)
    content = np.array([hash((one.tid, one.card, one.amount, one.at_us)) for one in sent], np.int64)
    count = len(sent)
    return pa.table(
        {
            "tid": tid,
            "card": pa.array([one.card for one in sent], pa.int64()),
            "amount": pa.array([one.amount for one in sent], pa.float64()),
            "at": pa.array(at).cast(instant),
            "_event_timestamp": pa.array(at).cast(instant),
            "_known_timestamp": pa.array(told).cast(instant),
            "_hash_a": content,
            "_hash_b": content ^ 0x5DEECE66D,
            "_id_a": tid,
            "_id_b": ~tid,
            "_counts": np.ones(count, np.bool_),
            landing.CLEAN: np.ones(count, np.bool_),
            landing.FORGOTTEN: np.zeros(count, np.bool_),
            "_reasons": pa.nulls(count, pa.list_(pa.string())),
            rows.RAW: pa.nulls(count, pa.binary()),
            rows.ORIGIN: pa.array(["payments"] * count),
            streams.PARTITION: pa.array(np.zeros(count, np.int32)),
            rows.OFFSET: np.arange(first, first + count),
        }
    )


class Protocol(RuleBasedStateMachine):
    """Records arrive; processes land and publish them, and die; writes come late and twice."""

    known = "event"
    steps = 0

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="simulation"))
        self.fate, self.clock_us = Fate(), NOW_US
        self.lake, self.store = Lake(self.fate, lambda: self.clock_us), Store(self.fate)
        self.patch = pytest.MonkeyPatch()
        self.lake.install(self.patch)
        self.source = source_of(self.known)
        self.views = views_of(self.source)
        definitions = Definitions(
            {CARD.name: CARD},
            {self.source.name: self.source},
            {view.name: view for view in self.views},
        )
        self.applied = Applied(1, definitions, NOW_US)
        self.topic: list[Sent] = []
        self.planned: list[tuple[int, int]] = []
        self.done = 0
        self.moved_back_us = 0

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            try:
                self.run_to_the_end()
                self.check_equal()
            finally:
                self.patch.undo()
                Protocol.steps += self.fate.steps
                shutil.rmtree(self.folder)

    # What happens outside.

    @rule(
        cards=st.lists(st.integers(0, 3), min_size=1, max_size=6),
        waits=st.lists(st.integers(-90, 20), min_size=6, max_size=6),
        is_old=st.booleans(),
    )
    def records_arrive(self, cards: list[int], waits: list[int], is_old: bool) -> None:
        for card, wait in zip(cards, waits, strict=False):
            at_us = self.clock_us + wait * SECOND_US - (7_200 * SECOND_US if is_old else 0)
            number = len(self.topic)
            self.topic.append(Sent(number, card, float(number % 7), at_us))

    @precondition(lambda self: self.topic)
    @rule(which=st.integers(0, 10**6), is_changed=st.booleans())
    def a_record_arrives_again(self, which: int, is_changed: bool) -> None:
        again = self.topic[which % len(self.topic)]
        self.topic.append(again._replace(amount=again.amount + 0.5) if is_changed else again)

    @rule(seconds=st.sampled_from([1, 7, 30, 3_600]))
    def time_goes_on(self, seconds: int) -> None:
        self.clock_us += seconds * SECOND_US

    @rule(seconds=st.integers(1, 120))
    def the_clock_is_set_back(self, seconds: int) -> None:
        if self.moved_back_us < 100 * SECOND_US:  # four minutes, and publishing is refused
            self.clock_us -= seconds * SECOND_US
            self.moved_back_us += seconds * SECOND_US

    @precondition(lambda self: self.store.in_flight)
    @rule(which=st.integers(0, 100))
    def a_write_of_a_dead_process_arrives(self, which: int) -> None:
        self.store.arrive(*self.store.in_flight.pop(which % len(self.store.in_flight)))

    @precondition(lambda self: self.store.sent)
    @rule(which=st.integers(0, 10**6))
    def an_old_write_arrives_once_more(self, which: int) -> None:
        self.store.arrive(*self.store.sent[which % len(self.store.sent)])

    @precondition(lambda self: self.lake.late)
    @rule()
    def what_outlived_a_dead_process_commits(self) -> None:
        self.lake.late.pop(0)()

    # What processes do.

    @rule(
        dies_after=st.none() | st.integers(0, 60),
        size=st.integers(1, 5),
        commits_late=st.booleans(),
        views=st.sampled_from([2, 2, 1, 0]),
    )
    def stream(self, dies_after: int | None, size: int, commits_late: bool, views: int) -> None:
        self.live(dies_after, commits_late, lambda: self.run_stream(size, views))

    @rule(
        dies_after=st.none() | st.integers(0, 25), commits_late=st.booleans(), second=st.booleans()
    )
    def publish_by_job(self, dies_after: int | None, commits_late: bool, second: bool) -> None:
        view = self.views[second]
        self.live(dies_after, commits_late, lambda: publish(self.process(), view, ALWAYS))

    def live(self, dies_after: int | None, commits_late: bool, run: Any) -> None:
        """Be a process until its work is done, it stops for a reason, or it dies."""
        self.fate.left, self.fate.commits_late = dies_after, commits_late
        try:
            run()
        except Killed:
            pass
        except StateError as error:
            # What outlived a dead process took the number: the next start goes on from there.
            if "committed by another process" not in error.message:
                raise
        finally:
            self.fate.left = None

    def process(self) -> World:
        return World(self.folder, self.applied, self.lake, self.store)

    def run_stream(self, size: int, views: int = 2) -> None:
        """What Structured Streaming does: plan a batch, run it, note it as done."""
        project = self.process()
        lander = SourceLander(project, self.source, self.views[:views], "stream")
        try:
            landed_through = project.landings("payments").newest_batch(QUERY)
            while True:
                if self.done == len(self.planned):
                    start = self.planned[-1][1] if self.planned else 0
                    if start == len(self.topic):
                        return
                    self.planned.append((start, min(start + size, len(self.topic))))
                    self.fate.step()
                start, end = self.planned[self.done]
                if self.done > landed_through:
                    batch = judged(self.topic[start:end], start, self.clock_us, self.known)
                    lander.take_judged(batch, {"query": QUERY, "query_batch": self.done})
                self.fate.step()
                self.done += 1
        finally:
            lander.close()

    # What must hold.

    @invariant()
    def nothing_goes_back(self) -> None:
        if hasattr(self, "store"):
            self.store.check_never_back()

    def run_to_the_end(self) -> None:
        self.clock_us += 2 * self.moved_back_us
        while self.lake.late:
            self.lake.late.pop(0)()
        for _ in range(3):
            self.live(None, False, lambda: self.run_stream(5))
        for view in self.views:
            self.live(None, False, lambda view=view: publish(self.process(), view, ALWAYS))
        for name, row in [*self.store.in_flight, *self.store.sent]:
            self.store.arrive(name, row)
        self.store.check_never_back()

    def check_equal(self) -> None:
        """Each record has one verdict; both stores are what a list of events makes of them."""
        landed = self.lake.table(self.process().places.events("payments")).rows
        if landed is None:
            assert not self.topic
            return
        assert sorted(landed.column(rows.OFFSET).to_pylist()) == list(range(len(self.topic)))
        accepted = [r for r in landed.to_pylist() if r["_verdict"] == events.ACCEPTED]
        assert sorted(r["tid"] for r in accepted) == sorted({one.tid for one in self.topic})
        for view in self.views:
            self.check_feature_rows(view, accepted)
            self.check_online_rows(view, accepted)

    def check_feature_rows(self, view: FeatureView, accepted: list[dict[str, Any]]) -> None:
        table = self.lake.table(self.process().places.view(view_table(view))).rows
        newest: dict[tuple[int, int], dict[str, Any]] = {}
        for row in [] if table is None else table.to_pylist():
            place = row["_event_version"], row["_event_row"]
            if place not in newest or row["_view_version"] > newest[place]["_view_version"]:
                newest[place] = row
        assert newest.keys() == {(r["_version"], r["_row"]) for r in accepted}
        features = view_features(view)
        for event in accepted:
            found = newest[event["_version"], event["_row"]]
            at_us, known_us = to_us(event["_event_timestamp"]), to_us(event["_known_timestamp"])
            seen = naive.visible(of_key(accepted, event["card"]), at_us, known_us)
            for feature in features:
                wanted = naive.value(feature, seen, at_us, view.hop_us)
                assert found[feature.name] == wanted, (feature.name, event)

    def check_online_rows(self, view: FeatureView, accepted: list[dict[str, Any]]) -> None:
        online = {row.key: row for row in self.store.scan(online_table(view))}
        assert online.keys() == {(r["card"],) for r in accepted}
        for (card,), row in online.items():
            happened = of_key(accepted, card)
            newest_us = max(one.event_us for one in happened)
            assert row.event_us == newest_us
            known_us = max(one.known_us for one in happened)
            seen = naive.visible(happened, newest_us, known_us)
            for feature, value in zip(stored_features(view), row.values, strict=True):
                assert value == naive.value(feature, seen, newest_us, view.hop_us), feature.name
            head = peek(row.state, bytes.fromhex(view_fingerprint(view)))
            assert head is not None
            for later_s in (0, 3, 15, 45, 100, 4_000):
                self.check_served(view, (card,), happened, head.exact_from_us + later_s * SECOND_US)

    def check_served(
        self, view: FeatureView, key: Key, happened: list[Happened], at_us: int
    ) -> None:
        store: Any = self.store
        (answers,) = serve(store, online_table(view), view, [key], at_us).rows
        seen = naive.visible(happened, at_us, at_us)
        is_held = bool(seen) and at_us - seen[-1].event_us <= (view.ttl_us or 0)
        for feature in view_features(view):
            wanted = naive.value(feature, seen, at_us, view.hop_us) if is_held else None
            assert answers[feature.name].value == wanted, (feature.name, at_us)


class ProtocolByArrival(Protocol):
    """Events are known when they arrive, so every late one is late for questions too."""

    known = "arrival"


def of_key(accepted: list[dict[str, Any]], card: int) -> list[Happened]:
    return [
        Happened(
            to_us(r["_event_timestamp"]),
            to_us(r["_known_timestamp"]),
            r["_hash_a"],
            {"amount": r["amount"]},
        )
        for r in accepted
        if r["card"] == card
    ]


SEARCH = settings(max_examples=100, stateful_step_count=40)
AT_LEAST = 5_000


@pytest.mark.parametrize("machine", [Protocol, ProtocolByArrival])
def test_both_stores_agree_whatever_dies(machine: type[Protocol]) -> None:
    before = Protocol.steps
    run_state_machine_as_test(machine, settings=SEARCH)
    steps = Protocol.steps - before
    assert steps >= AT_LEAST, f"{steps} steps prove little"
