"""Read a project's ``features.py`` and gather every definition that it makes."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from twinlake.definitions.clocks import Clock
from twinlake.definitions.documents import Definitions
from twinlake.definitions.entities import Entity
from twinlake.definitions.on_demand import OnDemandSelection, OnDemandView
from twinlake.definitions.quality import Labels, Quality
from twinlake.definitions.services import FeatureService, Model
from twinlake.definitions.sources import Source
from twinlake.definitions.views import AliasedView, FeatureView, Selection
from twinlake.errors import DefinitionError, InputError, Problem, TwinlakeError

FILE_NAME = "features.py"


def load(project: Path) -> Definitions:
    """Run a project's ``features.py`` and gather what it defines at its top level.

    What a gathered object refers to is gathered with it, so an entity need not have a name of its
    own in the file. The definitions are not checked here.

    Raises:
        InputError: There is no such project, or its file cannot be run.
        DefinitionError: Two different definitions of a kind carry the same name.
    """
    path = project / FILE_NAME
    if not path.is_file():
        raise InputError(
            f"{project} is not a project: it has no {FILE_NAME}",
            hint="name a project's folder with -C, such as -C spark_jobs/examples/smart_meters",
        )
    try:
        # What the file prints must not get between the lines of an answer.
        with redirect_stdout(sys.stderr):
            names = runpy.run_path(str(path))
    except TwinlakeError:
        raise
    except SystemExit as error:
        raise InputError(
            f"{path}, line {_line(path, error)}: ends the program by exit",
            hint="leave the call of exit out: the file holds definitions only",
        ) from error
    except Exception as error:
        raise InputError(
            f"{path}, line {_line(path, error)}: {type(error).__name__}: {error}",
            hint="mend that line; nothing was changed",
        ) from error
    return gather(names)


def _line(path: Path, error: BaseException) -> int | str:
    """Give the line of the file that an error comes from."""
    lines = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(path)
    ]
    return lines[-1] if lines else getattr(error, "lineno", None) or "?"


def gather(names: Mapping[str, Any]) -> Definitions:
    """Gather the definitions among some named objects, and those that they refer to."""
    problems: list[Problem] = []
    found: dict[type, dict[str, Any]] = {
        kind: {} for kind in (Entity, Source, FeatureView, FeatureService, Model, OnDemandView)
    }
    for item in names.values():
        for definition in _with_references(item):
            # A name of another type than text is reported by the checks.
            known = found[type(definition)].setdefault(str(definition.name), definition)
            if known is not definition and known != definition:
                problems.append(
                    Problem(
                        f"{type(definition).__name__} {definition.name}",
                        "is defined twice, with different meanings",
                        "give one of the two another name",
                    )
                )
    clocks = [item for item in names.values() if isinstance(item, Clock)]
    if any(clock != clocks[0] for clock in clocks):
        problems.append(Problem("clock", "is defined twice", "keep one Clock in the project"))
    if problems:
        raise DefinitionError(problems)
    return Definitions(
        found[Entity],
        found[Source],
        found[FeatureView],
        found[FeatureService],
        found[Model],
        clocks[0] if clocks else Clock(),
        found[OnDemandView],
    )


def _with_references(item: object) -> Iterator[Any]:
    if isinstance(item, Model):
        yield from _with_references(item.service)
        if isinstance(item.source, Source):
            yield from _with_references(item.source)
        labels = item.quality.labels if isinstance(item.quality, Quality) else None
        if isinstance(labels, Labels):
            yield from _with_references(labels.source)
    elif isinstance(item, FeatureService):
        yield from _referred(item.features)
    elif isinstance(item, OnDemandView):
        yield from _referred(item.inputs)
    elif isinstance(item, AliasedView):
        yield from _with_references(item.stored)
        return
    elif isinstance(item, FeatureView):
        yield from (*_with_references(item.entity), *_with_references(item.source))
    if isinstance(item, Entity | Source | FeatureView | FeatureService | Model | OnDemandView):
        yield item


def _referred(items: object) -> Iterator[Any]:
    for each in items if isinstance(items, list | tuple) else ():
        is_selection = isinstance(each, Selection | OnDemandSelection)
        yield from _with_references(each.view if is_selection else each)
