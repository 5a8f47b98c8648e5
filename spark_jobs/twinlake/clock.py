"""The one place that reads the wall clock. Everything below a script is given the time."""

from __future__ import annotations

import time


def now_us() -> int:
    """Give the present in microseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1_000
