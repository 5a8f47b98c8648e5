"""How far what a model is asked with has moved from what it learned: PSI against a reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Counts = npt.NDArray[np.int64]
# A share below counts as this one, so that a part that was never seen tells much, not everything.
LEAST_SHARE = 1e-4
MOST_CATEGORIES = 50


@dataclass(frozen=True, slots=True)
class Parts:
    """In which parts the values of a feature fall, and how many of the training set did.

    Attributes:
        edges: Of a number: part ``i`` holds what is above edge ``i - 1`` and at most edge ``i``.
        categories: Of anything else: the most frequent values as text; the part after them holds
            all others. None for a number.
        rows: How many rows of the training set each part holds; the last one those without a value.
    """

    edges: tuple[float, ...]
    categories: tuple[str, ...] | None
    rows: tuple[int, ...]

    def count(self, column: pa.ChunkedArray) -> Counts:
        """Count the rows of a column by part."""
        if self.categories is None:
            numbers = _numbers(column)
            part = np.searchsorted(np.array(self.edges), numbers, side="left")
            part[np.isnan(numbers)] = len(self.edges) + 1
            return np.bincount(part, minlength=len(self.rows)).astype(np.int64)
        rows = np.zeros(len(self.rows), np.int64)
        places = {text: index for index, text in enumerate(self.categories)}
        for value, count in _values(column).items():
            rows[len(self.rows) - 1 if value is None else places.get(value, len(places))] += count
        return rows

    def psi(self, rows: Counts) -> float:
        """Give the population stability index of rows that were counted by part.

        That is the sum of ``(share - reference) * ln(share / reference)`` over the parts, shares
        below ``LEAST_SHARE`` raised to it. 0: nothing moved; above 0.2 is commonly called much.
        """
        total, known = int(rows.sum()), sum(self.rows)
        index = 0.0
        for count, learned in zip(rows.tolist(), self.rows, strict=True):
            share = max(count / total, LEAST_SHARE)
            expected = max(learned / known, LEAST_SHARE)
            index += (share - expected) * math.log(share / expected)
        return index


@dataclass(frozen=True, slots=True)
class Reference:
    """What the features of a training set looked like; small enough to be kept beside a model."""

    features: Mapping[str, Parts]

    @classmethod
    def of(cls, rows: pa.Table, features: Sequence[str], parts: int = 10) -> Self:
        """Take the features of a training set.

        Args:
            rows: The training set; must not be empty.
            features: Which of its columns; others than numbers, texts, booleans are compared as
                text.
            parts: In how many parts of about the same size the values of a number are cut.
        """
        taken = {}
        for name in features:
            column = rows.column(name)
            kind = column.type
            is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
            if is_number or pa.types.is_decimal(kind):
                numbers = _numbers(column)
                there = numbers[~np.isnan(numbers)]
                inner = np.arange(1, parts) / parts
                cuts = np.quantile(there, inner, method="inverted_cdf") if len(there) else there
                edges = tuple(np.unique(cuts).tolist())
                empty = Parts(edges, None, (0,) * (len(edges) + 2))
            else:
                found = Counter(_values(column))
                found.pop(None, None)
                ranked = sorted(found, key=lambda text: (-found[text], text or ""))
                categories = tuple(str(text) for text in ranked[:MOST_CATEGORIES])
                empty = Parts((), categories, (0,) * (len(categories) + 2))
            counted = tuple(empty.count(column).tolist())
            taken[name] = Parts(empty.edges, empty.categories, counted)
        return cls(taken)

    def document(self) -> dict[str, Any]:
        """Write the reference as a JSON object."""
        return {
            name: {
                "edges": list(parts.edges),
                "categories": list(parts.categories),
                "rows": list(parts.rows),
            }
            if parts.categories is not None
            else {"edges": list(parts.edges), "rows": list(parts.rows)}
            for name, parts in self.features.items()
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read what ``document`` wrote."""
        return cls(
            {
                name: Parts(
                    tuple(item["edges"]),
                    tuple(item["categories"]) if "categories" in item else None,
                    tuple(item["rows"]),
                )
                for name, item in document.items()
            }
        )


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Give numbers; what is null or not finite is no value."""
    numbers = np.array(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _values(column: pa.ChunkedArray) -> dict[str | None, int]:
    counted = pc.value_counts(column.cast(pa.string())).to_pylist()
    return {item["values"]: item["counts"] for item in counted}
