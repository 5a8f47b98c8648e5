"""Whether names are safe, and reading a declaration that may be wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from twinlake.definitions.types import SAFE_NAME
from twinlake.errors import Problem

# What every training set and feature view table carries beside keys and features.
RESERVED_COLUMNS = frozenset({"event_timestamp"})
# Keys stand beside these where events are sorted and folded; features have prefixes there.
RESERVED_KEYS = RESERVED_COLUMNS | {
    "event_us", "known_us", "hash_a", "hash_b", "version", "row", "side",
}  # fmt: skip
# What every online row carries beside keys and features: four times and the state.
SYSTEM_COLUMNS = 5
RESERVED_PREFIXES = ("tl_", "sqlite_")
T = TypeVar("T")
_SAFE_HINT = "use a lower-case letter, then letters, digits and underscores, at most 48"
_SAFE_FIELD = re.compile(r"[a-z][A-Za-z0-9_]{0,47}")
_FIELD_HINT = "use a lower-case letter, then letters of either case, digits and underscores"


def name_problems(place: str, name: str) -> Iterator[Problem]:
    """Yield what is wrong with the name of a definition."""
    if not SAFE_NAME.fullmatch(name):
        yield Problem(place, f"{name!r} is no safe name", _SAFE_HINT)


def field_name_problems(place: str, name: str) -> Iterator[Problem]:
    """Yield what is wrong with the name of a field of events or requests, which others may give."""
    if not _SAFE_FIELD.fullmatch(name):
        yield Problem(place, f"{name!r} is no safe name", _FIELD_HINT)
    elif name.lower().startswith(RESERVED_PREFIXES):
        hint = f"choose a name that does not start with {' or '.join(RESERVED_PREFIXES)}"
        yield Problem(place, f"{name!r} has a prefix that online stores keep for themselves", hint)


def online_name_problems(place: str, name: str) -> Iterator[Problem]:
    """Yield what is wrong with a name that online tables carry."""
    yield from name_problems(place, name)
    if name.startswith(RESERVED_PREFIXES):
        hint = f"choose a name that does not start with {' or '.join(RESERVED_PREFIXES)}"
        yield Problem(place, f"{name!r} has a prefix that online stores keep for themselves", hint)


def attempt(place: str, hint: str, read: Callable[[], T]) -> tuple[T | None, list[Problem]]:
    """Read a declaration; give it, or None and the problem."""
    try:
        return read(), []
    except ValueError as error:
        return None, [Problem(place, str(error), hint)]
