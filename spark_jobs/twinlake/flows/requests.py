"""Have something landed, by this process or by the stream that is the lander already.

There is one lander per source at a time. Where a stream is it, a request goes to its inbox and it
carries the request out between two batches; else this process is the lander for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twinlake.errors import StateError
from twinlake.flows.project import Project
from twinlake.registry.inbox import Inbox, Request
from twinlake.registry.places import Taken

Result = TypeVar("Result")

# What a stream says of itself as the holder of a lock.
STREAM = "stream"
# What can be asked of it: to land rows, files of the source, quarantined rows once more, a marker.
PUSH, FILES, REPLAY, MARK = "push", "files", "replay", "mark"
_LOOK_S = 0.1
# A stream that begins anew is nobody for a moment.
_GONE_S = 3.0
# A stream takes requests between two batches.
_PATIENCE_S = 300


def by_stream_or(
    project: Project, source: str, own: Callable[[], Result], ask: Callable[[], Result]
) -> Result:
    """Do something as the lander of a source, or ask the stream that is it.

    Raises:
        Taken: Somebody else is the lander, and no stream.
    """
    try:
        return own()
    except Taken as taken:
        if taken.by != STREAM:
            raise
        project.tell(f"the stream of {source} does it")
        return ask()


def ask_stream(project: Project, source: str, request: Request) -> Mapping[str, Any]:
    """Post a request to a source's stream and wait until it was carried out.

    Raises:
        StateError: It failed there, the stream ended, or it takes longer than a stream may.
    """
    inbox = Inbox(project.settings.state, source)
    inbox.post(request)
    answers: list[Mapping[str, Any]] = []

    def is_answered() -> bool:
        answer = inbox.take_answer(request)
        answers.extend([] if answer is None else [answer])
        return bool(answers)

    try:
        wait_for_stream(project, source, is_answered, "the request")
    except StateError:
        inbox.drop(request)
        raise
    return answers[0]


def wait_for_stream(project: Project, source: str, is_done: Callable[[], bool], what: str) -> None:
    """Wait until a source's stream has done something, for as long as it runs.

    Raises:
        StateError: It ended before, or takes longer than a stream may.
    """
    began = time.monotonic()
    seen_s = began
    while (now_s := time.monotonic()) < began + _PATIENCE_S:
        if project.places.is_held("lander", source):
            seen_s = now_s
        if is_done():  # looked at after, for it may have been done at the last moment
            return
        if now_s - seen_s > _GONE_S:
            raise StateError(
                f"the stream of {source} ended before it was done with {what}",
                hint="run the command again",
            )
        time.sleep(_LOOK_S)
    raise StateError(
        f"the stream of {source} was not done with {what} within {_PATIENCE_S} s",
        hint="look at what the stream is doing; it takes requests between two batches",
    )
