"""On-demand feature views: features computed from other features and from request fields.

One vectorised function computes them, in training and in serving alike. It gets the columns that
it asked for by name, as numpy arrays of one length, and gives back the columns that it declared::

    @on_demand(
        inputs=[card_activity, card_history, Request(amount="double")],
        outputs={"amt_ratio1": "double"},
    )
    def card_ratios(f):
        return {"amt_ratio1": f["avg_amt_last_10m"] / f["avg_amt_last_1w"]}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinlake.definitions.functions import Function
from twinlake.definitions.views import FeatureView, Selection

SKIPPED = "skip"
PASSED = "pass"
NULLS = (SKIPPED, PASSED)


@dataclass(frozen=True, init=False)
class Request:
    """Fields that come with the question: columns of the spine, arguments of a read.

    Attributes:
        fields: Name to type.

    Examples:
        >>> Request(amount="double").fields
        {'amount': 'double'}
    """

    fields: Mapping[str, str]

    def __init__(self, **fields: str) -> None:
        """Keep the fields as they are; they are checked with the definitions."""
        object.__setattr__(self, "fields", fields)


@dataclass(frozen=True)
class OnDemandView:
    """Features that a function computes; made by ``on_demand``.

    Attributes:
        name: The view's name.
        inputs: What the function reads: whole views, ``view.select("a", "b")``, request fields.
        outputs: Feature name to type.
        function: The function.
        nulls: ``"skip"``: a row in which an input has no value is not given to the function, and
            its features are null. ``"pass"``: the function gets masked arrays and decides itself.
        description: For people; no part of the meaning.
        owner: For people; no part of the meaning.
    """

    name: str
    inputs: Sequence[FeatureView | Selection | Request | OnDemandView]
    outputs: Mapping[str, str]
    function: Function
    nulls: str = SKIPPED
    description: str = ""
    owner: str = ""

    def reads(self) -> Iterator[tuple[FeatureView, tuple[str, ...]]]:
        """Yield each view that the function reads, with the features read, in order."""
        for item in self.inputs:
            if isinstance(item, Selection):
                yield item.view, tuple(item.names)
            elif isinstance(item, FeatureView):
                yield item, tuple(name for name, *_ in item.declared())

    @property
    def request(self) -> dict[str, str]:
        """The request fields that the function reads: name to type, as declared."""
        asked = [item.fields for item in self.inputs if isinstance(item, Request)]
        return {name: kind for fields in asked for name, kind in fields.items()}

    def select(self, *names: str) -> OnDemandSelection:
        """Take some of the view's features, in this order, into a service."""
        return OnDemandSelection(self, names)


@dataclass(frozen=True)
class OnDemandSelection:
    """Some features of an on-demand view, in the order given."""

    view: OnDemandView
    names: Sequence[str]


def on_demand(
    *,
    inputs: Sequence[FeatureView | Selection | Request],
    outputs: Mapping[str, str],
    name: str | None = None,
    nulls: str = SKIPPED,
    description: str | None = None,
    owner: str = "",
) -> Callable[[Callable[..., Any]], OnDemandView]:
    """Make an on-demand feature view of a function.

    The function takes one argument, a dictionary of numpy arrays by name, all of one length, and
    returns a mapping of arrays of that length: what it gives for a row may depend on that row only.
    Whole numbers come as int64, decimals, float and double as float64, boolean as bool, date and
    timestamp as datetime64, text as objects. NaN and infinities that it makes become null.

    Args:
        inputs: What it reads: whole views, ``view.select("a", "b")``, ``Request(amount="double")``.
        outputs: The features that it gives: name to type.
        name: The view's name; the function's own without it.
        nulls: ``"skip"``: a row in which an input has no value is not given to the function, and
            its features are null. ``"pass"``: the function gets masked arrays and decides itself.
        description: For people; the function's docstring without it.
        owner: For people.
    """

    def make(function: Callable[..., Any]) -> OnDemandView:
        taken = Function.of(function)
        told = inspect.getdoc(function) if description is None else description
        return OnDemandView(
            taken.name if name is None else name,
            tuple(inputs) if isinstance(inputs, list) else inputs,
            outputs,
            taken,
            nulls,
            told or "",
            owner,
        )

    return make
