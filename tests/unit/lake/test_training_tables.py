"""What is counted of a training set, part by part, is what a look at each cell counts."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from twinlake.kernel.views import STATUSES
from twinlake.lake.training_tables import Taken, count_part, statuses_of

# Views and features named as what is counted of them.
TAKEN = Taken({"cells": ["present", "rows"], "over": ["missing"]}, ["ratio"])
BOUNDED = "cells"


@st.composite
def drawn_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        over = draw(st.lists(st.sampled_from(["present", "rows"]), unique=True))
        cell = st.none() | st.just(float("nan")) | st.floats(0, 1)
        row: dict[str, Any] = {"cells__overflow": ",".join(over) or None}
        for view, names in TAKEN.features.items():
            row[f"{view}__status"] = draw(st.sampled_from(STATUSES))
            is_present = row[f"{view}__status"] == "present"
            for name in names:
                is_there = is_present and not (view == BOUNDED and name in over)
                row[name] = draw(cell) if is_there else None
        if row["cells__status"] != "present":
            row["cells__overflow"] = None
        row["ratio"] = draw(cell)
        rows.append(row)
    return rows


def oracle(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Look at each cell."""
    counted: dict[str, Counter[str]] = {}
    for view, names in TAKEN.features.items():
        kinds = [*STATUSES, "null", *(["overflow"] if view == BOUNDED else [])]
        for name in names:
            counted[name] = Counter(dict.fromkeys(kinds, 0))
    counted["ratio"] = Counter(present=0, null=0)
    for row in rows:
        for view, names in TAKEN.features.items():
            for name in names:
                kind = row[f"{view}__status"]
                if kind == "present" and row[name] is None:
                    over = (row["cells__overflow"] or "").split(",")
                    kind = "overflow" if view == BOUNDED and name in over else "null"
                counted[name][kind] += 1
        counted["ratio"]["null" if row["ratio"] is None else "present"] += 1
    return {name: dict(found) for name, found in counted.items()}


@given(drawn_rows(), st.integers(1, 4))
def test_every_feature_has_the_statuses_that_its_cells_say(
    rows: list[dict[str, Any]], size: int
) -> None:
    schema = pa.schema(
        [(name, pa.string()) for name in ("cells__overflow", "cells__status", "over__status")]
        + [(name, pa.float64()) for name in ("present", "rows", "missing", "ratio")]
    )
    table = pa.Table.from_pylist(rows, schema)
    total: Counter[str] = Counter()
    for batch in table.to_batches(max_chunksize=size):
        total.update(json.loads(json.dumps(count_part(batch, TAKEN))))
    found = statuses_of(total, TAKEN, {BOUNDED})
    assert found == oracle(rows)
    assert {sum(each.values()) for each in found.values()} == {len(rows)}
