"""How `twinlake parity --replay` tells what it did and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from twinlake.cli.checks import MAX_SHOWN, verdict_document, verdict_text
from twinlake.cli.context import Context
from twinlake.cli.layout import table


def answer(context: Context, project: Any, views: Sequence[Any], how: Mapping[str, int]) -> int:  # noqa: ANN401
    """Replay, and say what came of it; the exit code."""
    from twinlake.flows import replaying

    options = dict(how)
    if "events" in options:
        options["most_events"] = options.pop("events")
    done = replaying.replay(project, views, **options)
    context.answer(_text(done), _document(done))
    return 0 if done.holds else 1


def _document(done: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    told = asdict(done)
    del told["verdict"]
    told["involved"] = [{k: str(v) for k, v in row.items()} for row in done.involved]
    return verdict_document(done.verdict) | {"replay": told, "holds": done.holds}


def _text(done: Any) -> str:  # noqa: ANN401 (imported when used)
    heads = ("recorded", "read", "accepted", "duplicate", "quarantined", "batches")
    counts = table(heads, [tuple(getattr(done, head) for head in heads)])
    parts = [counts, f"seed {done.seed}: {len(done.killed)} times killed: {', '.join(done.killed)}"]
    if done.beside:
        parts.append(f"beside the stream: {', '.join(done.beside)}")
    for count, what in ((done.missing, "lost"), (done.unexpected, "unexpected")):
        if count:
            parts.append(f"{count:,} accepted rows are {what}")
    parts.append(verdict_text(done.verdict))
    if done.involved:
        rows = [tuple(str(cell) for cell in row.values()) for row in done.involved[:MAX_SHOWN]]
        parts.append("events behind the first difference, newest first:")
        parts.append(table(tuple(done.involved[0]), rows))
    return "\n\n".join(parts)
