"""The receipt of a training set: what reproduces it, as pure data with one canonical form.

A receipt pins every table that was read, the definition that said how, the spine, and what came
out. It is kept beside the training set and with every model trained on it; its digest names it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from itertools import takewhile
from types import MappingProxyType
from typing import Any

from twinlake.errors import StateError

FORMAT = 1
# Where a run, or a training set's table, carries the digest of a receipt.
RECEIPT_TAG = "twinlake.receipt_digest"


@dataclass(frozen=True)
class TablePin:
    """One Delta table that was read.

    Attributes:
        name: The source's or table's name in the definitions.
        path: Where the table lies.
        table_id: Delta's own id, which a table that was dropped and made again does not keep.
        version: The version that was read.
        sequence: The greatest ingest sequence that was visible: a rebuild takes the current rows
            up to it. None for a table that is pinned by its version alone.
    """

    name: str
    path: str
    table_id: str
    version: int
    sequence: int | None = None


@dataclass(frozen=True)
class SpinePin:
    """The spine: the rows that a training set was built for.

    Attributes:
        path: Where it was read from.
        fingerprint: The content hash of its rows.
        rows: How many there are.
        table_id: Delta's own id of a spine that is a Delta table; None for any other.
        version: The version of that table that was read.
    """

    path: str
    fingerprint: str
    rows: int
    table_id: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class Receipt:
    """What reproduces a training set, and what tells whether it was reproduced.

    Attributes:
        training_set: The training set's name.
        service: The feature service's name.
        definition: Fingerprint of the service's definition.
        tables: The tables that were read; kept in the order of their names.
        spine: The rows that it was built for.
        columns: The columns of the training set that the content hash covers, in table order.
        content: Order-free hash of the training set's rows.
        rows: How many rows it has.
        statuses: Per feature, how many rows have each status; each feature's counts sum to rows.
        code_version: The version and state of the code that built it.
        created_at: When; an aware time, kept in UTC.
        state: The id of the state folder that it was built in; None in receipts of before there
            was one in them.
    """

    training_set: str
    service: str
    definition: str
    tables: tuple[TablePin, ...]
    spine: SpinePin
    columns: tuple[str, ...]
    content: str
    rows: int
    statuses: Mapping[str, Mapping[str, int]]
    code_version: str
    created_at: dt.datetime
    state: str | None = None

    def __post_init__(self) -> None:
        """Bring the parts into their one form, and refuse what cannot be.

        Raises:
            StateError: Counts that do not sum to the rows, a table twice, or a time without zone.
        """
        if self.created_at.tzinfo is None:
            raise StateError(
                f"receipt of {self.training_set}: created_at {self.created_at} has no zone"
            )
        tables = tuple(sorted(self.tables, key=lambda pin: pin.name))
        if len({pin.name for pin in tables}) != len(tables):
            raise StateError(f"receipt of {self.training_set}: a table is pinned twice")
        for feature, counts in self.statuses.items():
            if sum(counts.values()) != self.rows:
                raise StateError(
                    f"receipt of {self.training_set}: the statuses of feature {feature} sum to "
                    f"{sum(counts.values())}, but there are {self.rows} rows"
                )
        frozen = {name: MappingProxyType(dict(counts)) for name, counts in self.statuses.items()}
        object.__setattr__(self, "tables", tables)
        object.__setattr__(self, "statuses", MappingProxyType(frozen))
        object.__setattr__(self, "created_at", self.created_at.astimezone(dt.UTC))

    def to_json(self) -> str:
        """Give the canonical form: sorted keys, no spaces, one text for one receipt."""
        document: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        document["tables"] = [asdict(pin) for pin in self.tables]
        document["spine"] = _without_none(asdict(self.spine))
        document["statuses"] = {name: dict(counts) for name, counts in self.statuses.items()}
        document["created_at"] = self.created_at.isoformat(timespec="microseconds")
        document["format"] = FORMAT
        if self.state is None:  # receipts of before there was one keep their digest
            del document["state"]
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """Read what ``to_json`` gave.

        Raises:
            StateError: Not a receipt, or one of another format.
        """
        try:
            document = json.loads(text)
            found = document.pop("format")
            if found != FORMAT:
                raise StateError(
                    f"a receipt of format {found}, but this version reads format {FORMAT}"
                )
            document["tables"] = tuple(TablePin(**pin) for pin in document["tables"])
            document["spine"] = SpinePin(**document["spine"])
            document["columns"] = tuple(document["columns"])
            document["created_at"] = dt.datetime.fromisoformat(document["created_at"])
            return cls(**document)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateError(f"this is no receipt of a training set: {error!r}") from error

    def digest(self) -> str:
        """Name this receipt: SHA-256 of its canonical form, 64 hexadecimal digits."""
        return sha256(self.to_json().encode()).hexdigest()

    def tags(self) -> dict[str, str]:
        """Give what a run or a table says of a training set without its receipt at hand."""
        spine = self.spine
        of_table = "" if spine.version is None else f" at version {spine.version}"
        told = {
            "training_set": self.training_set,
            "definition": self.definition,
            "spine": f"{spine.path}{of_table}",
            "spine_fingerprint": spine.fingerprint,
            "content": self.content,
            "code_version": self.code_version,
            **{
                f"table.{pin.name}": f"{pin.table_id} version {pin.version} sequence {pin.sequence}"
                for pin in self.tables
            },
        }
        return {RECEIPT_TAG: self.digest()} | {f"twinlake.{n}": text for n, text in told.items()}

    def spine_columns(self) -> tuple[str, ...]:
        """Name the columns that came with the spine: they stand before the features."""
        return tuple(takewhile(lambda name: name not in self.statuses, self.columns))

    def marks(self) -> tuple[str, ...]:
        """Name the columns that say what became of a view in each row."""
        own = {*self.spine_columns(), *self.statuses}
        return tuple(name for name in self.columns if name not in own)


def _without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}
