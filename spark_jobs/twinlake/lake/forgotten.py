"""Rows of forgotten keys, as the gate knows them: by the ledger's hashes, never by a key.

A row that could be read has its key in its columns. One that could not be read may have it anywhere
in its record, so the record is cut into words and every word is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import derived_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.types import is_decimal
from twinlake.lake import tables
from twinlake.registry.ledger import WORD, Entry, word_digest

# Words in JSON and CSV: what stands between quotes, and what stands between all other marks.
_QUOTED, _MARKED = '["]', r"[\s\"',:;|{}\[\]()=]+"


@dataclass(frozen=True)
class Forgotten:
    """The forgotten keys that rows of a source may belong to.

    Attributes:
        salt: What hashes are salted with.
        entries: Entries of the ledger, of entities that views on the source are about.
    """

    salt: str
    entries: tuple[Entry, ...]

    def rows(self, source: Source, unreadable: Column, raw: Column) -> Column:
        """A predicate that is true for rows of forgotten keys, and never null.

        Args:
            source: Whose columns the rows have.
            unreadable: Is not null where a row could not be read.
            raw: The record as it came, where there is one.
        """
        groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
        for entry in self.entries:
            groups.setdefault((entry.entity, tuple(entry.keys.items())), []).append(entry.digest)
        found = [
            digest(self.salt, entity, key_columns(source, dict(keys)), dict(keys)).isin(digests)
            for (entity, keys), digests in groups.items()
        ]
        in_words = F.when(unreadable.isNotNull(), self.in_words(raw))
        return F.coalesce(reduce(or_, found), F.lit(False)) | F.coalesce(in_words, F.lit(False))

    def in_words(self, raw: Column) -> Column:
        """A predicate that is true where a record holds all parts of a forgotten key as words."""
        text = raw.cast("string")
        read = F.map_values(F.from_json(text, "map<string,string>"))
        words = F.concat(
            F.split(text, _QUOTED),
            F.split(text, _MARKED),
            F.coalesce(read, F.array().cast("array<string>")),
        )
        begin = F.lit(f"{self.salt}|{WORD}|")
        hashed = F.transform(words, lambda word: F.sha2(F.concat(begin, F.trim(word)), 256))
        wanted = F.array(*(F.array(*map(F.lit, set(entry.words))) for entry in self.entries))
        return F.exists(wanted, lambda one: F.size(F.array_intersect(one, hashed)) == F.size(one))


def key_columns(source: Source, names: Mapping[str, str]) -> dict[str, Column]:
    """Give join keys as expressions over the columns of a source as they arrive."""
    types = derived_columns(source)
    return {
        name: F.expr(source.with_columns[name].sql).cast(types[name])
        if name in source.with_columns
        else F.col(tables.quoted(name))
        for name in names
    }


def equal(columns: Mapping[str, Column], kinds: Mapping[str, str], values: Sequence[str]) -> Column:
    """A predicate that is true where columns say a key, and never null.

    Args:
        columns: Join key to the column that holds it.
        kinds: Join key to its type.
        values: The parts of the key as the ledger writes them.
    """
    named = zip(kinds, values, strict=True)
    same = [text_of(columns[name], kinds[name]) == value for name, value in named]
    return F.coalesce(reduce(and_, same), F.lit(False))


def digest(
    salt: str, entity: str, columns: Mapping[str, Column], kinds: Mapping[str, str]
) -> Column:
    """Hash a key as the ledger does; null where a part of it is."""
    parts = [text_of(columns[name], kind) for name, kind in kinds.items()]
    counted = [F.concat(F.length(part).cast("string"), F.lit(":"), part) for part in parts]
    return F.sha2(F.concat(F.lit(f"{salt}|{entity}|"), *counted), 256)


def text_of(column: Column, kind: str) -> Column:
    """Give a part of a key as the text that the ledger hashes."""
    if is_decimal(kind):
        column = column.cast(kind)
    elif kind == "timestamp":
        column = F.unix_micros(column.cast("timestamp"))
    elif kind == "date":
        column = F.unix_date(column)
    elif kind == "binary":
        return F.hex(column)
    return column.cast("string")


def is_of_key(source: Source, kinds: Mapping[str, str], values: Sequence[str]) -> Column:
    """A predicate that is true for rows of an events table that are of a key, and never null.

    Args:
        source: Whose table it is.
        kinds: The join keys: name to type.
        values: The parts of the key as the ledger writes them.
    """
    # In no file but for the moment, so there is nothing to salt.
    words = [word_digest("", value) for value in values]
    in_words = Forgotten("", (Entry(0, "", kinds, "", words, 0),)).in_words(F.col("_raw"))
    in_raw = F.coalesce(F.when(F.col("_raw").isNotNull(), in_words), F.lit(False))
    return equal(key_columns(source, kinds), kinds, values) | in_raw


def is_in(
    namings: Sequence[Mapping[str, str]], kinds: Mapping[str, str], values: Sequence[str]
) -> Column:
    """A predicate that is true where a table's columns say a key, by any of some namings.

    Args:
        namings: Each says join key to column; several where a row may name several keys.
        kinds: The join keys: name to type.
        values: The parts of the key as the ledger writes them.
    """
    found = [
        equal({key: F.col(tables.quoted(name)) for key, name in naming.items()}, kinds, values)
        for naming in namings
    ]
    return reduce(or_, found, F.lit(False))
