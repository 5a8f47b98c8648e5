"""Parquet files outside of Delta tables that hold rows of a key: find them, write them without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.lake.arrow_types import arrow_type
from twinlake.registry.ledger import part_text


@dataclass(frozen=True)
class KeyInFiles:
    """A key, and the columns that may say it.

    Attributes:
        namings: Each says join key to column.
        kinds: The join keys: name to type.
        values: The parts of the key as the ledger writes them.
    """

    namings: Sequence[Mapping[str, str]]
    kinds: Mapping[str, str]
    values: Sequence[str]

    def count(self, file: Path) -> int:
        """Count the rows of a file that are of the key; none where it has no such columns."""
        return int(np.count_nonzero(self._mask(file)))

    def erase(self, file: Path) -> int:
        """Write a file anew without the rows of the key; give how many there were."""
        mask = self._mask(file)
        found = int(np.count_nonzero(mask))
        if found:
            part = file.with_name(f".{file.name}.part")
            pq.write_table(pq.read_table(file, partitioning=None).filter(pa.array(~mask)), part)
            part.replace(file)
        return found

    def _mask(self, file: Path) -> npt.NDArray[np.bool_]:
        with pq.ParquetFile(file) as opened:
            there, rows = set(opened.schema_arrow.names), opened.metadata.num_rows
            mask = np.zeros(rows, np.bool_)
            for naming in self.namings:
                if set(naming.values()) <= there:
                    mask |= self._said_by(opened.read(columns=list(naming.values())), naming)
        return mask

    def _said_by(self, table: pa.Table, naming: Mapping[str, str]) -> npt.NDArray[np.bool_]:
        mask = np.ones(table.num_rows, np.bool_)
        for (key, kind), value in zip(self.kinds.items(), self.values, strict=True):
            try:
                cells = table.column(naming[key]).cast(arrow_type(kind)).to_pylist()
            except pa.ArrowException:  # of a type that says no such key
                return np.zeros(table.num_rows, np.bool_)
            mask &= np.array([c is not None and part_text(c, kind) == value for c in cells], bool)
        return mask
