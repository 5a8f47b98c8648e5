"""The way in: rows and a definition, of which a test then asks what it gives as of some moment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

from twinlake.definitions.checks import check
from twinlake.definitions.documents import Definitions
from twinlake.definitions.loading import FILE_NAME, gather, load
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.services import FeatureService
from twinlake.definitions.sources import Source
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError
from twinlake.testing.happened import Condition, Rows, read_rows
from twinlake.testing.history import History

Tested: TypeAlias = FeatureView | OnDemandView | FeatureService


class FeatureTest:
    """Tests features of a project; the fixture ``feature_test`` is one.

    Args:
        folder: A folder of the project, or below it; only needed to test definitions by name.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def __call__(
        self,
        tested: str | Tested,
        rows: Rows | Mapping[str, Rows],
        *,
        where: Condition | None = None,
    ) -> History:
        """Say what happened.

        Args:
            tested: A feature view, an on-demand view or a service, or the name of one.
            rows: The rows of its source, as dictionaries or as a table of text; where it reads
                several sources, source name to rows. An identity may be left out of all rows.
            where: Says in Python of a row whether it fulfils the source's ``where``, which is SQL.

        Raises:
            DefinitionError: The definitions do not hold together.
            InputError: There is no such definition, or rows do not fit their source.
        """
        definitions, found = self._find(tested)
        service = _as_service(found)
        sources = {view.source.name: view.source for view, _ in service.needed()}
        read = {
            name: read_rows(
                source,
                told,
                [view for view in definitions.views.values() if view.source.name == name],
                where,
            )
            for name, (source, told) in _by_source(service, sources, rows).items()
        }
        return History(service, read)

    def _find(self, tested: str | Tested) -> tuple[Definitions, Tested]:
        if not isinstance(tested, str):
            definitions = gather({"tested": tested})
            check(definitions)
            return definitions, tested
        definitions = _project(self._project_folder())
        known: dict[str, Tested] = {
            **definitions.services,
            **definitions.on_demand,
            **definitions.views,
        }
        if tested not in known:
            raise InputError.unknown("view or service", tested, known)
        return definitions, known[tested]

    def _project_folder(self) -> Path:
        start = Path() if self._folder is None else self._folder
        for folder in (start.resolve(), *start.resolve().parents):
            if (folder / FILE_NAME).is_file():
                return folder
        raise InputError(
            f"there is no {FILE_NAME} in {start} or above it",
            hint="put the test beside it, or give the definition itself instead of its name",
        )


@cache
def _project(folder: Path) -> Definitions:
    definitions = load(folder)
    check(definitions)
    return definitions


def _as_service(tested: Tested) -> FeatureService:
    if isinstance(tested, FeatureService):
        return tested
    return FeatureService(tested.name, features=[tested])


def _by_source(
    service: FeatureService, sources: Mapping[str, Source], rows: Rows | Mapping[str, Rows]
) -> dict[str, tuple[Source, Rows]]:
    """Say which rows are whose; a source without any has none."""
    if isinstance(rows, Mapping):
        for name in rows:
            if name not in sources:
                raise InputError.unknown(f"source of {service.name}", name, sources)
        return {name: (source, rows.get(name, ())) for name, source in sources.items()}
    if len(sources) > 1:
        raise InputError(
            f"{service.name} reads the sources {', '.join(sources)}, and the rows do not say whose "
            "they are",
            hint="give a dictionary of source name to rows",
        )
    return {name: (source, rows) for name, source in sources.items()}
