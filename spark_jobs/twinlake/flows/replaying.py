"""Replayed parity: send what was landed through the real stream job once more, and make it hard.

In a sandbox below the state's scratch folder, with embedded parts: landed events come out of order,
in batches of random size, some twice, some far ahead of time; some are pushed or landed from
files beside the stream, some are quarantined at first; a view is added in the middle; and the
stream's process is killed again and again. Then every cell is compared with independent code.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from twinlake.crash_points import NAMES
from twinlake.definitions.documents import Definitions
from twinlake.definitions.expectations import Expectation
from twinlake.definitions.resolution import view_features
from twinlake.definitions.sources import DeltaTable, Files, Source
from twinlake.definitions.times import DAY_US, format_instant
from twinlake.definitions.views import FeatureView
from twinlake.errors import StateError
from twinlake.flows import applying, materializing, pushing
from twinlake.flows.checking import Verdict, check_parity, events_behind
from twinlake.flows.child_streams import ChildStream, write_conf
from twinlake.flows.project import Project
from twinlake.lake import events, replay_workload, tables

DEFAULT_EVENTS, DEFAULT_BATCHES, DEFAULT_RESTARTS = 1_000_000, 50, 20
# Where a stream is killed; that of scores is reached only where a model scores.
POINTS = tuple(n for n in NAMES if n.startswith("streaming.") and n != "streaming.scored")
_HELD_BACK = 5
_FAR_AHEAD_US = 3650 * DAY_US
_TRIES = 5


@dataclass
class Replayed:
    """What a replay did and found.

    Attributes:
        seed: What chose everything.
        recorded: Accepted events that were sent once more.
        read, accepted, duplicate, quarantined: Rows by verdict, all sources together.
        batches: Batches that the streams landed, pushes and files among them.
        killed: Crash points at which a stream's process was killed, in order.
        beside: What was done beside the stream.
        missing, unexpected: Accepted rows that only the record has, and that only the replay has.
        moments: As of when it was served, by view.
        verdict: What was compared, over all moments.
        involved: The events behind the first difference.
    """

    seed: int
    recorded: int = 0
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    batches: int = 0
    killed: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    missing: int = 0
    unexpected: int = 0
    moments: dict[str, list[str]] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    involved: Sequence[dict[str, object]] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, nothing came twice, and no cell differs."""
        return not (self.missing or self.unexpected or self.verdict.mismatches)


def replay(
    project: Project,
    views: Sequence[FeatureView],
    *,
    most_events: int = DEFAULT_EVENTS,
    batches: int = DEFAULT_BATCHES,
    restarts: int = DEFAULT_RESTARTS,
    seed: int = 0,
) -> Replayed:
    """Send landed events through the stream job once more, and compare everything.

    Args:
        project: The project; its state is only read.
        views: What to replay.
        most_events: About how many events of each source at most; all of some keys then.
        batches: In how many pieces the stream gets them.
        restarts: How often its process is killed.
        seed: Chooses other keys, another order, other places to die.

    Raises:
        StateError: Nothing was landed of a source.
        EnvironmentFailure: A stream failed.
    """
    done = Replayed(seed)
    with _sandbox(project, views) as sandbox:
        chance = random.Random(seed)  # noqa: S311 (where to die is no secret)
        one = _Replay(project, sandbox, done, chance)
        one.write_workload(most_events, batches)
        one.run(batches, restarts)
        one.count()
        one.compare()
    return done


@contextmanager
def _sandbox(project: Project, views: Sequence[FeatureView]) -> Iterator[Project]:
    """Open the views alone, by stream, on embedded parts, with a state that goes away."""
    sources = {view.source.name: _as_stream(view.source) for view in views}
    streamed = {v.name: replace(v, source=sources[v.source.name], publish="stream") for v in views}
    applied = project.applied().definitions
    definitions = replace(
        applied, sources=sources, views=streamed, services={}, models={}, on_demand={}
    )
    with project.places.sandbox("replay") as folder:
        settings = replace(
            project.settings,
            env="replay",
            state=folder / "state",
            online_kind="sqlite",
            online_path=folder / "state" / "online.sqlite",
            stream_bootstrap=(),
        )
        write_conf(settings, folder / "conf", settings.env)
        yield Project(
            settings,
            environ=project.environ,
            now_us=project.now_us,
            tell=project.tell,
            sources={name: folder / "sent" / name for name in sources},
            spark=project.spark,
            definitions=definitions,
        )


