"""The models in use: each champion is loaded beside the one that answers, then takes its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twinlake.errors import StateError
from twinlake.models.mlflow_session import has_database, tracking_store
from twinlake.settings import Settings

if TYPE_CHECKING:
    from twinlake.models.registered import Champion


class Champions:
    """The champions that a server holds.

    Args:
        settings: Where MLflow is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held: dict[str, Champion] = {}

    def get(self, model: str) -> Champion | None:
        """Give a model's champion; None where none was loaded yet."""
        return self._held.get(model)

    def look(self, model: str) -> Champion | None:
        """Ask MLflow for a model's champion, and hold it; None where it is held already.

        A request that has the one before goes on with that one.

        Raises:
            InputError: There is no champion; one that was held still answers.
            StateError: Its file is not the one that was registered; likewise.
            EnvironmentFailure: MLflow does not answer; likewise.
        """
        store, held = tracking_store(self._settings, model), self._held.get(model)
        if not has_database(store.uri):  # MLflow would make it, which takes seconds
            raise StateError("no model was trained yet", hint=f"run `twinlake train {model}` first")
        # What models are made of takes seconds to load, and who only serves features needs none.
        from twinlake.models.registered import load_champion, newer_champion

        if held is None:
            found: Champion | None = load_champion(store, model)
        else:
            found = newer_champion(store, model, held.version)
        if found is not None:
            self._held[model] = found
        return found

    def lacking(self, models: Iterable[str]) -> list[str]:
        """Name the models of which no champion was loaded."""
        return [model for model in models if model not in self._held]
