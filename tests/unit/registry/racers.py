"""What the processes do that the tests start beside themselves."""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from twinlake.registry.documents import AlreadyWritten, Documents
from twinlake.registry.places import Places


def race(folder: Path, name: str, rounds: int, barrier: Barrier) -> None:
    """Try to be the one who writes each number, and leave a mark where another was."""
    documents = Documents(folder)
    for number in range(rounds):
        barrier.wait(20)
        try:
            documents.create(number, {"by": name, "text": name * 10_000})
        except AlreadyWritten:
            (folder / f"{name}-lost-{number}").touch()


def hold(state: Path, pipe: Connection) -> None:
    """Be the lander of orders until told otherwise."""
    with Places(state).exclusively("lander", "orders"):
        pipe.send("held")
        pipe.recv()
