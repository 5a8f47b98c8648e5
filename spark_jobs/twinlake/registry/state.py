"""What a project has applied, landed and published: the record that plan, apply and jobs share.

registry/NNN.json            definitions as applied, one document per apply
landings/SOURCE/NNN.json     one per batch of rows landed, NNN being its ingest version, or per run
                             of batches of a stream
landings/SOURCE/intents/     the same, written before the commit; see ``Landings``
publications/VIEW/NNN.json   one per publication of a view
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from twinlake.definitions.documents import Definitions, from_document, to_document
from twinlake.definitions.fingerprints import SHORT_DIGITS, view_fingerprint
from twinlake.definitions.times import MAX_US
from twinlake.errors import StateError
from twinlake.registry.documents import Documents
from twinlake.registry.inputs import InputFile

FORMAT = 1
# What stands as the query of an empty batch; see ``Landing.is_marker``.
MARKER = "marker"


@dataclass(frozen=True)
class Applied:
    """One version of the registry.

    Attributes:
        number: Counted from 1; 0 when nothing was applied yet.
        definitions: What was applied.
        applied_us: When.
    """

    number: int
    definitions: Definitions
    applied_us: int | None


class Registry:
    """The versions of a project's definitions."""

    def __init__(self, state: Path) -> None:
        self._documents = Documents(state / "registry")

    def current(self) -> Applied:
        """Give what was applied last; empty definitions when nothing was.

        Raises:
            StateError: The registry was written by a version of twinlake that this one cannot read.
        """
        latest = self._documents.latest()
        return Applied(0, Definitions(), None) if latest is None else _applied(*latest)

    def history(self) -> Iterator[Applied]:
        """Give everything that was ever applied, newest first, each read when it is asked for.

        Raises:
            StateError: As ``current``.
        """
        for number in reversed(self._documents.numbers()):
            yield _applied(number, self._documents.read(number))

    def number(self) -> int:
        """Give the number of what was applied last, without reading it; 0 for nothing."""
        return max(self._documents.numbers(), default=0)

    def write(self, base: Applied, definitions: Definitions, now_us: int) -> Applied:
        """Write the next version on top of ``base``.

        Raises:
            AlreadyWritten: Somebody else applied since ``base`` was read; nothing was written.
        """
        number = base.number + 1
        self._documents.create(
            number,
            {"format": FORMAT, "applied_us": now_us, "definitions": to_document(definitions)},
        )
        return Applied(number, definitions, now_us)


def _applied(number: int, document: Mapping[str, Any]) -> Applied:
    if document.get("format") != FORMAT:
        raise StateError(
            f"the registry has format {document.get('format')}, this twinlake reads {FORMAT}",
            hint="use the twinlake that wrote it, or a new --state folder",
        )
    return Applied(number, from_document(document["definitions"]), document["applied_us"])


