"""The way to the online store from a server: opened in the background, opened again when needed."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

from twinlake.errors import EnvironmentFailure
from twinlake.online.opening import has_online_store, open_store
from twinlake.online.store import OnlineStore
from twinlake.serving.options import ServingOptions
from twinlake.settings import Settings


class StoreLink:
    """The online store, as far as it can be reached.

    Args:
        settings: Where it is.
        options: How long a read may take: a thread that waits longer is of no use to anybody.
    """

    def __init__(self, settings: Settings, options: ServingOptions) -> None:
        cassandra = settings.cassandra
        bounded = replace(
            cassandra,
            request_ms=min(cassandra.request_ms, options.deadline_ms),
            read_s=min(cassandra.read_s, math.ceil(options.deadline_s)),
        )
        self._settings = replace(settings, cassandra=bounded)
        self._store: OnlineStore | None = None
        self._file: tuple[int, int] | None = None
        self._opening = threading.Lock()

    def store(self) -> OnlineStore:
        """Give the store; opens nothing, for that may take longer than a request.

        Raises:
            EnvironmentFailure: It was not reached yet, or is gone.
        """
        if self._store is None:
            raise EnvironmentFailure(
                "the online store is not there yet",
                hint="`twinlake materialize` makes it; [online] says where it is",
            )
        return self._store

    def refresh(self) -> None:
        """Open the store where it is not open, or is another one than was opened.

        Raises:
            EnvironmentFailure: It cannot be reached or opened.
            StateError: It is damaged.
        """
        with self._opening:
            self._refresh()

    def _refresh(self) -> None:
        file = self._file_now()
        if self._store is not None and file == self._file:
            return
        # A store that is not there is not made by who only reads.
        if not has_online_store(self._settings):
            self._store = None
            return
        # Threads may still read from the one before; it closes with the last of them.
        self._store, self._file = open_store(self._settings), self._file_now()

    def probe(self) -> None:
        """Ask the store something.

        Raises:
            EnvironmentFailure: It does not answer.
            StateError: It is damaged.
        """
        self.store().tables()

    def close(self) -> None:
        """Close the store; no thread may be reading any more."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _file_now(self) -> tuple[int, int] | None:
        if self._settings.online_kind != "sqlite":
            return None
        try:
            stat = self._settings.online_path.stat()
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino
