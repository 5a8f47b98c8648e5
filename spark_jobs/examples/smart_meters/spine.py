"""The spine of the forecast: what was known when a day was over, and what the next day used.

    python spark_jobs/examples/smart_meters/spine.py DAILY.parquet SPINE.parquet

One row per home and day ``d`` that can be used and whose next calendar day can be used too:

* ``household_id`` (string);
* ``event_timestamp`` (microseconds, UTC): the end of day ``d``, which is 00:00 of ``d + 1``, so the
  features of the row see all of ``d`` and nothing of what is forecast;
* ``weekday`` (int, 0 = Monday): of ``d + 1``, the day that is forecast;
* ``energy_sum_next_day`` (double, kWh): the label, ``energy_sum`` of ``d + 1``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from twinlake.errors import InputError

# Of the 48 half hours of a day. The gate of the example draws the same line.
LEAST_READINGS = 40

COLUMNS = ("household_id", "day", "energy_count", "energy_sum")
MICROSECONDS_PER_DAY = 86_400_000_000
# The epoch, 1970-01-01, was a Thursday; Monday counts as 0.
WEEKDAY_OF_EPOCH = 3


def read_usable(daily: Path) -> pa.Table:
    """Read the days that can be used: enough readings, and a sum.

    Args:
        daily: Parquet or CSV with one row per home and day; ``day`` is a date or casts to one.

    Returns:
        The columns ``COLUMNS`` of the usable rows, in the order of the file.

    Raises:
        InputError: The file is not there or lacks a column.
    """
    if not daily.exists():
        raise InputError(f"there is no file {daily}", hint="give daily readings, Parquet or CSV")
    if daily.name.lower().endswith((".csv", ".csv.gz")):
        table = _read_original(daily)
    else:
        _require(daily, pq.read_schema(daily).names)
        table = pq.read_table(daily, columns=list(COLUMNS))
    table = table.set_column(1, "day", table["day"].cast(pa.date32()))
    enough = pc.greater_equal(table["energy_count"], LEAST_READINGS)
    has_sum = pc.invert(pc.is_null(table["energy_sum"], nan_is_null=True))
    return table.filter(pc.and_(enough, has_sum))


def _read_original(daily: Path) -> pa.Table:
    """Read a CSV file as the original came, or with the example's own names."""
    types = {"LCLid": pa.string(), "household_id": pa.string(), "day": pa.date32()}
    types |= {"energy_count": pa.int32(), "energy_sum": pa.float64()}
    table = pv.read_csv(daily, convert_options=pv.ConvertOptions(column_types=types))
    names = ["household_id" if name == "LCLid" else name for name in table.column_names]
    _require(daily, names)
    return table.rename_columns(names).select(list(COLUMNS))


def _require(daily: Path, names: Sequence[str]) -> None:
    missing = sorted(set(COLUMNS) - set(names))
    if missing:
        raise InputError(f"{daily} has no column {', '.join(missing)}")


def order_by_home_and_day(
    homes: npt.NDArray[np.int64], days: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """Order rows by home and day, and keep the first of rows that share both.

    Args:
        homes: Rank of each row's home, shape (rows,).
        days: Days since the epoch, shape (rows,).

    Returns:
        Row positions, shape (distinct home and day,).
    """
    order = np.lexsort((days, homes)).astype(np.intp)
    repeated = (np.diff(homes[order]) == 0) & (np.diff(days[order]) == 0)
    return order[np.concatenate([[True], ~repeated])] if len(order) else order


def build_spine(usable: pa.Table) -> pa.Table:
    """Build the spine from usable days, in any order.

    Args:
        usable: What ``read_usable`` gives.

    Returns:
        The spine, ordered by home and event timestamp.
    """
    coded = usable["household_id"].combine_chunks().dictionary_encode()
    rank_of_code = np.argsort(np.argsort(coded.dictionary.to_numpy(zero_copy_only=False)))
    homes = rank_of_code[coded.indices.to_numpy()].astype(np.int64)
    days = usable["day"].combine_chunks().cast(pa.int32()).to_numpy().astype(np.int64)

    order = order_by_home_and_day(homes, days)
    homes, days = homes[order], days[order]
    followed = np.flatnonzero((np.diff(homes) == 0) & (np.diff(days) == 1))
    next_days = days[followed + 1]
    sums = usable["energy_sum"].to_numpy()
    return pa.table(
        {
            "household_id": usable["household_id"].take(pa.array(order[followed])),
            "event_timestamp": pa.array(
                next_days * MICROSECONDS_PER_DAY, pa.timestamp("us", tz="UTC")
            ),
            "weekday": pa.array((next_days + WEEKDAY_OF_EPOCH) % 7, pa.int32()),
            "energy_sum_next_day": pa.array(sums[order[followed + 1]], pa.float64()),
        }
    )


def write_spine(daily: Path | Sequence[Path], out: Path) -> int:
    """Write the spine of daily readings as Parquet.

    Args:
        daily: A file, or several.
        out: Where the spine goes; replaced when it is there.

    Returns:
        How many rows the spine has.

    Raises:
        InputError: A file is not there or lacks a column.
    """
    files = [daily] if isinstance(daily, Path) else daily
    spine = build_spine(
        pa.concat_tables([read_usable(file) for file in files], promote_options="default")
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(spine, out, compression="zstd")
    return len(spine)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python spine.py DAILY.parquet SPINE.parquet")
    try:
        print(f"{write_spine(Path(sys.argv[1]), Path(sys.argv[2]))} rows")
    except InputError as error:
        sys.exit(str(error))
