"""The ledger of forgotten keys: salted hashes, by which a forgotten key is known if it comes again.

STATE/ledger/salt              256 random bits, readable by the owner only; a hash cannot be guessed
                               without them
STATE/ledger/NNN.json          one per key that was to be forgotten, written before anything is
                               erased
STATE/ledger/done/NNN.json     one per key of which everything was erased

A hash is SHA-256 of the salt, the entity and the parts of the key as text. What is compared is the
text, so it must be the same here and in Spark: see ``part_text`` and ``lake/forgotten.py``.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from twinlake.definitions.entities import Entity
from twinlake.definitions.times import to_us
from twinlake.definitions.types import canonical_type, decimal_scale, is_decimal
from twinlake.errors import StateError
from twinlake.registry.documents import AlreadyWritten, Documents

_SALT_BYTES = 32
WORD = "word"


@dataclass(frozen=True)
class Entry:
    """A key that was to be forgotten, without the key.

    Attributes:
        number: Its number in the ledger.
        entity: The entity's name.
        keys: The entity's join keys: name to type.
        digest: The hash of the key.
        words: The hashes of its parts, each as a word of a record that could not be read.
        begun_us: When it was asked for.
        found: In which tables the key was then.
    """

    number: int
    entity: str
    keys: Mapping[str, str]
    digest: str
    words: Sequence[str]
    begun_us: int
    found: Sequence[str] = ()


class Ledger:
    """The forgotten keys of one state.

    Args:
        state: The state folder.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "ledger"
        self._entries = Documents(self._folder)
        self._done = Documents(self._folder / "done")

    @property
    def salt(self) -> str:
        """What hashes are salted with, made now where there is none.

        Raises:
            StateError: Keys were forgotten, but the salt is gone: none of them can be known again.
        """
        file = self._folder / "salt"
        if not file.exists():
            if self._entries.numbers():
                raise StateError(
                    f"{file} is missing, without which no forgotten key is known again",
                    hint="restore it from a backup of the state",
                )
            self._folder.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(f".{os.getpid()}.part")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "w") as opened:
                opened.write(secrets.token_hex(_SALT_BYTES))
                opened.flush()
                os.fsync(opened.fileno())
            part.rename(file)
        return file.read_text(encoding="utf-8")

    def entries(self) -> list[Entry]:
        """Give all entries, oldest first."""
        return [Entry(number=number, **document) for number, document in self._entries.all()]

    def is_done(self, entry: Entry) -> bool:
        """Tell whether everything of a key was erased that was found then."""
        return entry.number in self._done.numbers()

    def find(self, entity: Entity, values: Mapping[str, Any]) -> list[Entry]:
        """Give the entries of a key, oldest first."""
        if not self._entries.numbers():
            return []
        digest = key_digest(self.salt, entity.name, texts(key_kinds(entity), values))
        return [entry for entry in self.entries() if entry.digest == digest]

    def begin(
        self, entity: Entity, values: Mapping[str, Any], found: Sequence[str], now_us: int
    ) -> Entry:
        """Write down that a key is forgotten, before anything of it is erased.

        Args:
            entity: The entity.
            values: The parts of the key, each of its column's type.
            found: In which tables the key is.
            now_us: The present.
        """
        parts = texts(key_kinds(entity), values)
        entry = Entry(
            number=max(self._entries.numbers(), default=0) + 1,
            entity=entity.name,
            keys=key_kinds(entity),
            digest=key_digest(self.salt, entity.name, parts),
            words=[word_digest(self.salt, part) for part in parts],
            begun_us=now_us,
            found=list(found),
        )
        document = asdict(entry)
        del document["number"]
        self._entries.create(entry.number, document)
        return entry

    def finish(self, entry: Entry, now_us: int) -> None:
        """Write down that everything of a key was erased; a second time changes nothing."""
        try:
            self._done.create(entry.number, {"done_us": now_us})
        except AlreadyWritten:
            return


def holds(entity: Entity, name: str, keys: Mapping[str, str]) -> bool:
    """Tell whether the keys of an entity say which key of another one they belong to.

    That is the entity itself, or one whose keys are the other's and further ones, such as a card at
    a shop.

    Args:
        entity: The entity that is looked at.
        name: The name of the other one.
        keys: The other's join keys: name to type.
    """
    own, asked = set(key_kinds(entity).items()), set(keys.items())
    return (entity.name == name and own == asked) or own > asked


def key_kinds(entity: Entity) -> dict[str, str]:
    """Give an entity's join keys: name to canonical type."""
    return {name: canonical_type(kind) for name, kind in entity.join_keys.items()}


def texts(keys: Mapping[str, str], values: Mapping[str, Any]) -> list[str]:
    """Give the parts of a key as text, in the order of the join keys."""
    return [part_text(values[name], kind) for name, kind in keys.items()]


def part_text(value: Any, kind: str) -> str:  # noqa: ANN401 (a cell of any type)
    """Give a part of a key as the text that is hashed; times as whole numbers."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_decimal(kind):
        return str(Decimal(value).quantize(Decimal(1).scaleb(-decimal_scale(kind))))
    if isinstance(value, dt.datetime):
        return str(to_us(value))
    if isinstance(value, dt.date):
        return str((value - dt.date(1970, 1, 1)).days)
    return value.hex().upper() if isinstance(value, bytes) else str(value)


def key_digest(salt: str, entity: str, parts: Sequence[str]) -> str:
    """Hash a key: each part with its length before it, so that no two keys are one text."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return sha256(f"{salt}|{entity}|{text}".encode()).hexdigest()


def word_digest(salt: str, word: str) -> str:
    """Hash a part of a key as a word of a record."""
    return sha256(f"{salt}|{WORD}|{word}".encode()).hexdigest()
