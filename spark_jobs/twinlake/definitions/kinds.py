"""Whether definitions are made of the Python types that they declare.

A project's author need not run a type checker, so ``ttl=7`` must be told as plainly as ``ttl="7"``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from twinlake.definitions.entities import Entity
from twinlake.definitions.expectations import Expectation
from twinlake.definitions.functions import Function
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.services import FeatureService
from twinlake.definitions.sources import Source
from twinlake.definitions.views import FeatureView
from twinlake.errors import Problem

# Checked by themselves, wherever they are referred to.
_OWN = (Entity, Source, FeatureView, OnDemandView, FeatureService, Function)
_MAX_SHOWN = 60


def kind_problems(place: str, definition: object) -> Iterator[Problem]:
    """Yield every attribute of a definition that is not of its declared type.

    Args:
        place: Where the definition stands.
        definition: Any of the definitions.
    """
    for name, wanted in get_type_hints(type(definition)).items():
        value = getattr(definition, name)
        if not fits(value, wanted):
            found = repr(value)
            shown = found if len(found) <= _MAX_SHOWN else f"{found[:_MAX_SHOWN]}..."
            declared = type(definition).__dataclass_fields__[name].type  # type: ignore[attr-defined]
            yield Problem(f"{place}, {name}", f"is {shown}", f"give it as {declared}")


def fits(value: object, wanted: Any) -> bool:  # noqa: ANN401 (any annotation)
    """Tell whether a value is what an annotation says, down into lists and mappings.

    Examples:
        >>> fits({"a": "7d"}, Mapping[str, str] | None), fits("7d", Mapping[str, str] | None)
        (True, False)
        >>> fits(True, int), fits(1, float)
        (False, True)
    """
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in {Union, UnionType}:
        return any(fits(value, each) for each in arguments)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items()
        )
    if origin is Sequence:
        # A text is a sequence of texts too, and never meant.
        return isinstance(value, list | tuple) and all(fits(item, arguments[0]) for item in value)
    if wanted in {int, float}:
        return isinstance(value, int | wanted) and not isinstance(value, bool)
    if not isinstance(value, wanted):
        return False
    if isinstance(value, Expectation):
        return isinstance(value.type, str)
    if isinstance(value, _OWN) or not is_dataclass(value):
        return True
    return all(
        fits(getattr(value, name), kind) for name, kind in get_type_hints(type(value)).items()
    )
