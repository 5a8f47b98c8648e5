"""What failures of Spark, Java and the disk mean to the user.

Engines fail with pages of text. A few causes are common, and for each there is something to do;
they are known here by their words. Imports no Spark, so that every command can ask.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from twinlake.errors import EnvironmentFailure, StateError, TwinlakeError

LIST_DAMAGE = "`twinlake doctor --lake` lists what is damaged and says what to do about it"

_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|File too large")
# One that is killed while it is spoken to only leaves a closed connection behind.
_WORKER_DIED = re.compile(
    r"Python worker exited unexpectedly|Python worker failed to connect back|"
    r"SocketException: (?:Connection reset|Broken pipe)[\s\S]{0,5000}?spark\.api\.python\."
)
_JAVA_GONE = re.compile(r"Answer from Java side is empty|Py4JNetworkError|ConnectionRefusedError")
# What Python, Arrow, NumPy and Linux say in a worker that may have no more memory.
_WORKER_FULL = re.compile(
    r"\bMemoryError\b|ArrowMemoryError|malloc of size \d+ failed|Cannot allocate memory|"
    r"Unable to allocate .{1,40} for an array|failed to map segment from shared object"
)
_NO_MEMORY = re.compile(r"java\.lang\.OutOfMemoryError|Java heap space")
_MEANWHILE = re.compile(r"io\.delta\.exceptions\.\w+: .*|Concurrent\w+Exception: .*")
# Words that only Delta says, of its log; and what Spark says of files of JSON, as only Delta has.
_LOG_DAMAGED = re.compile(
    r"DELTA_(LOG_FILE_NOT_FOUND|VERSIONS_NOT_CONTIGUOUS|STATE_RECOVER_ERROR|TRUNCATED_\w+|"
    r"CHECKPOINT_NON_EXIST_TABLE|MISSING_\w+)|"
    r"MALFORMED_RECORD_IN_PARSING[\s\S]{0,5000}?TextInputJsonDataSource"
)
# Words that any reader says, also of an input that is not ours; they need a file below the state.
_DAMAGED = re.compile(
    r"ChecksumException|is not a Parquet file|FileNotFoundException|FAILED_READ_FILE|"
    r"FILE_NOT_EXIST|MALFORMED_RECORD|Malformed records|JsonParseException|JsonEOFException|"
    r"JsonMappingException|MismatchedInputException|can not read class org\.apache\.parquet|"
    r"[Cc]ould not (read|verify) (footer|page)|[Uu]ncompress|[Cc]orrupt"
)
_CAUSE = re.compile(r"^Caused by: (?:[\w.$]+\.)?(\w+(?:: .+)?)$", re.MULTILINE)
_FILE = re.compile(r"(?:file:)?(/[^\s,;:()\[\]'\"]+)")


def innermost(error: BaseException) -> str:
    """Give the innermost cause that an engine's text tells, in one line."""
    text = str(error).strip()
    causes = _CAUSE.findall(text)
    return causes[-1] if causes else (text.splitlines() or [type(error).__name__])[0]


def is_of_the_machine(error: BaseException) -> bool:
    """Tell whether a failure is known to come from the machine, not from what was read."""
    text = _told(error)
    known = (_NO_SPACE, _WORKER_FULL, _WORKER_DIED, _NO_MEMORY, _JAVA_GONE)
    return any(words.search(text) for words in known)


def meaning(error: BaseException, state: Path) -> TwinlakeError | None:
    """Tell what a failure means; None where it is not one of those that are known.

    Args:
        error: What was raised.
        state: The folder that the lake lies in.
    """
    if isinstance(error, TwinlakeError):
        return None
    text = _told(error)
    if "twinlake.errors." in text:
        return None  # raised on purpose in a worker; Spark hands it on as text
    cause = innermost(error)
    if found := _NO_SPACE.search(text):
        return EnvironmentFailure(
            f"{found[0]} while writing below {state}",
            hint="free some space there, then run the command again: it goes on where it stopped",
        )
    if _WORKER_FULL.search(text):
        return EnvironmentFailure(
            "a Python worker of Spark had not enough memory",
            hint="give it more, or raise TWINLAKE_SHUFFLE_PARTITIONS to compute smaller parts at a "
            "time; then run the command again: it goes on where it stopped",
        )
    if _WORKER_DIED.search(text):
        return EnvironmentFailure(
            "a Python worker of Spark died again and again",
            hint="was memory short? then run the command again: it goes on where it stopped",
        )
    if _NO_MEMORY.search(text):
        return EnvironmentFailure(
            "Java ran out of memory", hint="raise TWINLAKE_DRIVER_MEMORY, then run again"
        )
    if _JAVA_GONE.search(text):
        return EnvironmentFailure(
            "Java ended in the middle of the work",
            hint="was it killed, or memory short? then run the command again",
        )
    if found := _MEANWHILE.search(text):
        return StateError(
            f"another process changed the table meanwhile: {found[0].partition(': ')[2]}"[:300],
            hint="run the command again",
        )
    where = _file_below(text, state)
    if _LOG_DAMAGED.search(text) or (where and _DAMAGED.search(text)):
        return StateError(
            f"{where or f'a log below {state}'} is damaged or missing: {cause}", hint=LIST_DAMAGE
        )
    return None


def _told(error: BaseException) -> str:
    """All that an error and its causes say, each with its kind."""
    told = []
    one: BaseException | None = error
    while one is not None:
        told.append(f"{type(one).__name__}: {one}")
        one = one.__cause__
    return "\n".join(told)


def _file_below(text: str, state: Path) -> str | None:
    """The first file that the text names below a folder."""
    for name in _FILE.findall(text):
        path = unquote(name).rstrip(".")
        if path.startswith(f"{state}/lake/") and "." in path.rpartition("/")[2]:
            return path
    return None
