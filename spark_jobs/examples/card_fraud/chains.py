"""Which transaction of its fraud chain is it: what no model may see, and what a judge asks.

The generator's files say which transactions are fraud, not which chain they are of. But a chain is
of one card, and no two of its neighbours are more than ``LONGEST_GAP_S`` apart. So a chain is found
as a run of fraud on one card without a longer gap. Two chains of a card that meet by chance are
taken for one, which among the 2,000 chains of the default extent is not to be expected.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from examples.card_fraud.generator import LONGEST_GAP_S

Numbers = npt.NDArray[np.int64]
_LONGEST_GAP_US = LONGEST_GAP_S * 1_000_000


def positions(cards: Numbers, times_us: Numbers, labels: Numbers) -> Numbers:
    """Number the transactions of each chain in the order of time.

    Args:
        cards: Card of each transaction, shape (rows,).
        times_us: When each happened, in microseconds, shape (rows,).
        labels: 1 where it is fraud, shape (rows,).

    Returns:
        1 for the first of a chain, 2 for the next, ...; 0 where it is no fraud; shape (rows,).
    """
    found = np.zeros(len(cards), np.int64)
    frauds = np.flatnonzero(labels)
    if not len(frauds):
        return found
    frauds = frauds[np.lexsort((times_us[frauds], cards[frauds]))]
    goes_on = (np.diff(cards[frauds]) == 0) & (np.diff(times_us[frauds]) <= _LONGEST_GAP_US)
    places = np.arange(len(frauds))
    begins = np.concatenate([[True], ~goes_on])
    found[frauds] = places - np.maximum.accumulate(np.where(begins, places, 0)) + 1
    return found
