"""Small files that say one thing: each is there whole, or as it was before."""

from __future__ import annotations

from pathlib import Path


def write(file: Path, text: str) -> None:
    """Write a note, in a folder that is made where it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
