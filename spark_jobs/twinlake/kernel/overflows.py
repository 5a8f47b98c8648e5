"""Find which feature of which key it was whose sum does not fit 64 bits.

The arithmetic answers many questions in one go and does not know whose they are; who asked does,
and pays for the search only after it failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twinlake.errors import InputError
from twinlake.kernel.events import Queries
from twinlake.kernel.measures import Measure

Answer = Callable[[Queries, Sequence[Measure]], object]


def first_overflow(
    answer: Answer, queries: Queries, measures: Sequence[Measure]
) -> tuple[int, int, InputError] | None:
    """Find the first sum that overflows.

    Args:
        answer: Answers measures for questions, or raises InputError.
        queries: The questions that it raised for.
        measures: Their measures.

    Returns:
        Position of the measure, position of the question, and what was raised for just those;
        None if no sum by itself is at fault.
    """
    for position, measure in enumerate(measures):
        if measure.function != "sum" or _raised(answer, queries, measure) is None:
            continue
        low, high = 0, len(queries)  # the first bad question lies in here
        while high - low > 1:
            middle = (low + high) // 2
            if _raised(answer, queries.take(slice(low, middle)), measure) is not None:
                high = middle
            else:
                low = middle
        error = _raised(answer, queries.take(slice(low, high)), measure)
        return None if error is None else (position, low, error)
    return None


def _raised(answer: Answer, queries: Queries, measure: Measure) -> InputError | None:
    try:
        answer(queries, [measure])
    except InputError as error:
        return error
    return None


def overflow_error(view: str, feature: str, key: str, as_of: str, cause: InputError) -> InputError:
    """Tell of a sum that does not fit, with everything that leads to it."""
    return InputError(
        f"view {view}, feature {feature}, {key} as of {as_of}: {cause.message}", hint=cause.hint
    )
