"""Random rows and questions, for the oracle and for the kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.unit.kernel.oracle import Row
from twinlake.kernel.events import Column, Events, NumericColumn, Queries, TextColumn, sort_order
from twinlake.kernel.exact import IntArray
from twinlake.kernel.measures import FUNCTIONS, Measure

# The same examples in every run: a failure today is a failure tomorrow.
profile = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
KEYS = 3
DECIMALS = 2
KINDS = {"x": ("f8", 0), "n": ("i8", 0), "d": ("i8", DECIMALS), "s": ("utf8", 0)}
SCALES = {"x": None, "n": 0, "d": DECIMALS, "s": None}
times = st.integers(-12, 20)
finite = st.one_of(
    st.sampled_from([0.1, 0.2, 0.3, -0.0, 1e16, -1e16, 1.0, 5e-324, 1e300, -1e300, 2.0**-40]),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6),
)
cells = st.fixed_dictionaries(
    {
        "x": st.none() | finite,
        "n": st.none() | st.integers(-(2**58), 2**58),
        "d": st.none() | st.integers(-(10**17), 10**17) | st.integers(-500, 500),
        "s": st.none() | st.sampled_from(["", "a", "bé", "日本", "x" * 9]),
    }
)


@st.composite
def rows_of(draw: Any, late: bool = True, max_size: int = 14) -> list[Row]:
    """Rows with duplicate times, negative times and, if ``late``, known after the event."""
    delay = st.sampled_from([0, 0, 1, 3, 20]) if late else st.just(0)
    drawn = draw(
        st.lists(st.tuples(st.integers(0, KEYS - 2), times, delay, cells), max_size=max_size)
    )
    return [Row(key, e, e + d, i * 7 % 5 * 100 + i, c) for i, (key, e, d, c) in enumerate(drawn)]


def events_of(rows: list[Row]) -> tuple[Events, list[Row]]:
    """The kernel's form of rows, and the rows in its order."""

    def column(get: Any) -> IntArray:
        return np.array([get(r) for r in rows], np.int64).reshape(-1)

    tie = column(lambda r: r.tie)
    key, event, known = (
        column(lambda r, a=a: getattr(r, a)) for a in ("key", "event_us", "known_us")
    )
    order = sort_order(key, event, known, np.zeros_like(tie), tie)
    ordered = [rows[i] for i in order]
    columns = {name: _column(ordered, name, kind, s) for name, (kind, s) in KINDS.items()}
    return Events(KEYS, key[order], event[order], known[order], columns), ordered


def _column(rows: list[Row], name: str, kind: str, scale10: int) -> Column:
    there = np.array([r.cells[name] is not None for r in rows], np.bool_)
    filler = "" if kind == "utf8" else 0
    values = [filler if r.cells[name] is None else r.cells[name] for r in rows]
    if kind == "utf8":
        array = np.empty(len(rows), object)
        array[:] = values
        return TextColumn(array, there)
    return NumericColumn(np.array(values, kind), there, scale10)


def queries_of(asked: list[tuple[int, int, int]]) -> Queries:
    key, t, k = (np.array([q[i] for q in asked], np.int64) for i in range(3))
    return Queries(key, t, k)


def measures_over(windows: Any) -> list[Measure]:
    every = [Measure("count", None, w) for w in windows]
    for w in windows:
        for name in ("x", "n", "d"):
            every += [Measure(f, name, w) for f in FUNCTIONS]
        every += [Measure(f, "s", w) for f in ("count", "first", "last")]
    return every


def answers(measured: Any) -> list:
    """Values as Python objects, None for null."""
    return [
        v if ok else None
        for v, ok in zip(measured.values.tolist(), measured.valid.tolist(), strict=True)
    ]
