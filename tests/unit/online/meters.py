"""A view with a feature of every type, and its online rows, folded as a publication folds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.unit.assurance.naive import Happened
from twinlake import Aggregate, Column, Entity, FeatureView, Files, Source
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import stored_features
from twinlake.definitions.types import decimal_scale, is_decimal
from twinlake.kernel.aggregates import compute
from twinlake.kernel.cells import to_python
from twinlake.kernel.events import NEVER_US, Events, NumericColumn, Queries, TextColumn, sort_order
from twinlake.kernel.events import Column as Cells
from twinlake.kernel.expiry import valid_until_us
from twinlake.kernel.state import Provenance, fold
from twinlake.kernel.views import ViewShape
from twinlake.online.store import Key, OnlineRow

COLUMNS = {
    "x": "double", "f": "float", "n": "bigint", "d": "decimal(12,2)", "s": "string",
    "b": "boolean", "day": "date", "seen": "timestamp",
}  # fmt: skip
NUMERIC, NUMBERS = ("count", "sum", "mean", "min", "max", "stddev", "first", "last"), "xfnd"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
METER = Entity("meter", join_keys={"id": "bigint", "region": "string"})
SOURCE = Source(
    "readings",
    schema=", ".join(f"{name} {kind}" for name, kind in {**METER.join_keys, **COLUMNS}.items())
    + ", at timestamp",
    event_timestamp="at",
    batch=Files("readings/"),
)
Rows = Mapping[Key, Sequence[Happened]]


def features(*windows: str) -> Iterator[Column | Aggregate]:
    """Every function that fits, over every column and window, beside the plain columns."""
    yield from (Column(name) for name in COLUMNS)
    for window in windows:
        yield Aggregate("count", windows={f"rows_{window}": window})
        for name in COLUMNS:
            for function in NUMERIC if name in NUMBERS else ("count", "first", "last"):
                yield Aggregate(function, name, windows={f"{name}_{function}_{window}": window})


def meter_view(hop: str | None = "10us", ttl: str | None = "60us", **changes: Any) -> FeatureView:
    """The view; its times are microseconds, so that few of them make many cases."""
    told: dict[str, Any] = {
        "name": "meter_readings",
        "entity": METER,
        "source": SOURCE,
        "features": list(features("20us", "40us")),
        "ttl": ttl,
        "hop": hop,
        "max_events_per_key": 100,
    }
    return FeatureView(**(told | changes))


TEXTS = st.sampled_from(["", "a", "bé", "日本"])
CELLS = st.fixed_dictionaries(
    {
        "x": st.none() | st.sampled_from([0.1, 0.2, 1e16, -1e16]) | st.floats(-1e6, 1e6),
        "f": st.none() | st.floats(-100, 100, width=32),
        "n": st.none() | st.integers(-(2**58), 2**58),
        "d": st.none() | st.integers(-(10**11), 10**11).map(lambda n: Decimal(n) / 100),
        "s": st.none() | TEXTS,
        "b": st.none() | st.booleans(),
        "day": st.none() | st.dates(date(1, 1, 1), date(9999, 12, 31)),
        "seen": st.none() | st.datetimes(timezones=st.just(UTC)),
    }
)


@st.composite
def events(draw: st.DrawFn, *, late: bool = True, min_size: int = 1) -> list[Happened]:
    """Events of one key: several at one time, some known late, cells that are null."""
    delay = st.sampled_from([0, 0, 0, 2, 25]) if late else st.just(0)
    drawn = draw(
        st.lists(st.tuples(st.integers(-15, 60), delay, CELLS), min_size=min_size, max_size=8)
    )
    return [
        Happened(
            event,
            event + wait,
            number * 7 % 5 * 100 + number,
            {k: _zero(v) for k, v in cells.items()},
        )
        for number, (event, wait, cells) in enumerate(drawn)
    ]


def _zero(cell: Any) -> Any:
    return cell + 0.0 if isinstance(cell, float) else cell  # what lands has no -0.0


def folded(view: FeatureView, rows: Rows, version_us: int, version: int = 1) -> list[OnlineRow]:
    """The online rows of some keys, as of an ingest version that was committed at a time."""
    keys = list(rows)
    flat = [(code, row) for code, key in enumerate(keys) for row in rows[key]]
    code, event, known, tie = (
        np.array([get(c, r) for c, r in flat], np.int64)
        for get in (
            lambda c, _: c,
            lambda _, r: r.event_us,
            lambda _, r: r.known_us,
            lambda _, r: r.tie,
        )
    )
    order = sort_order(code, event, known, np.zeros_like(tie), tie)
    ordered = [flat[position][1] for position in order]
    shape = ViewShape.of(view)
    held = {
        name: _cells([row.cells[name] for row in ordered], kind)
        for name, kind in shape.columns.items()
    }
    happened = Events(len(keys), code[order], event[order], known[order], held)
    exact_from = [
        min(max(max(row.event_us, row.known_us) for row in rows[key]), version_us) for key in keys
    ]
    origin = Provenance(bytes.fromhex(view_fingerprint(view)), b"t" * 16, version)
    states = fold(happened, np.array(exact_from, np.int64), shape.state, origin)
    newest_us = np.array([max(row.event_us for row in rows[key]) for key in keys], np.int64)
    asked = Queries(
        np.arange(len(keys)),
        newest_us,
        np.array([max(row.known_us for row in rows[key]) for key in keys], np.int64),
    )
    measured = compute(happened, asked, shape.measures, shape.hop_us, shape.most_rows)
    columns = {
        feature.name: to_python(m.values, m.valid, feature.type)
        for m, feature in zip(measured, shape.features, strict=True)
        if m.values is not None
    }
    until = valid_until_us(
        happened,
        Queries.at(np.arange(len(keys)), newest_us),
        shape.measures,
        shape.hop_us,
        shape.ttl_us,
    )
    ends = [None if at == NEVER_US else at for at in until.tolist()]
    values = zip(*(columns[feature.name] for feature in stored_features(view)), strict=True)
    return [
        OnlineRow(key, cells, at_us, 0, end, state, version)
        for key, cells, at_us, end, state in zip(
            keys, values, newest_us.tolist(), ends, states, strict=True
        )
    ]


def _cells(cells: list[Any], kind: str) -> Cells:
    there = np.array([cell is not None for cell in cells], np.bool_)
    if kind == "string":
        values = np.empty(len(cells), object)
        values[:] = ["" if cell is None else cell for cell in cells]
        return TextColumn(values, there)
    if kind in {"double", "float"}:
        return NumericColumn(np.array([cell or 0 for cell in cells], np.float64), there)
    whole = [0 if cell is None else _whole(cell, kind) for cell in cells]
    return NumericColumn(np.array(whole, np.int64), there, decimal_scale(kind))


def _whole(cell: Any, kind: str) -> int:
    if is_decimal(kind):
        return int(cell * 10 ** decimal_scale(kind))
    if kind == "timestamp":
        return int((cell - EPOCH) // timedelta(microseconds=1))
    return (cell - EPOCH.date()).days if kind == "date" else int(cell)
