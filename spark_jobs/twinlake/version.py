"""Which twinlake this is: its version, and which state of its code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

VERSION = "0.1.0"
_DIGITS = 12


@cache
def code_version() -> str:
    """Name the state of the code: the version, and a hash of the package's own files.

    Two checkouts of one version whose code differs are told apart, committed or not.
    """
    # Also right where the package lies in a zip, as spark-submit hands it on.
    from importlib.resources import files

    return f"{VERSION}+{code_hash(files(__package__))}"


def code_hash(folder: Traversable) -> str:
    """Hash the Python files of a folder and of all below it, by name and content."""
    hashed = sha256()
    for name, content in sorted(_python_files(folder, "")):
        hashed.update(f"{name}\0{len(content)}\0".encode())
        hashed.update(content)
    return hashed.hexdigest()[:_DIGITS]


def _python_files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _python_files(item, f"{prefix}{item.name}/")
        elif item.name.endswith(".py"):
            yield prefix + item.name, item.read_bytes()
