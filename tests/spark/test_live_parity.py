"""While a stream runs, some served keys are recomputed from their events."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import Any

from tests.spark.benches import Bench
from tests.spark.test_streaming import defined, line, payments, send, stream
from twinlake.flows import streaming
from twinlake.flows.project import view_table
from twinlake.flows.streaming import Watch

OFTEN = Watch(check_every_s=0)


def test_served_cells_are_recomputed_and_a_wrong_one_is_told(bench: Bench) -> None:
    rows = payments(random.Random(71), 120)
    defined(bench)
    for number, at in enumerate(range(0, len(rows), 40)):
        send(bench, str(number), map(line, rows[at : at + 40]))
    done = stream(bench, "activity", "history", files=1, watch=OFTEN)
    assert done.batches >= 3
    assert done.parity_compared > 0
    assert done.parity_mismatching == 0

    def tamper(_source: str, _progress: Any) -> None:
        table = view_table(bench.project.view("activity"))
        file = bench.project.settings.online_path
        with closing(sqlite3.connect(file, timeout=30)) as store, store:
            store.execute(f'UPDATE "{table}" SET count_10m = count_10m + 1')

    told: list[str] = []
    others = [row | {"tid": f"u{n}"} for n, row in enumerate(payments(random.Random(72), 20))]
    send(bench, "later", map(line, others))
    project = bench.open()
    project.tell = told.append
    views = ("activity", "history")
    watch = Watch(check_every_s=3600)
    done = streaming.stream(project, views, once=True, watch=watch, after_batch=tamper)["payments"]
    assert done.parity_mismatching > 0
    wrong = [text for text in told if text.startswith("PARITY activity")]
    assert "count_10m (stored)" in wrong[0]
