"""Cut the shipped sample out of the full daily file of London's smart meters.

    python bootstrap/data/smart_meters/cut_sample.py FULL OUT

The choice depends on the home ids alone, so the same full file always gives the same sample: 297
homes at even distances over the sorted ids, plus three of the few homes that have a day without a
single reading (statistics null), which even distances would miss. Of a chosen home every row is
kept unchanged: short days, null statistics and early ends are what the gate is shown with.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SPREAD_HOMES = 297
EMPTY_DAY_HOMES = 3


def evenly(ids: list[str], count: int) -> list[str]:
    """Take ``count`` of the ids at even distances, the first one included."""
    return [ids[index * len(ids) // count] for index in range(count)]


def choose_homes(daily: pa.Table) -> list[str]:
    """Choose the homes of the sample.

    Args:
        daily: The full file; needs ``household_id`` and ``energy_sum``.

    Returns:
        Sorted ids, ``SPREAD_HOMES + EMPTY_DAY_HOMES`` of them.
    """
    spread = evenly(sorted(daily["household_id"].unique().to_pylist()), SPREAD_HOMES)
    empty_days = daily.filter(pc.is_null(daily["energy_sum"]))
    candidates = set(empty_days["household_id"].unique().to_pylist()) - set(spread)
    return sorted(spread + evenly(sorted(candidates), EMPTY_DAY_HOMES))


def cut(full: Path, out: Path) -> None:
    """Write the chosen homes' rows, ordered by home and day, with the full file's own types."""
    daily = pq.read_table(full).replace_schema_metadata(None)
    chosen = pc.is_in(daily["household_id"], value_set=pa.array(choose_homes(daily)))
    sample = daily.filter(chosen)
    sample = sample.take(
        pc.sort_indices(sample, [("household_id", "ascending"), ("day", "ascending")])
    )
    # One row group, and no Arrow schema beside Parquet's own: the same types as the full file.
    pq.write_table(
        sample.combine_chunks(),
        out,
        compression="zstd",
        compression_level=19,
        row_group_size=len(sample),
        store_schema=False,
    )
    short = np.count_nonzero(sample["energy_count"].to_numpy() < 40)
    homes = len(sample["household_id"].unique())
    print(f"{out.name}: {homes} homes, {len(sample)} rows, {short} of them with < 40 readings")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python cut_sample.py FULL OUT")
    cut(Path(sys.argv[1]), Path(sys.argv[2]))
