"""Small files that say one thing: each is there whole, or as it was before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twinlake.errors import StateError


def read(file: Path) -> dict[str, Any] | None:
    """Read a note that is a JSON object; None where there is none.

    Raises:
        StateError: It is something else.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateError(f"{file} is damaged: {error}", hint="delete it") from error
    if not isinstance(document, dict):
        raise StateError(f"{file} holds no object", hint="delete it")
    return document


def write(file: Path, text: str) -> None:
    """Write a note, in a folder that is made where it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
