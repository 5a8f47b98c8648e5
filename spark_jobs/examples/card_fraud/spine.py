"""The spine of the fraud model: every transaction as of its own moment, and whether it was fraud.

    python -m examples.card_fraud.spine TRANSACTIONS SPINE.parquet

One row per transaction of the generator's files, in their order:

* ``cc_num`` (bigint);
* ``event_timestamp`` (microseconds, UTC): ``trans_ts``, so the windows of the row hold the
  transaction itself, and with it all others of that card and moment;
* ``amount`` (decimal): the request field that comes with a transaction;
* ``fraud_label`` (int): the label, 1 where it was fraud.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.errors import InputError

# Column of the files to column of the spine.
COLUMNS = {
    "cc_num": "cc_num",
    "trans_ts": "event_timestamp",
    "amount": "amount",
    "fraud_label": "fraud_label",
}


def read_labelled(file: Path) -> pa.Table:
    """Read what the spine takes of one of the generator's files.

    Raises:
        InputError: The file is not there, is no Parquet file or lacks a column.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}", hint="give what generator.py writes")
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowInvalid, OSError) as error:
        found = str(error).splitlines()[0]
        raise InputError(
            f"{file} is no Parquet file: {found}", hint="give what generator.py writes"
        ) from error
    if missing := [name for name in COLUMNS if name not in names]:
        raise InputError(
            f"{file} has no column {', '.join(missing)}",
            hint="the label is in what generator.py writes, not in what is sent or stored",
        )
    return pq.read_table(file, columns=list(COLUMNS))


def build_spine(transactions: pa.Table) -> pa.Table:
    """Build the spine of transactions with their labels, in any order."""
    return transactions.select(list(COLUMNS)).rename_columns(list(COLUMNS.values()))


def write_spine(files: Sequence[Path], out: Path) -> int:
    """Write the spine of the generator's files as Parquet.

    Args:
        files: The files.
        out: Where the spine goes; replaced when it is there.

    Returns:
        How many rows the spine has.

    Raises:
        InputError: There is no file, or one is not there or lacks a column.
    """
    if not files:
        raise InputError(
            "there are no transactions", hint="make some: python -m examples.card_fraud.generator"
        )
    spine = build_spine(pa.concat_tables([read_labelled(file) for file in files]))
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(spine, out, compression="zstd", row_group_size=1 << 19)
    return len(spine)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m examples.card_fraud.spine TRANSACTIONS SPINE.parquet")
    given = Path(sys.argv[1])
    chosen = sorted(given.glob("*.parquet")) if given.is_dir() else [given]
    try:
        print(f"{write_spine(chosen, Path(sys.argv[2])):,} rows")
    except InputError as error:
        sys.exit(str(error))
