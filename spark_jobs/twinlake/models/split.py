"""Training and test by time: what is tested lies after what was learned."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinlake.definitions.times import format_instant
from twinlake.errors import InputError

Mask = npt.NDArray[np.bool_]
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class TimeSplit:
    """Two sides of a cut in time.

    Attributes:
        cut: Where the later side begins.
        before: The rows before the cut, shape (rows,); all of them, or those after some instant.
        after: The rows at or after the cut, shape (rows,).
    """

    cut: dt.datetime
    before: Mask
    after: Mask


def microseconds(times: pa.Array | pa.ChunkedArray, name: str) -> npt.NDArray[np.int64]:
    """Give timestamps or dates as microseconds since the epoch, shape (rows,).

    Raises:
        InputError: The column is of another type or has nulls.
    """
    if not (pa.types.is_timestamp(times.type) or pa.types.is_date(times.type)):
        raise InputError(f"column {name} is of type {times.type}; a timestamp was expected")
    if times.null_count:
        raise InputError(f"column {name} has {times.null_count} nulls; every row needs its time")
    zone = getattr(times.type, "tz", None)
    whole = times.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
    return np.asarray(whole.to_numpy(), dtype=np.int64)


def split_by_time(
    times: pa.Array | pa.ChunkedArray, fraction: float, name: str = "time"
) -> TimeSplit:
    """Cut off the last ``fraction`` of the time that the rows span.

    The later side is ``(last - fraction * (last - first), last]``, as a window that ends at the
    last timestamp. The cut is a timestamp that occurs, so equal timestamps stay together.

    Args:
        times: Timestamps or dates of the rows, in any order.
        fraction: The part of the span that is cut off, in (0, 1).
        name: What the column is called in messages.

    Returns:
        The cut and both sides.

    Raises:
        InputError: A side would be empty, or the column does not fit.
    """
    if not 0 < fraction < 1:
        raise InputError(
            f"a fraction of {fraction} cannot be cut off", hint="give one between 0 and 1"
        )
    instants = microseconds(times, name)
    distinct = np.unique(instants)
    if len(distinct) < 2:
        raise InputError(
            f"{len(instants)} rows with {len(distinct)} distinct {name} cannot be split by time",
            hint="give rows of at least two timestamps",
        )
    first, last = int(distinct[0]), int(distinct[-1])
    boundary = last - int(fraction * (last - first))
    # A fraction below one unit of time still cuts off the last timestamp.
    boundary = min(boundary, last - 1)
    cut = distinct[np.searchsorted(distinct, boundary, side="right")]
    after = instants >= cut
    return TimeSplit(EPOCH + dt.timedelta(microseconds=int(cut)), ~after, after)


def split_at(
    times: pa.Array | pa.ChunkedArray, after_us: int | None, cut_us: int, name: str = "time"
) -> TimeSplit:
    """Cut at an instant that is given, and leave out what happened too early.

    Args:
        times: Timestamps or dates of the rows, in any order.
        after_us: The earlier side has only rows after this instant; None: all before the cut.
        cut_us: The later side has the rows of this instant and after it.
        name: What the column is called in messages.

    Returns:
        The cut and both sides.

    Raises:
        InputError: A side would be empty, or the column does not fit.
    """
    instants = microseconds(times, name)
    after = instants >= cut_us
    before = ~after if after_us is None else ~after & (instants > after_us)
    since = "" if after_us is None else f"after {format_instant(after_us)} and "
    for side, told in (
        (before, f"{since}before {format_instant(cut_us)}"),
        (after, f"at or after {format_instant(cut_us)}"),
    ):
        if not side.any():
            spans = "there are no rows"
            if len(instants):
                ends = (format_instant(int(end)) for end in (instants.min(), instants.max()))
                spans = "the rows span {} to {}".format(*ends)
            raise InputError(
                f"no {name} lies {told}; {spans}",
                hint="give rows of both times, or other trained_from and tested_from",
            )
    return TimeSplit(EPOCH + dt.timedelta(microseconds=cut_us), before, after)
