"""What streams do, as a table that stays in place while they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from twinlake.flows.stream_lander import Progress

_REFRESHES_PER_S = 2
_P50, _P99 = 0.5, 0.99


class LiveView:
    """A table of sources on a terminal, one column each.

    Args:
        console: Where to draw; standard error by default.
        clock: Seconds that pass.

    Attributes:
        screen: A context in which the table is drawn again and again.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._progress: dict[str, Progress] = {}
        self.screen = Live(
            console=console or Console(stderr=True),
            refresh_per_second=_REFRESHES_PER_S,
            get_renderable=self.drawn,
        )

    def note(self, source: str, progress: Progress) -> None:
        """Take note of what a stream did so far."""
        self._progress[source] = progress

    def drawn(self) -> Table:
        """Draw what is known."""
        drawn = Table(title=f"streaming for {self._clock() - self._began:,.0f} s")
        drawn.add_column("")
        for source in self._progress:
            drawn.add_column(source, justify="right")
        told = [_lines(progress) for progress in self._progress.values()]
        for name in told[0] if told else ():
            drawn.add_row(name, *(lines[name] for lines in told))
        return drawn


def _lines(progress: Progress) -> dict[str, str]:
    """Say what a stream did, line by line; the same lines for every stream."""
    fresh = progress.freshness_s
    parts = " ".join(f"{part} {seconds:.2f}" for part, seconds in progress.batch_s.items())
    positive = sum(counts.positive for counts in progress.scored.values())
    scored = sum(counts.predictions for counts in progress.scored.values())
    return {
        "in": f"{progress.read:,}",
        "accepted": f"{progress.accepted:,}",
        "duplicate": f"{progress.duplicate:,}",
        "quarantined": f"{progress.quarantined:,}",
        "late": f"{progress.late:,}",
        "below horizon": f"{progress.below_horizon:,}",
        "batches": f"{progress.batches:,} ({progress.slow_batches:,} by way of the lake)",
        "lag (records)": "-" if progress.lag is None else f"{progress.lag:,}",
        "freshness p50 / p99": (
            f"{fresh[_P50]:.2f} / {fresh[_P99]:.2f} s" if _P50 in fresh and _P99 in fresh else "-"
        ),
        "newest batch (s)": parts or "-",
        "feature rows": f"{sum(progress.feature_rows.values()):,}",
        "online rows": f"{sum(progress.online_rows.values()):,} ({progress.retries:,} retries)",
        "scored": f"{scored:,} ({positive:,} positive)",
        "served cells recomputed": (
            f"{progress.parity_compared:,} ({progress.parity_mismatching:,} differ)"
        ),
        "expectations that fail": (
            f"{progress.expectations_failed:,}" if progress.validations else "-"
        ),
    }
