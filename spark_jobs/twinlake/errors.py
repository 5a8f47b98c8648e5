"""Every error that twinlake raises on purpose.

    TwinlakeError
    +-- DefinitionError    the author's fault: definitions that do not hold together   exit 2
    +-- InputError         the caller's fault: data, names or arguments that do not fit exit 2
    +-- StateError         what is stored disagrees with itself or with what was asked  exit 3
    +-- EnvironmentFailure something outside is missing, down or refuses                exit 3
    +-- CheckFailed        a check ran to its end and found something                   exit 1

A message says what was found, what was expected and what to do next; it holds no secret and no
more of a user's data than the key that names a row. This module imports nothing of twinlake, so
that any other may import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class TwinlakeError(Exception):
    """The base of every error raised on purpose; ``exit_code`` is what the command returns."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep the message and, apart from it, what the user can do about it."""
        super().__init__(message if hint is None else f"{message}\nHint: {hint}")
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a set of definitions.

    Attributes:
        place: Where, as a path through the definitions: ``view energy, feature energy_sum_1yr``.
        found: What stands there and why it does not hold.
        hint: What to write instead.
    """

    place: str
    found: str
    hint: str

    def __str__(self) -> str:
        return f"{self.place}: {self.found}\n    Hint: {self.hint}"


class DefinitionError(TwinlakeError):
    """Definitions that do not hold together; carries every problem found, not just the first."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Join all problems into one message, one per line."""
        self.problems: Sequence[Problem] = tuple(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        lines = "\n".join(
            f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)
        )
        super().__init__(f"{head} in the definitions:\n{lines}")


class InputError(TwinlakeError):
    """Data, a name or an argument that the caller gave and that does not fit."""

    exit_code = 2

    @classmethod
    def unknown(cls, kind: str, name: str, available: Iterable[str]) -> InputError:
        """Build the message for a name that is not there, with the names that are."""
        from difflib import get_close_matches  # only a mistake needs it

        names = sorted(available)
        meant = get_close_matches(name, names, n=1)
        hint = f"known: {', '.join(names) or 'none'}"
        if meant:
            hint = f"did you mean {meant[0]!r}? {hint}"
        return cls(f"there is no {kind} named {name!r}", hint=hint)


class StateError(TwinlakeError):
    """What is stored disagrees with itself, or with what was asked of it.

    Operator action: nothing was written. The message names the table, file or version that
    disagrees and the command that repairs or replaces it, where one exists.
    """

    exit_code = 3

    @classmethod
    def nothing_landed(cls, source: str) -> StateError:
        """Nothing was landed of a source, so there is nothing to answer from."""
        return cls(
            f"nothing was landed of source {source}",
            hint="run `twinlake materialize` or `twinlake stream` first",
        )


class EnvironmentFailure(TwinlakeError):
    """Something outside twinlake is missing, unreachable or refuses: Java, a disk, a server."""

    exit_code = 3


class CheckFailed(TwinlakeError):
    """A check, such as parity, ran to its end and found something. Not a crash."""

    exit_code = 1
