"""The id of a state folder: what is its own on a store that several projects share bears it.

A state folder that was deleted and made anew has another id, so it never meets tables that were
filled from events it does not have.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from twinlake.errors import StateError
from twinlake.registry.documents import AlreadyWritten, Documents

_NUMBER = 1


def state_id(state: Path) -> str | None:
    """The id of a state folder; None for one that has none yet."""
    documents = Documents(state / "identity")
    if not documents.numbers():
        return None
    found = documents.read(_NUMBER).get("id")
    if not isinstance(found, str):
        raise StateError(f"{documents.folder} holds no id", hint="restore it from a backup")
    return found


def ensure_state_id(state: Path) -> str:
    """The id of a state folder, made now where there is none."""
    if (found := state_id(state)) is not None:
        return found
    made = secrets.token_hex(5)
    try:
        Documents(state / "identity").create(_NUMBER, {"id": made})
    except AlreadyWritten:
        return ensure_state_id(state)  # somebody else's id is as good
    return made
