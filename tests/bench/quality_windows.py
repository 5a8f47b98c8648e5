"""Quality windows over a million predictions, with labels that come later, on one core.

python -m tests.bench.quality_windows [--rows 1000000] [--batch 5000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pyarrow as pa

from tests.bench.measuring import give, machine, say
from twinlake.assurance.drift import Reference
from twinlake.assurance.quality import QualityFold
from twinlake.assurance.quality_rows import QualitySpec

S = 1_000_000
RATE = 5_000  # predictions a second of event time
TIME = pa.timestamp("us", "UTC")
FEATURES = ["amount", "count"]


def generate(rows: int) -> tuple[pa.Table, pa.Table]:
    """Make predictions, a little out of order, and the label of each."""
    random = np.random.default_rng(7)
    times = np.arange(rows) * S // RATE + random.integers(0, 2 * S, rows)
    probability = random.random(rows)
    ids = pa.array(np.arange(rows)).cast(pa.string())
    predictions = pa.table(
        {
            "id": ids,
            "event_timestamp": pa.array(times, TIME),
            "model_version": pa.array(np.ones(rows, np.int64)),
            "prediction": probability,
            "amount": random.lognormal(size=rows),
            "count": random.integers(0, 20, rows),
        }
    )
    label = (random.random(rows) < probability).astype(np.float64)
    labels = {"id": ids, "event_timestamp": pa.array(times + 30 * S, TIME), "label": label}
    return predictions, pa.table(labels)


def measure(rows: int, batch: int, *, later: bool) -> float:
    """Give the CPU seconds of all rows, with labels half a minute later, or with the event."""
    predictions, labels = generate(rows)
    reference = Reference.of(predictions.slice(0, 100_000), FEATURES)
    within_us = 600 * S if later else None
    spec = QualitySpec("probability", 60 * S, 10 * S, ("id",), within_us=within_us)
    if not later:
        predictions = predictions.append_column("label", labels.column("label"))
    fold = QualityFold(spec, reference)
    behind = 30 * RATE
    started, windows = time.process_time(), 0
    for start in range(0, rows + behind, batch):
        fold.add(predictions.slice(start, batch))
        if later and start >= behind:
            fold.add_labels(labels.slice(start - behind, batch))
        windows += fold.close().counts.num_rows
    windows += fold.close(2**61).counts.num_rows
    spent = time.process_time() - started
    sums = fold.sums()
    if sums.counted != rows or sums.late:
        raise SystemExit(f"not all were counted: {sums}")
    if not windows:
        raise SystemExit("no window became final")
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=5_000)
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": machine(), "rows": options.rows}
    for name, later in (("labels at once", False), ("labels later", True)):
        spent = measure(options.rows, options.batch, later=later)
        rate = options.rows / spent
        say(f"{name}: {spent:.2f} s of CPU, {rate:,.0f}/s, {RATE / rate:.1%} of a core at {RATE}/s")
        figures[name] = {"cpu_s": round(spent, 2), "share_of_core": round(RATE / rate, 4)}
    give(figures)


if __name__ == "__main__":
    main()
