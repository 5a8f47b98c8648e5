"""Served vectors, some of them, as Parquet files: for checks of skew and for later training.

Serving hands a vector over and never waits: what finds no room is dropped and counted. A thread
writes files to STATE/served/SERVICE, each whole before it has its name, so that whoever reads the
folder reads whole files. A source over the folder lands them like any other files:

    Source("served", schema="served_id string, served_at timestamp, ...", event_id="served_id",
           event_timestamp="served_at", batch=Files(".twinlake/served/loan_features/"))

Per entity: served_id, served_at, model and model_version and prediction where it was judged, its
keys and request fields, each feature, and as FEATURE__status why it is what it is.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.definitions.resolution import view_features
from twinlake.lake.arrow_types import arrow_type
from twinlake.serving.answers import Answer
from twinlake.serving.metrics import ServingMetrics
from twinlake.serving.options import ServingOptions
from twinlake.serving.predicting import Forecast
from twinlake.serving.reading import ReadyService

logger = logging.getLogger("twinlake.serving")
_MOST_WAITING = 10_000
_MOST_IN_A_FILE = 10_000
_FLUSH_S = 5.0
_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Vector:
    """One served vector.

    Attributes:
        ready: Of which service.
        answer: What was served.
        served_us: When.
        model: The model that judged it, if one did, with its version.
        version: See there.
        forecast: What it said.
    """

    ready: ReadyService
    answer: Answer
    served_us: int
    model: str | None = None
    version: int | None = None
    forecast: Forecast | None = None


class ServedLog:
    """The log of one process.

    Args:
        folder: Where the files go, a folder per service below it.
        options: Of how many vectors one is logged, and how much may lie there.
        metrics: Where logged and dropped vectors are counted.
    """

    def __init__(self, folder: Path, options: ServingOptions, metrics: ServingMetrics) -> None:
        self.folder = folder
        self._one_in = options.log_one_in
        self._most_bytes = options.log_mb * _MB
        self._metrics = metrics
        self._waiting: queue.Queue[Vector | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write_on, daemon=True)
        self._files = 0

    def start(self) -> None:
        """Begin to write; does nothing where nothing is logged."""
        if self._one_in:
            self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def offer(self, vectors: Callable[[int], Vector], count: int) -> None:
        """Take a sample of some vectors; each is only made when it is taken.

        Args:
            vectors: Gives one by its place.
            count: How many there are.
        """
        if not self._one_in:
            return
        for place in range(count):
            # Not every Nth: who asks in a rhythm would always, or never, be seen.
            if self._one_in > 1 and secrets.randbelow(self._one_in):
                continue
            try:
                self._waiting.put_nowait(vectors(place))
            except queue.Full:
                self._metrics.dropped.inc()

    def _write_on(self) -> None:
        is_over = False
        while not is_over:
            first = self._waiting.get()
            taken, is_over = self._more(first)
            by_service: dict[str, list[Vector]] = {}
            for vector in taken:
                by_service.setdefault(vector.ready.service.name, []).append(vector)
            for name, vectors in by_service.items():
                self._write(name, vectors)

    def _more(self, first: Vector | None) -> tuple[list[Vector], bool]:
        """Gather what comes within a while, so that files are not many and small."""
        taken: list[Vector] = []
        vector = first
        try:
            while vector is not None and len(taken) < _MOST_IN_A_FILE:
                taken.append(vector)
                vector = self._waiting.get(timeout=_FLUSH_S)
        except queue.Empty:
            return taken, False
        if vector is not None:
            taken.append(vector)
        return taken, vector is None

    def _write(self, service: str, vectors: Sequence[Vector]) -> None:
        folder = self.folder / service
        name = f"{vectors[0].served_us:020d}-{os.getpid()}-{self._files}.parquet"
        part = folder / f".{name}.part"
        self._files += 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self._is_full():
                self._metrics.dropped.inc(len(vectors))
                return
            for ready in {id(vector.ready): vector.ready for vector in vectors}.values():
                same = [vector for vector in vectors if vector.ready is ready]
                pq.write_table(_table(ready, same), part)
                part.replace(folder / name)
                self._metrics.logged.inc(len(same))
        except (OSError, pa.ArrowException) as error:
            self._metrics.dropped.inc(len(vectors))
            logger.warning("served vectors were not logged: %s", type(error).__name__)

    def _is_full(self) -> bool:
        # Whoever lands the files may take one away while they are counted.
        total = 0
        for file in self.folder.rglob("*.parquet"):
            with suppress(FileNotFoundError):
                total += file.stat().st_size
        return total > self._most_bytes


def _table(ready: ReadyService, vectors: Sequence[Vector]) -> pa.Table:
    """Lay vectors of one service out as columns."""
    types = _feature_types(ready)
    columns: dict[str, pa.Array] = {
        "served_id": pa.array([secrets.token_hex(12) for _ in vectors], pa.string()),
        "served_at": pa.array([v.served_us for v in vectors], pa.timestamp("us", "UTC")),
        "model": pa.array([v.model for v in vectors], pa.string()),
        "model_version": pa.array([v.version for v in vectors], pa.int32()),
        "prediction": pa.array(
            [None if v.forecast is None else v.forecast.value for v in vectors], pa.float64()
        ),
    }
    parts: list[tuple[Any, Callable[[Vector], Any]]] = [
        (ready.key_types, lambda v: v.answer.key),
        (ready.request_types, lambda v: v.answer.request),
    ]
    for kinds, part in parts:
        for name, kind in kinds.items():
            columns[name] = pa.array([part(v)[name] for v in vectors], arrow_type(kind))
    for name in ready.names:
        columns[name] = pa.array([v.answer.values[name] for v in vectors], arrow_type(types[name]))
        columns[f"{name}__status"] = pa.array(
            [v.answer.statuses[name] for v in vectors], pa.string()
        )
    return pa.table(columns)


def _feature_types(ready: ReadyService) -> dict[str, str]:
    types = {f.name: f.type for view, _ in ready.views for f in view_features(view)}
    for function in ready.functions:
        types |= function.outputs
    return types