@dataclass(frozen=True)
class Landing:
    """One batch of rows, landed by one Delta commit.

    Attributes:
        version: The ingest version: first half of the sequence of its rows.
        batch: What identifies the batch, for the commit's metadata and its rows.
        files: The files read, by key.
        through_us: Rows were read up to this event timestamp, it included.
        read, accepted, duplicate, quarantined, erased: Rows by verdict as they were landed; read is
            their sum.
        newest_event_us: Newest event timestamp of the accepted rows of this batch, if any.
        landed_us: The commit's own time.
        data_docs: The page of its validation, relative to the state folder; None without one.
        first_version: Where this tells of all batches of a stream since one, that one's ingest
            version; counts are sums then, and the other numbers the newest batch's.
        clock_us: The newest accepted event, never later than its landing, where the batches of a
            stream are told of together.
        query, query_batch: The stream and its batch; ``MARKER`` for an empty batch.
    """

    version: int
    batch: str
    files: Sequence[str]
    through_us: int
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    newest_event_us: int | None = None
    landed_us: int | None = None
    data_docs: str | None = None
    first_version: int | None = None
    clock_us: int | None = None
    query: str | None = None
    query_batch: int | None = None
    erased: int = 0

    @property
    def is_marker(self) -> bool:
        """Whether it is an empty batch, landed for its version and its time alone."""
        return self.query == MARKER

    @property
    def since_version(self) -> int:
        """The oldest ingest version that this tells of."""
        return self.version if self.first_version is None else self.first_version

    @property
    def data_clock_us(self) -> int | None:
        """The newest accepted event, never later than its landing."""
        if self.clock_us is not None or self.newest_event_us is None:
            return self.clock_us
        return min(self.newest_event_us, MAX_US if self.landed_us is None else self.landed_us)

    def after(self, before: Landing | None) -> Landing:
        """Tell of this batch of a stream and of those before it together."""
        clock_us = _newest(self.data_clock_us, None if before is None else before.data_clock_us)
        if before is None:
            return replace(self, first_version=self.version, clock_us=clock_us)
        return replace(
            self,
            first_version=before.since_version,
            clock_us=clock_us,
            newest_event_us=_newest(self.newest_event_us, before.newest_event_us),
            read=before.read + self.read,
            accepted=before.accepted + self.accepted,
            duplicate=before.duplicate + self.duplicate,
            quarantined=before.quarantined + self.quarantined,
            erased=before.erased + self.erased,
        )


def _newest(*times: int | None) -> int | None:
    return max((time for time in times if time is not None), default=None)


class Landings:
    """What was landed of one source.

    An intent is written before the Delta commit of the same number and names the files and the
    event times that the commit takes in. The commit is the truth: after a crash an intent whose
    commit exists is finished, one without a commit is dropped and the work done again. This needs
    one lander per source, which the lander's lock ensures.

    Batches of a stream have no intents, for the stream itself repeats what was not committed, and
    one document tells of a run of them: one that covers more takes the place of the one before.
    """

    def __init__(self, state: Path, source: str) -> None:
        self._done = Documents(state / "landings" / source)
        self._intents = Documents(state / "landings" / source / "intents")

    def all(self) -> list[Landing]:
        """Give every finished landing, oldest first, each version told of once."""
        found: list[Landing] = []
        for document in reversed(self._done.still_there()):
            landing = Landing(**document)
            if not found or landing.version < found[-1].since_version:
                found.append(landing)
        return found[::-1]

    def batches(self) -> list[Landing]:
        """Give the finished landings but for markers, which bring nothing to look at."""
        return [landing for landing in self.all() if not landing.is_marker]

    def begin(self, landing: Landing) -> None:
        """Write down what is about to be committed."""
        self._intents.create(landing.version, asdict(landing))

    def finish(self, landing: Landing) -> None:
        """Write down what was committed."""
        self._done.create(landing.version, asdict(landing))

    def go_on(self, landing: Landing) -> Landing:
        """Write down a batch of a stream, together with those of the same stream before it."""
        done = self.all()
        before = done[-1] if done and done[-1].query == landing.query else None
        told = landing.after(before)
        self._done.create(told.version, asdict(told))
        if before is not None:
            self._done.delete(before.version)
        return told

    def unfinished(self) -> list[Landing]:
        """Give intents that were not finished; at most one unless a disk lost files."""
        done = set(self._done.numbers())
        return [
            Landing(**document) for number, document in self._intents.all() if number not in done
        ]

    def drop_intent(self, landing: Landing) -> None:
        """Forget an intent whose commit never came to be."""
        (self._intents.folder / f"{landing.version:020d}.json").unlink()

    def landed_through_us(self, file: InputFile) -> int | None:
        """Tell up to which event timestamp a file was landed; None when not at all."""
        ends = [landing.through_us for landing in self.all() if file.key in landing.files]
        return max(ends, default=None)

    def newest_version(self) -> int:
        """Give the newest ingest version; 0 for none."""
        return max((landing.version for landing in self.all()), default=0)

    def newest_batch(self, query: str) -> int:
        """Tell which batch of a stream was landed last; -1 for none."""
        of_this = [one.query_batch for one in self.all() if one.query == query]
        return max((batch for batch in of_this if batch is not None), default=-1)

    def newest_event_us(self) -> int | None:
        """Give the ``data`` clock: the newest accepted event, never later than its landing."""
        return _newest(*(landing.data_clock_us for landing in self.all()))


