"""Time contenders against each other: interleaved, warm, medians, memory of all processes."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Timing:
    """One contender's rounds.

    Attributes:
        seconds: Wall time of each round.
        peak_mb: The most memory that this process and all below it held at once, in any round.
    """

    seconds: tuple[float, ...]
    peak_mb: float

    @property
    def median(self) -> float:
        """The median round in seconds."""
        return statistics.median(self.seconds)


class Memory:
    """Samples the resident memory of this process and of all below it."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.peak_bytes = max(self.peak_bytes, resident_bytes())
            self._stop.wait(0.05)


def resident_bytes() -> int:
    """Add up the resident memory of this process and of all below it, shared pages in each."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(") ", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    total, left = 0, [os.getpid()]
    while left:
        pid = left.pop()
        left += children.get(pid, [])
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except OSError:
            continue
    return total


def race(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Run each contender once to warm up, then all of them in turn, so that load hits all alike."""
    for name, run in contenders.items():
        say(f"  warming up {name}")
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    peaks = dict.fromkeys(contenders, 0)
    for number in range(rounds):
        for name, run in contenders.items():
            with Memory() as memory:
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
            peaks[name] = max(peaks[name], memory.peak_bytes)
        laps = ", ".join(f"{name} {lap[-1]:.2f} s" for name, lap in seconds.items())
        say(f"  round {number + 1} of {rounds}: {laps}")
    return {name: Timing(tuple(laps), peaks[name] / 1e6) for name, laps in seconds.items()}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Fit ``seconds = a * size**k`` by least squares of the logarithms; give k."""
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    return statistics.linear_regression(x, y).slope


def table(title: str, rows: Mapping[str, Timing], ours: str) -> str:
    """Lay timings out as Markdown, each with ours as a multiple of it."""
    lines = [f"{title}", "", "| | median s | ours is | peak MB |", "|---|---|---|---|"]
    for name, timing in rows.items():
        times = "" if name == ours else f"{rows[ours].median / timing.median:.2f}x"
        lines.append(f"| {name} | {timing.median:.3f} | {times} | {timing.peak_mb:,.0f} |")
    return "\n".join(lines)


def machine() -> str:
    """Say on what was measured."""
    pages = os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30
    return f"{os.cpu_count()} cores, {pages:.0f} GiB, Python {platform.python_version()}"


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def give(result: Mapping[str, object]) -> None:
    """Print the figures as one line of JSON."""
    sys.stdout.write(json.dumps(result) + "\n")
