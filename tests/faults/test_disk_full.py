"""No space in the middle of a write.

A process that stands still at a crash point gets a limit on the size of the files that it writes,
which needs no right and no mount: from then on each write beyond it is refused by the kernel with
EFBIG, where a full disk says ENOSPC; both take the same way through Java, SQLite and twinlake.
Where this machine allows to mount a small file system, the same is done with a really full one.
"""

from __future__ import annotations

import resource

import pytest

from tests.faults.conftest import Lake
from tests.faults.laws import check_online, check_whole
from tests.faults.processes import Running, no_process_left
from tests.faults.test_kills import allowed, check_again

WRITES = {
    "events": ("landing.judged", "free some space"),
    "feature rows": ("publishing.begun", "free some space"),
    "online rows": ("publishing.rows_counted", "check free space"),
    "a document": ("landing.counted", "free some space"),
}


def limit_files(running: Running, size: int) -> None:
    for pid in running.members():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("what", WRITES)
def test_a_write_that_finds_no_space_is_named_and_can_be_done_again(lake: Lake, what: str) -> None:
    state = lake.copy("first")
    point, hint = WRITES[what]
    with no_process_left() as started:
        running = lake.start(state, "materialize", TWINLAKE_CRASH_POINT=f"{point}:stop")
        started.append(running)
        running.wait_until_stopped()
        limit_files(running, 64)
        running.go_on()
        ended = running.wait()
    assert ended.code == 3, (ended.code, ended.told)
    assert str(state.folder) in ended.message, ended.told
    assert hint in ended.message
    check_whole(state)
    check_online(state, {}, allowed(lake, "again"))
    assert lake.run(state, "materialize").code == 0
    check_again(lake, state, "again")
