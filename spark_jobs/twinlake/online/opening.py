"""Find and open a project's online store, and name the tables in it."""

from __future__ import annotations

from dataclasses import replace

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import stored_features
from twinlake.definitions.views import FeatureView
from twinlake.errors import EnvironmentFailure
from twinlake.java import SETUP_HINT
from twinlake.online.store import OnlineStore, OnlineTable
from twinlake.registry.identity import ensure_state_id, state_id
from twinlake.registry.state import table_name
from twinlake.settings import Settings


def open_store(settings: Settings) -> OnlineStore:
    """Open the online store of an environment.

    Raises:
        EnvironmentFailure: It cannot be reached, opened or created.
    """
    # Each with what it needs: the driver of Cassandra takes half a second to load.
    if settings.online_kind == "sqlite":
        from twinlake.online.sqlite import SqliteStore

        settings.online_path.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(settings.online_path)
    try:
        from twinlake.online.cassandra import CassandraStore
    except ImportError as error:
        raise EnvironmentFailure(
            f"the driver of Cassandra cannot be loaded: {error}", hint=SETUP_HINT
        ) from error
    return CassandraStore(replace(settings.cassandra, keyspace=keyspace_of(settings)))


def keyspace_of(settings: Settings) -> str:
    """Name the keyspace of a project's tables; a state that has no id yet gets one."""
    told = settings.cassandra.keyspace
    return told.replace("{id}", ensure_state_id(settings.state)) if "{id}" in told else told


def has_online_store(settings: Settings) -> bool:
    """Whether there is anything to read online; opens nothing."""
    if settings.online_kind == "sqlite":
        return settings.online_path.exists()
    named = "{id}" in settings.cassandra.keyspace
    return not named or state_id(settings.state) is not None


def view_table(view: FeatureView) -> str:
    """Name a view's tables, offline and online."""
    return table_name(view.name, view_fingerprint(view))


def online_table(view: FeatureView) -> OnlineTable:
    """Describe the online table of a view."""
    stored = view.stored
    return OnlineTable(
        view_table(stored),
        tuple(stored.entity.join_keys.items()),
        tuple((feature.name, feature.type) for feature in stored_features(stored)),
    )
