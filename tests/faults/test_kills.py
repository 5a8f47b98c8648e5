"""SIGKILL at every step of every job, in the first run and in those that finish it.

A sweep kills one state at one point after the other: each run finishes what the one before left
and dies a step later, so that every point is met by a run that has something to finish. What must
hold between two runs is checked after each kill, everything after the last run. With
``TWINLAKE_FAULTS=all`` each point is also tried alone, once and twice in a row.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults import small_lake
from tests.faults.conftest import Lake
from tests.faults.laws import (
    Online,
    State,
    check_complete,
    check_online,
    check_whole,
    event_content,
    masked,
)
from tests.faults.processes import Running, no_process_left, wait_for
from twinlake import crash_points
from twinlake.errors import StateError
from twinlake.flows.checking import check_parity
from twinlake.flows.materializing import materialize
from twinlake.flows.reading import read_service
from twinlake.flows.training_sets import names

ALL = os.environ.get("TWINLAKE_FAULTS") == "all"
COUNTS = {"first": small_lake.BOTH_COUNTS, "again": small_lake.BOTH_COUNTS}
START = {"first": "applied", "again": "first"}
CONTROL = {"first": "once", "again": "both"}
LANDING = tuple(name for name in crash_points.NAMES if name.startswith("landing."))
# Of Cassandra, which test_cassandra.py tries.
ELSEWHERE = "publishing.chunk_sent"
PUBLISHING = tuple(
    name for name in crash_points.NAMES if name.startswith("publishing.") and name != ELSEWHERE
)
# A document is written by the intent, the landing and each publication; a run that finishes
# another one's work writes the next of them first.
MATERIALIZE = {
    "again": (
        "landing.begun",
        "documents.written_aside",
        *LANDING[1:5],
        "documents.written_aside",
        "landing.written_down",
        *PUBLISHING,
        *(PUBLISHING if ALL else PUBLISHING[1:4:2]),
    ),
    "first": (
        "landing.intent_written",
        "landing.committed",
        "landing.counted",
        "publishing.rows_appended",
        "publishing.chunk_written",
        "publishing.written_down",
        "publishing.chunk_written",
    ),
}
ALONE = [
    (phase, point, times)
    for phase in ("again", "first")
    for point in (*LANDING, *PUBLISHING, "documents.written_aside:2", "publishing.chunk_written:2")
    for times in (1, 2)
    if ALL
]
# With more rows there when the next run comes: what was begun is finished as it was begun.
MEANWHILE = (
    *(LANDING if ALL else ("landing.intent_written", "landing.committed")),
    *(PUBLISHING if ALL else ("publishing.rows_appended", "publishing.chunk_written")),
)


def kill_at(lake: Lake, state: State, point: str, *verb: str) -> None:
    with_point = lake.start(state, *verb, TWINLAKE_CRASH_POINT=point)
    ended = with_point.wait()
    assert ended.code == -signal.SIGKILL, f"{point} was not reached: {ended.told}"


def check_answers(lake: Lake, state: State) -> None:
    """A key is answered, or it is said what is missing."""
    with lake.open(state) as project:
        keys = [{"meter": name} for name in ("m0000", "m1199", "nobody")]
        if not state.landings():
            with pytest.raises(StateError, match="nothing was landed"):
                read_service(project, "forecast", keys)
            return
        if len(list((state.folder / "publications").glob("*/*.json"))) < len(small_lake.VIEWS):
            with pytest.raises(StateError, match="was never published"):
                read_service(project, "forecast", keys)
            return
        answers = read_service(project, "forecast", keys)
    statuses = {served.status for served in answers[2].features.values()}
    assert statuses == {"missing"}


def check_again(lake: Lake, state: State, phase: str) -> None:
    """Everything is as without a kill, both stores agree, and another run changes nothing."""
    control = lake.state(CONTROL[phase])
    check_complete(state, counts=COUNTS[phase])
    assert event_content(state) == event_content(control)
    wanted = control.online()
    for view, rows in state.online().items():
        assert {meter: masked(row) for meter, row in rows.items()} == {
            meter: masked(row) for meter, row in wanted[view].items()
        }
    kept = (state.versions(), state.online())
    with lake.open(state) as project:
        views = list(project.applied().definitions.views.values())
        verdict = check_parity(project, views, None)
        assert verdict.mismatches == 0
        assert verdict.keys == small_lake.METERS
        assert not materialize(project).changed
    assert (state.versions(), state.online()) == kept


def allowed(lake: Lake, phase: str) -> list[Online]:
    return [lake.state(START[phase]).online(), lake.state(CONTROL[phase]).online()]


def test_every_crash_point_is_reached_without_a_crash(lake: Lake) -> None:
    # Workers reach theirs in processes of their own; test_workers.py stops them there. Streams have
    # test_stream_kills.py, and forgetting tests/spark/test_forgetting.py.
    others = {
        n for n in crash_points.NAMES if n.startswith(("worker.", "streaming.", "forgetting."))
    }
    assert lake.reached == set(crash_points.NAMES) - others - {ELSEWHERE}
    for phase, name in CONTROL.items():
        check_complete(lake.state(name), counts=COUNTS[phase])


@pytest.mark.parametrize("phase", ["again", "first"])
def test_materialize_killed_at_one_step_after_the_other(lake: Lake, phase: str) -> None:
    state = lake.copy(START[phase])
    online = state.online()
    for point in MATERIALIZE[phase]:
        kill_at(lake, state, point, "materialize")
        check_whole(state)
        online = check_online(state, online, allowed(lake, phase))
        check_answers(lake, state)
    ended = lake.run(state, "materialize")
    assert ended.code == 0, ended.told
    check_again(lake, state, phase)


@pytest.mark.parametrize(("phase", "point", "times"), ALONE)
def test_a_step_killed_alone_and_again(lake: Lake, phase: str, point: str, times: int) -> None:
    state = lake.copy(START[phase])
    kill_at(lake, state, point, "materialize")
    check_whole(state)
    online = check_online(state, {}, allowed(lake, phase))
    if times == 2:
        # Not every step is met once more: the next run goes on behind it.
        ended = lake.start(state, "materialize", TWINLAKE_CRASH_POINT=point).wait()
        assert ended.code in (0, -signal.SIGKILL), ended.told
        check_online(state, online, allowed(lake, phase))
    assert lake.run(state, "materialize").code == 0
    check_again(lake, state, phase)


@pytest.mark.parametrize("point", MEANWHILE)
def test_rows_that_arrive_after_a_kill_are_the_next_work(lake: Lake, point: str) -> None:
    state = lake.copy("applied")
    only_first = ("--source", f"daily={lake.root / 'in' / '1.parquet'}")
    running = lake.start(state, "materialize", before=only_first, TWINLAKE_CRASH_POINT=point)
    assert running.wait().code == -signal.SIGKILL
    check_online(state, {}, [lake.state("first").online()])
    with lake.open(state) as project:
        materialize(project)
    # What was not committed lands together with what came meanwhile.
    check_again(lake, state, "first" if len(state.landings()) == 1 else "again")


def stopped_before_commit(lake: Lake, started: list[Running]) -> tuple[State, Running]:
    """Stop a run, Java and all, after the data of a landing was written and before its commit."""
    for _ in range(8):
        state = lake.copy("first")
        there = set(state.table().rglob("*.parquet"))
        versions = state.versions()
        running = lake.start(state, "materialize")
        started.append(running)
        wait_for(lambda: set(state.table().rglob("*.parquet")) - there, "data files")  # noqa: B023
        running.stop_all()
        if state.versions() == versions:
            return state, running
        running.kill_all()  # too late by a moment
    raise AssertionError("eight runs were all stopped too late")


def test_a_power_cut_between_data_and_commit(lake: Lake) -> None:
    with no_process_left() as started:
        state, running = stopped_before_commit(lake, started)
        running.kill_all()
    check_whole(state)
    with lake.open(state) as project:
        materialize(project)
    check_again(lake, state, "again")


def test_java_that_outlives_its_killed_parent_cannot_commit_any_more(lake: Lake) -> None:
    """The kill frees the lock, so the next run begins while Java still has its commit before it."""
    with no_process_left() as started:
        state, running = stopped_before_commit(lake, started)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        with lake.open(state) as project:
            materialize(project)
        versions = state.versions()
        running.continue_all()
    assert state.versions() == versions
    check_again(lake, state, "again")


def test_apply_killed_at_one_step_after_the_other(lake: Lake) -> None:
    state = State(lake.states / "killed apply")
    points = ("apply.begun", "apply.step_done", "apply.view_half_made", "documents.written_aside")
    for point in points:
        kill_at(lake, state, point, "apply")
        with lake.open(state) as project, pytest.raises(StateError, match="nothing is applied"):
            project.applied()
    kill_at(lake, state, "apply.registered", "apply")
    with lake.open(state) as project:
        from twinlake.flows.applying import plan

        assert not plan(project).changes
        materialize(project)
    check_again(lake, state, "first")


def test_a_training_set_killed_at_one_step_after_the_other(lake: Lake) -> None:
    state = lake.copy("both")
    build = ("training-set", "build", "forecast", "--spine", str(lake.spine))
    points = tuple(name for name in crash_points.NAMES if name.startswith("training_set."))
    for point in points[:-1]:
        kill_at(lake, state, point, *build)
        with lake.open(state) as project:
            assert names(project) == []
    kill_at(lake, state, points[-1], *build)
    ended = lake.run(state, *build)
    assert ended.code == 0, ended.told
    assert not ended.document["built"]
    assert ended.document["receipt"]["content"] == lake.content
