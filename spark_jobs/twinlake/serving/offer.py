"""What a server has to offer: the services and models that are applied, made ready to be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twinlake.definitions.clocks import WALL
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.loading import load
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.services import FeatureService, Model
from twinlake.errors import StateError, TwinlakeError
from twinlake.registry.state import Landings, Publications, Registry
from twinlake.serving.reading import ReadyService, make_ready
from twinlake.settings import Settings

# A folder that changed this recently may change again without its time telling.
_SETTLED_US = 1_000_000


@dataclass(frozen=True)
class Offer:
    """What is served.

    Attributes:
        number: The registry's version that it comes from; 0 when nothing was applied yet.
        clock: As of when reads answer that name no moment.
        services: By name, those that can be read.
        unready: By name, those that cannot in their newest meaning, and why; one that could be
            read before is served as it was until the newest is published.
        models: By name.
    """

    number: int = 0
    clock: str = WALL
    services: Mapping[str, ReadyService] = field(default_factory=dict)
    unready: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)


def renewed(settings: Settings, before: Offer) -> Offer:
    """Look what is applied and published; the same offer where nothing has changed.

    Raises:
        StateError: The registry is damaged, or of another version of twinlake.
    """
    registry = Registry(settings.state)
    if registry.number() == before.number and not before.unready:
        return before
    applied = registry.current()
    if applied.number == 0:
        return before
    definitions = applied.definitions
    defined: Mapping[str, OnDemandView] = {}
    broken: str | None = None
    if any(service.on_demand() for service in definitions.services.values()):
        try:
            defined = load(settings.project).on_demand
        except TwinlakeError as error:
            broken = error.message
    services, unready = {}, {}
    for name, service in definitions.services.items():
        try:
            if broken is not None and service.on_demand():
                raise StateError(broken)
            _require_published(settings, service)
            services[name] = make_ready(service, defined)
        except TwinlakeError as error:
            unready[name] = error.message
            if name in before.services:
                services[name] = before.services[name]
    clock = definitions.clock.reading
    return Offer(applied.number, clock, services, unready, dict(definitions.models))


def _require_published(settings: Settings, service: FeatureService) -> None:
    for view, _ in service.needed():
        stored = view.stored
        if not Publications(settings.state, stored.name).all(view_fingerprint(stored)):
            raise StateError(
                f"view {stored.name} was never published", hint="run `twinlake materialize` first"
            )


class DataClocks:
    """The newest accepted event of each source, read again when something was landed.

    Args:
        settings: Where the state is.
        now_us: Gives the present.
    """

    def __init__(self, settings: Settings, now_us: Callable[[], int]) -> None:
        self._state = settings.state
        self._now_us = now_us
        self._held: dict[str, tuple[int, int | None]] = {}

    def newest_us(self, source: str) -> int | None:
        """Give the newest accepted event of a source; None where nothing was landed."""
        try:
            changed_ns = (self._state / "landings" / source).stat().st_mtime_ns
        except FileNotFoundError:
            return None
        held = self._held.get(source)
        if held is not None and held[0] == changed_ns:
            return held[1]
        newest_us = Landings(self._state, source).newest_event_us()
        if self._now_us() - changed_ns // 1_000 > _SETTLED_US:
            self._held[source] = changed_ns, newest_us
        return newest_us
