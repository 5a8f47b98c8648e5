"""What a lander does for others: push rows, land files, replay quarantined rows, land markers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twinlake.errors import InputError, TwinlakeError
from twinlake.flows.landing import land_as_lander
from twinlake.flows.requests import FILES, MARK, PUSH, REPLAY
from twinlake.flows.stream_lander import DefinitionsChangedError, SourceLander
from twinlake.lake import quarantine, stream_batches, streams
from twinlake.lake.records import Records
from twinlake.registry.inbox import Inbox, Request


def carry_out(lander: SourceLander, inbox: Inbox, request: Request) -> None:
    """Carry out a request and answer it; what fails is an answer too.

    Raises:
        DefinitionsChangedError: The lander has to begin anew before it can; the request waits.
    """
    try:
        document = handle(lander, request)
    except DefinitionsChangedError:
        raise
    except TwinlakeError as error:
        document = {"error": error.message, "hint": error.hint}
    inbox.answer(request, document)


def handle(lander: SourceLander, request: Request) -> Mapping[str, Any]:
    """Do what is asked, and say what came of it.

    Raises:
        InputError: It asks for something that there is not.
        DefinitionsChangedError: Others are applied than those that the lander goes by.
    """
    lander.refuse_changed_definitions()
    if request.kind == PUSH:
        return push(lander, request.rows, request.name)
    if request.kind == REPLAY:
        return replay(lander, request.name)
    if request.kind == FILES:
        told = request.told
        path = told["path"] and Path(told["path"])
        with lander.project.reading_from(lander.source.name, path):
            landed = land_as_lander(
                lander.project, lander.source, told["through_us"], validate=told["validate"]
            )
        lander.catch_up()
        return {"landing": None if landed is None else asdict(landed)}
    if request.kind == MARK:
        return {"landing": asdict(lander.mark())}
    raise InputError.unknown("request", request.kind, [PUSH, FILES, REPLAY, MARK])


def push(lander: SourceLander, rows: Path, name: str) -> dict[str, Any]:
    """Land the rows of a Parquet file that somebody pushed; the same push again lands nothing."""
    done = lander.landed_as(PUSH, name)
    if done is None:
        frame = lander.project.spark.read.parquet(str(rows))
        typed = streams.typed_rows(frame, lander.source, f"push {name}")
        done = lander.take(
            lander.judging(typed), {"query": PUSH, "query_batch": 0, "request": name}
        )
    return _counts(done)


def replay(lander: SourceLander, name: str) -> dict[str, Any]:
    """Land quarantined rows that pass the gate now, each as a new row that names the old one."""
    project, source = lander.project, lander.source
    records = Records.of(project.spark, source, project.settings.project)
    frame = quarantine.waiting(project.spark, project.places.events(source.name), records)
    batch = stream_batches.judged(lander.judging(frame), source, project.now_us())
    if not batch.num_rows:
        return {**_counts(None), "refused": 0}
    passing = stream_batches.clean(batch)
    if not passing.num_rows:
        return {**_counts(None), "refused": batch.num_rows}
    origin = {"query": REPLAY, "query_batch": 0, "request": name}
    landed = lander.take_judged(passing, origin)
    return {**_counts(landed), "refused": batch.num_rows - passing.num_rows}


def _counts(landed: Any) -> dict[str, Any]:  # noqa: ANN401 (a Landing, or the counts in a commit)
    names = ("read", "accepted", "duplicate", "quarantined", "erased")
    return {name: 0 if landed is None else getattr(landed, name) for name in names}
