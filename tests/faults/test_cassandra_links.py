"""The network between a stream and Cassandra stalls, loses replies, is cut, and delivers late."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from tests.faults.processes import Running, wait_for
from tests.faults.proxy import Proxy
from tests.faults.streamed import Streamed
from tests.spark.test_streaming import defined

STILL_S = 20
# A row with its state; what keeps a connection alive is 9 bytes.
_A_ROW = 150


class Linked:
    """A stream that reaches its Cassandra through the proxy, and runs for all tests."""

    def __init__(self, bench: Streamed, proxy: Proxy, running: Running) -> None:
        self.bench = bench
        self.proxy = proxy
        self.running = running

    def taken(self, count: int) -> None:
        """Send records, and wait until they are in both stores."""
        self.bench.send(count)
        self.wait()

    def wait(self) -> None:
        self.bench.wait_until_taken(self.running)

    def newest_write(self) -> int:
        """The newest write timestamp of a view, read past the proxy."""
        rows = self.bench.online("activity")
        return max(int(row.write_us) for row in rows.values())


@pytest.fixture(scope="module")
def linked(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, cassandra_port: int
) -> Iterator[Linked]:
    folder = tmp_path_factory.mktemp("linked")
    (folder / "conf").mkdir()
    (folder / "conf" / "linked.toml").write_text(
        '[online]\nkind = "cassandra"\ndatacenter = "datacenter1"\nreplication = 1\n'
    )
    with Proxy(cassandra_port) as proxy, Streamed(folder, spark) as bench:
        bench.env = "linked"
        bench.environ = {
            "TWINLAKE_CONF": str(folder / "conf"),
            "TWINLAKE_ONLINE_PORT": str(cassandra_port),
        }
        bench.draw(51, 600)
        defined(bench)
        bench.send(60)
        with bench.streaming(TWINLAKE_ONLINE_PORT=str(proxy.port)) as running:
            made = Linked(bench, proxy, running)
            made.wait()
            yield made


def test_a_stall_is_waited_for(linked: Linked) -> None:
    before = linked.bench.all_online()
    linked.proxy.stall()
    linked.bench.send(40)
    time.sleep(STILL_S)  # the fault itself
    linked.proxy.go_on()
    linked.wait()
    linked.bench.check_not_back(before)
    linked.bench.check()


def test_replies_that_are_lost_after_the_write_change_nothing(linked: Linked) -> None:
    before, newest = linked.bench.all_online(), linked.newest_write()
    linked.proxy.deafen()
    linked.bench.send(40)
    wait_for(lambda: linked.newest_write() > newest, "a write that was applied")
    written = linked.bench.all_online()["activity"]
    linked.proxy.cut()
    linked.wait()
    assert linked.proxy.dropped > 0
    linked.bench.check_not_back(before)
    now = linked.bench.online("activity")
    # What was written again is what was there.
    changed = [key for key, row in written.items() if row.write_us > newest and now[key] != row]
    assert changed == []
    linked.bench.check()


@pytest.mark.parametrize("count", [1, 700])
def test_a_cut_in_the_middle_of_a_request_is_written_to_the_end(linked: Linked, count: int) -> None:
    before = linked.bench.all_online()
    linked.proxy.cut_after(count)
    linked.bench.send(40)
    wait_for(lambda: not linked.proxy.is_to_cut, "the cut")
    linked.wait()
    linked.bench.check_not_back(before)
    linked.bench.check()


def test_an_old_write_that_arrives_after_a_newer_one_is_not_seen(linked: Linked) -> None:
    linked.proxy.hold()
    linked.bench.send(40)
    wait_for(lambda: linked.proxy.held > _A_ROW, "a write that is held back")
    linked.proxy.cut()
    linked.wait()  # the same rows by another connection
    linked.taken(40)  # and newer ones
    newer, held = linked.bench.all_online(), linked.proxy.held
    assert held > _A_ROW
    answered = linked.proxy.answered
    linked.proxy.release()
    wait_for(lambda: linked.proxy.held == 0 and linked.proxy.answered > answered, "an answer to it")
    linked.bench.check()
    assert linked.bench.all_online() == newer