def _as_stream(source: Source) -> Source:
    """Give a source as a replay reads it: from a table and from files of its own."""
    judged = tuple(one for one in source.expectations if one.is_row_level)
    return replace(source, stream=DeltaTable("sent"), batch=Files("files"), expectations=judged)


class _Replay:
    """A replay at work."""

    def __init__(
        self, project: Project, sandbox: Project, done: Replayed, chance: random.Random
    ) -> None:
        self.project = project
        self.sandbox = sandbox
        self.done = done
        self.chance = chance
        self.sources = sandbox.definitions.sources
        self.views = list(sandbox.definitions.views.values())
        self.folder = sandbox.settings.state.parent
        self.whole = sandbox.definitions
        self.unsent: dict[str, deque[Path]] = {}

    def _events(self, name: str) -> Path:
        if not self.project.landings(name).all():
            raise StateError.nothing_landed(name)
        return self.project.places.events(name)

    def _keys(self, name: str) -> list[str]:
        """The join keys of the first view on a source, by which events are chosen."""
        view = next(view for view in self.views if view.source.name == name)
        return list(view.entity.join_keys)

    # Before.

    def write_workload(self, most: int, batches: int) -> None:
        """Write all that will be sent, in pieces; ``_send`` appends those that a stream reads."""
        spark = self.project.spark
        self.chosen = {
            name: replay_workload.chosen(
                spark, self._events(name), self._keys(name), most, self.done.seed
            )
            for name in self.sources
        }
        for name, source in self.sources.items():
            frame = self.chosen[name]
            if not (recorded := frame.count()):
                raise StateError(f"no row of source {name} was accepted")
            self.done.recorded += recorded
            self.project.tell(f"replay of {name}: writing {batches} batches")
            cuts = sorted(self.chance.random() for _ in range(batches - 1))
            pieces = self.folder / "pieces" / name
            ahead_us = self.project.now_us() + _FAR_AHEAD_US
            replay_workload.write_pieces(frame, source, pieces, cuts, self.done.seed, ahead_us)
            self.unsent[name] = deque(replay_workload.pieces(pieces, replay_workload.STREAM))

    # The run.

    def run(self, batches: int, restarts: int) -> None:
        """Let streams die and begin again until all was sent, with other work beside them.

        Each gets its share of the batches, and dies at one of them if it comes that far.
        """
        beside = self._work_beside()
        mended_at = -(-restarts // 2)
        if restarts:
            self._apply(self._at_first())
        most_steps = max(1, batches // (restarts + 1))
        for number in range(restarts + 1):
            if number == mended_at:
                self._apply(self.whole)
                beside.appendleft(("quarantine replay", self._replay_quarantine))
            is_last = number == restarts
            point = ""
            if not is_last:
                point = f"{self.chance.choice(POINTS)}:{self.chance.randint(1, most_steps)}"
            runs_left = restarts + 1 - number
            self._send(runs_left)
            share = -(-len(beside) // runs_left)
            self._stream(point, [beside.popleft() for _ in range(share)])

    def _send(self, runs_left: int) -> None:
        """Append to what plays each stream what is its share of the batches that are left."""
        for name, pieces in self.unsent.items():
            for _ in range(-(-len(pieces) // runs_left)):
                piece = pieces.popleft()
                replay_workload.append_piece(self.project.spark, piece, self._sent(name))

    def _stream(self, point: str, beside: Sequence[tuple[str, Callable[[], object]]]) -> None:
        """Run one process, and do other work while it lives."""
        views = list(self.sandbox.applied().definitions.views)
        tables_by_source = {name: self._sent(name) for name in self.sources}
        with ExitStack() as ends:
            child = ChildStream(
                self.sandbox.settings,
                self.folder / "conf",
                views,
                tables_by_source,
                point,
                self.sandbox.environ,
            )
            ends.callback(child.end)
            if beside:
                child.wait_until_it_streams()
            for name, work in beside:
                self._insist(work)
                self.done.beside.append(name)
            if child.wait():
                self.done.killed.append(point)
        self.project.tell(
            f"replay: {len(self.done.killed)} killed, {self._landed():,} rows landed"
            + (f", {', '.join(name for name, _ in beside)}" if beside else "")
        )

    def _sent(self, name: str) -> Path:
        """The Delta table that plays a source's stream."""
        return self.folder / "sent" / name

    def _landed(self) -> int:
        return sum(one.read for name in self.sources for one in self.sandbox.landings(name).all())

    def _insist(self, work: Callable[[], object]) -> None:
        """Do something that the death of a stream may interrupt, as its user would: again."""
        for left in reversed(range(_TRIES)):
            try:
                work()
            except StateError:
                if not left:
                    raise
            else:
                return

    def _work_beside(self) -> deque[tuple[str, Callable[[], object]]]:
        ways = (
            (replay_workload.PUSH, "push", self._push),
            (replay_workload.FILES, "materialize", self._materialize),
        )
        found: list[tuple[str, Callable[[], object]]] = [
            (f"{verb} {name}", partial(work, name, piece))
            for name in self.sources
            for way, verb, work in ways
            for piece in replay_workload.pieces(self.folder / "pieces" / name, way)
        ]
        self.chance.shuffle(found)
        return deque(found)

    def _push(self, name: str, piece: Path) -> None:
        pushing.push(self.sandbox, name, pq.read_table(piece, partitioning=None))

    def _materialize(self, name: str, piece: Path) -> None:
        views = [v.name for v in self.sandbox.applied().definitions.views.values()]
        of_source = [v for v in views if self.sandbox.view(v).source.name == name]
        with self.sandbox.reading_from(name, piece):
            materializing.materialize(self.sandbox, of_source)

    def _replay_quarantine(self) -> None:
        for name in self.sources:
            pushing.replay(self.sandbox, name)

    # What is applied.

    def _apply(self, definitions: Definitions) -> None:
        self.sandbox.definitions = definitions
        applying.apply(self.sandbox)

    def _at_first(self) -> Definitions:
        """Leave out the last view, and let the gate refuse some keys."""
        sources = {name: self._refusing(source) for name, source in self.sources.items()}
        few = self.views[: max(1, len(self.views) - 1)]
        views = {v.name: replace(v, source=sources[v.source.name]) for v in few}
        return replace(self.whole, sources=sources, views=views)

    def _refusing(self, source: Source) -> Source:
        """Add an expectation that rows of some keys break, which is mended on the way."""
        (key, *_) = self._keys(source.name)
        kind = next(v.entity.join_keys[key] for v in self.views if v.source.name == source.name)
        if kind not in {"string", "int", "bigint"}:
            return source
        known = self.chosen[source.name].select(key).where(f"`{key}` IS NOT NULL").distinct()
        values = [row[0] for row in known.orderBy(key).limit(_HELD_BACK).collect()]
        refused = Expectation("expect_column_values_to_not_be_in_set", column=key, value_set=values)
        return replace(source, expectations=(*source.expectations, refused))

    # After.

    def count(self) -> None:
        """Count rows by verdict, and compare what was accepted with the record."""
        spark = self.project.spark
        for name in self.sources:
            for one in self.sandbox.landings(name).all():
                self.done.read += one.read
                self.done.accepted += one.accepted
                self.done.duplicate += one.duplicate
                self.done.quarantined += one.quarantined
            path = self.sandbox.places.events(name)
            replayed = tables.read(spark, path).where(f"_verdict = '{events.ACCEPTED}'")
            self.done.batches += tables.read(spark, path).select("_version").distinct().count()
            missing, unexpected = replay_workload.differing(self.chosen[name], replayed)
            self.done.missing += missing
            self.done.unexpected += unexpected

    def compare(self) -> None:
        """Compare every cell: stored, offline, and as served at several moments."""
        for view in self.sandbox.applied().definitions.views.values():
            told = self.done.moments[view.name] = self._moments(view)
            for moment in told:
                # What lies in the feature view table is the same at every moment.
                verdict = check_parity(
                    self.sandbox, [view], None, moment, offline=moment == told[0]
                )
                self.done.verdict.add(verdict)
                if verdict.differences:
                    self.done.involved = events_behind(self.sandbox, verdict.differences[0])
                    return

    def _moments(self, view: FeatureView) -> list[str]:
        """The newest event, and where windows have let go of some and of nearly all."""
        newest_us = self.sandbox.landings(view.source.name).newest_event_us()
        if newest_us is None:
            raise StateError(f"no event of source {view.source.name} was accepted")
        windows = sorted(f.window_us for f in view_features(view) if f.window_us)
        steps = (windows[0] // 2, windows[-1] - 1) if windows else ()
        return [format_instant(newest_us + step) for step in (0, *steps)]