@dataclass(frozen=True)
class Publication:
    """One computation of a view into Delta and online.

    Attributes:
        number: Counted from 1 for each view.
        fingerprint: The view's meaning.
        events_version: The ingest version up to which events were folded.
        start_us, end_us: The event times asked for, as an interval ``(start, end]``.
        feature_rows: How many were appended.
        table_version: The feature view table's Delta version after it.
        online_rows: How many online rows were written.
        write_us: The write timestamp that they carry.
        superseding: Whether rows were appended that supersede older ones.
        first_number: Where this tells of all batches of a stream since one, that one's number;
            rows are sums then.
    """

    number: int
    fingerprint: str
    events_version: int
    start_us: int
    end_us: int
    feature_rows: int
    table_version: int
    online_rows: int
    write_us: int
    superseding: bool
    first_number: int | None = None

    @property
    def since_number(self) -> int:
        """The oldest number that this tells of."""
        return self.number if self.first_number is None else self.first_number

    def after(self, before: Publication | None) -> Publication:
        """Tell of this batch of a stream and of those before it together."""
        if before is None:
            return replace(self, first_number=self.number)
        return replace(
            self,
            first_number=before.since_number,
            feature_rows=before.feature_rows + self.feature_rows,
            online_rows=before.online_rows + self.online_rows,
            superseding=before.superseding or self.superseding,
        )


def _goes_on(before: Publication, one: Publication) -> bool:
    same = (before.start_us, before.end_us) == (one.start_us, one.end_us)
    return same and before.first_number is not None and before.number == one.number - 1


class Publications:
    """What was published of one view."""

    def __init__(self, state: Path, view: str) -> None:
        self._documents = Documents(state / "publications" / view)

    def all(self, fingerprint: str) -> list[Publication]:
        """Give the publications of one meaning of the view, oldest first, each told of once."""
        found: list[Publication] = []
        for document in reversed(self._documents.still_there()):
            publication = Publication(**document)
            if not found or publication.number < found[-1].since_number:
                found.append(publication)
        return [one for one in found[::-1] if one.fingerprint == fingerprint]

    def write(self, publication: Publication) -> None:
        """Write down a publication."""
        self._documents.create(publication.number, asdict(publication))

    def go_on(self, publication: Publication) -> None:
        """Write down a batch of a stream, together with those of the stream before it.

        Those are the ones of the same meaning and interval right before it.
        """
        done = self.all(publication.fingerprint)
        before = done[-1] if done and _goes_on(done[-1], publication) else None
        told = publication.after(before)
        self._documents.create(told.number, asdict(told))
        if before is not None:
            self._documents.delete(before.number)

    def forget(self, fingerprint: str) -> None:
        """Forget what was published into tables of one meaning that are no more."""
        for publication in self.all(fingerprint):
            self._documents.delete(publication.number)

    def next_number(self) -> int:
        """Give the number that the next publication takes."""
        numbers = self._documents.numbers()
        return numbers[-1] + 1 if numbers else 1


def table_name(view_name: str, fingerprint: str) -> str:
    """Name a view's tables, offline and online: one per meaning, so a change never mixes two."""
    return f"{view_name[:38]}__{fingerprint[:SHORT_DIGITS]}"


def view_table_name(definitions: Definitions, view_name: str) -> str:
    """Name the tables of a view as it is defined."""
    return table_name(view_name, view_fingerprint(definitions.views[view_name]))
