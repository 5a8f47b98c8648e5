"""Where a project's state lies: one folder, the same layout for every project.

STATE/registry landings publications receipts locks   JSON documents
STATE/ledger                                          hashes of forgotten keys, see ledger.py
STATE/lake/events/SOURCE                              events tables
STATE/lake/views/VIEW__FINGERPRINT                    feature view tables
STATE/lake/training_sets/SERVICE__ID                  training sets
STATE/lake/predictions/MODEL                          what models said of events in the stream
STATE/lake/quality/MODEL                              what its predictions were worth, by window
STATE/spines/CONTENT.parquet                          spines that came from memory
STATE/data_docs/SOURCE/BATCH                          what Great Expectations says of a batch
STATE/streams/SOURCE                                  where a stream goes on after a restart
STATE/inbox/SOURCE                                    what is asked of a running lander
STATE/topics/TOPIC                                    topics, where folders play them
STATE/served/SERVICE                                  logged vectors, for a source to land
STATE/tokens.json                                     hashes of the tokens of the API
STATE/online.sqlite                                   the embedded online store
STATE/identity                                        the state's own id, see identity.py
STATE/mlflow.sqlite, STATE/models                     runs and models
STATE/trained/MODEL                                   which version learned from what
STATE/notes                                           what parity and streams said last
STATE/scratch                                         what may be deleted at any time
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from twinlake.errors import EnvironmentFailure, StateError

# A right that some process takes only to give it back is worth another try;
# those who only look are waited for much longer, and each is gone at once.
_TRIES, _LOOKERS_S, _PAUSE_S = 5, 10.0, 0.01


class Taken(StateError):
    """Another process holds what only one may hold.

    Attributes:
        by: What that one said of itself.
    """

    def __init__(self, message: str, *, hint: str, by: str) -> None:
        super().__init__(message, hint=hint)
        self.by = by


@dataclass(frozen=True)
class Places:
    """The folders and files of one project's state."""

    state: Path

    def events(self, source: str) -> Path:
        """The events table of a source."""
        return self.state / "lake" / "events" / source

    def stream(self, source: str) -> Path:
        """Where a source's stream keeps how far it is."""
        return self.state / "streams" / source

    def topic(self, name: str) -> Path:
        """The folder that plays a topic."""
        return self.state / "topics" / name

    @property
    def views(self) -> Path:
        """The folder of all feature view tables."""
        return self.state / "lake" / "views"

    def view(self, table: str) -> Path:
        """One feature view table."""
        return self.views / table

    def training_set(self, name: str) -> Path:
        """One training set."""
        return self.state / "lake" / "training_sets" / name

    def predictions(self, model: str) -> Path:
        """What a model said of events in the stream."""
        return self.state / "lake" / "predictions" / model

    def prediction_topic_note(self, model: str, topic: str) -> Path:
        """Up to which ingest version a model's predictions were sent to a topic."""
        return self.state / "streams" / "predictions" / f"{model}-{topic}"

    def quality(self, model: str, table: str) -> Path:
        """What a model's predictions were worth: its table ``windows`` or ``figures``."""
        return self.state / "lake" / "quality" / model / table

    def quality_note(self, model: str) -> Path:
        """Where who watches a model goes on."""
        return self.state / "streams" / "quality" / f"{model}.json"

    def alerts_note(self, model: str) -> Path:
        """Alerts of a model that some place has not taken yet."""
        return self.state / "streams" / "alerts" / f"{model}.json"

    @property
    def spines(self) -> Path:
        """The spines that were handed over in memory, each a file named by its content."""
        return self.state / "spines"

    @property
    def served(self) -> Path:
        """Logged vectors, a folder per service."""
        return self.state / "served"

    @property
    def receipts(self) -> Path:
        """The receipts of training sets."""
        return self.state / "receipts"

    def data_docs(self, source: str, name: str) -> Path:
        """What Great Expectations wrote about one batch of a source."""
        return self.state / "data_docs" / source / name

    def parity_note(self, service: str | None) -> Path:
        """What parity said last of a service, or of all views."""
        return self.state / "notes" / "parity" / f"{service or 'all views'}.json"

    def stream_note(self, source: str) -> Path:
        """What the stream of a source said last."""
        return self.state / "notes" / "streams" / f"{source}.json"

    @property
    def scratch(self) -> Path:
        """What may be deleted while no job runs."""
        return self.state / "scratch"

    def new_scratch(self) -> Path:
        """The scratch folder, made if it was not there."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        return self.scratch

    @contextmanager
    def sandbox(self, what: str) -> Iterator[Path]:
        """Make a folder for one process, and take it away again."""
        folder = self.scratch / f"{what}-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def exclusively(self, what: str, name: str, by: str = "") -> Iterator[None]:
        """Hold the right to be the only one who does ``what`` to ``name``.

        The right ends with the process, however that ends.

        Args:
            what: The office, such as ``lander``.
            name: Of what.
            by: What others are told who want it too.

        Raises:
            Taken: Another process holds it.
            EnvironmentFailure: The state folder cannot be written to.
        """
        path = self.state / "locks" / f"{what}-{name}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot write to the state folder {self.state}: {error.strerror}",
                hint="name a writable folder with --state",
            ) from error
        with file:
            if not _taken(file):
                file.seek(0)
                raise Taken(
                    f"another process is the {what} of {name} in {self.state}",
                    hint="wait for it to end, or end it; there is one at a time",
                    by=file.read(),
                )
            file.truncate(0)
            file.write(by)
            file.flush()
            yield

    def is_held(self, what: str, name: str) -> bool:
        """Tell whether some process holds the right that ``exclusively`` gives."""
        path = self.state / "locks" / f"{what}-{name}"
        try:
            file = path.open()
        except FileNotFoundError:
            return False
        with file:  # shared: of those who look none is taken for the holder
            return not _locked(file, fcntl.LOCK_SH)


def _taken(file: TextIO) -> bool:
    """Take a right until its file is closed; tell whether it could be had.

    A shared lock that can be had while the exclusive one cannot means that nobody
    holds the right, and that some look.
    """
    tries, until = _TRIES, time.monotonic() + _LOOKERS_S
    while not _locked(file, fcntl.LOCK_EX):
        with Path(file.name).open() as other:
            tries -= not _locked(other, fcntl.LOCK_SH)
        if not tries or time.monotonic() > until:
            return False
        time.sleep(_PAUSE_S)
    return True


def _locked(file: TextIO, kind: int) -> bool:
    """Lock a file until it is closed; tell whether it could be."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
