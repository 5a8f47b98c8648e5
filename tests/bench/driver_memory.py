"""What a point-in-time join holds at the driver, by size.

python -m tests.bench.driver_memory [--spine 1000000] [--events 10000000]

Each size in a process of its own: events are landed and joined to the spine, as a training set is.
Told are the most that the driver's Python ever held, and what Java's heap still holds afterwards;
in local mode Java also does the work of the executors, so its peak says nothing of the driver.
The driver holds the spine, so one spine is also joined to ten times as many events.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import twinlake
from tests.bench.measuring import give, machine, say
from tests.bench.point_in_time import generate, ours
from twinlake.definitions.times import MAX_US
from twinlake.flows.landing import land_files

# By what the spine and the events are divided.
SIZES = ((100, 100), (10, 10), (10, 1), (1, 1))


def held(folder: Path) -> dict[str, Any]:
    """Land and join what lies in a folder, in this process."""
    with twinlake.open(folder, tell=say) as store:
        store.apply()
        project = store.project
        land_files(project, project.definitions.sources["rows"], MAX_US)
        before_mb = _peak_mb()
        ours(project, folder)()
        java: Any = project.spark._jvm
        runtime = java.java.lang.Runtime.getRuntime()
        runtime.gc()
        return {
            "python_before_mb": before_mb,
            "python_mb": _peak_mb(),
            "java_heap_after_mb": (runtime.totalMemory() - runtime.freeMemory()) >> 20,
        }


def _peak_mb() -> int:
    """Give the most that this process ever held; what getrusage tells begins with the parent's."""
    told = Path("/proc/self/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) >> 10


def main() -> None:
    """Measure each size and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spine", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        give(held(options.folder))
        return
    found = []
    for of_spine, of_events in SIZES:
        rows = options.spine // of_spine, options.events // of_events
        with tempfile.TemporaryDirectory() as name:
            generate(Path(name), *rows, 0.0, 0.0)
            command = [sys.executable, "-m", "tests.bench.driver_memory", "--folder", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        one = json.loads(done.stdout.splitlines()[-1])
        found.append({"spine": rows[0], "events": rows[1], **one})
        say(f"{rows[0]:,} spine rows, {rows[1]:,} events: {one}")
    give({"machine": machine(), "sizes": found})


if __name__ == "__main__":
    main()
