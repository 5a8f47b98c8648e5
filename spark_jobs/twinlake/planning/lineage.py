"""What depends on what: from sources over features and services to training sets and models.

Pure functions over definitions and over what was built with them. What was built stays as it was
built, law 8; that it depends on something means that the same request would no longer give it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from twinlake.definitions.documents import Definitions
from twinlake.definitions.fingerprints import service_fingerprint
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.services import FeatureService
from twinlake.definitions.views import FeatureView


@dataclass(frozen=True, slots=True)
class BuiltSet:
    """A training set that is there: its name, its service, and the service's fingerprint then."""

    name: str
    service: str
    definition: str


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """A registered version of a model, and the training set that it learned from."""

    model: str
    version: int
    training_set: str


@dataclass(frozen=True, slots=True)
class Built:
    """Everything that was built."""

    training_sets: Sequence[BuiltSet] = ()
    versions: Sequence[TrainedVersion] = ()


@dataclass(frozen=True, slots=True)
class Dependents:
    """What depends on some features.

    Attributes:
        on_demand: On-demand views that read one of them.
        services: Services that take one of them, or something computed from it.
        models: Models of these services.
        training_sets: Training sets built of these services as they are defined now.
        versions: Versions of models that learned from these.
    """

    on_demand: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    training_sets: tuple[str, ...] = ()
    versions: tuple[TrainedVersion, ...] = ()

    @property
    def were_built(self) -> bool:
        """Whether a training set or a model depends on it."""
        return bool(self.training_sets or self.versions)


def dependents(
    definitions: Definitions, built: Built, view: str, features: Collection[str] | None = None
) -> Dependents:
    """Find what depends on a view, stored or on demand.

    Args:
        definitions: What is applied.
        built: What was built.
        view: The view's name.
        features: Only some of its features; all without it.
    """
    readers = {
        each.name
        for each in definitions.on_demand.values()
        if any(_takes(read, names, view, features) for read, names in each.reads())
    }
    services = [
        service
        for service in definitions.services.values()
        if any(
            _takes(part, names, view, features) or part.name in readers
            for part, names in service.parts()
        )
    ]
    return _built_of(definitions, built, services, tuple(sorted(readers)))


def dependents_of_service(definitions: Definitions, built: Built, service: str) -> Dependents:
    """Find what depends on a service."""
    return _built_of(definitions, built, [definitions.services[service]], ())


def _built_of(
    definitions: Definitions,
    built: Built,
    services: Sequence[FeatureService],
    readers: tuple[str, ...],
) -> Dependents:
    current = {service.name: service_fingerprint(service) for service in services}
    sets = [one.name for one in built.training_sets if current.get(one.service) == one.definition]
    return Dependents(
        readers,
        tuple(current),
        tuple(m.name for m in definitions.models.values() if m.service.name in current),
        tuple(sets),
        tuple(one for one in built.versions if one.training_set in sets),
    )


def _takes(
    part: FeatureView | OnDemandView,
    names: Sequence[str],
    view: str,
    features: Collection[str] | None,
) -> bool:
    """Tell whether a part of a service, or what a function reads, takes some features of a view."""
    if isinstance(part, OnDemandView):
        return part.name == view and (features is None or not set(features).isdisjoint(names))
    stored = part.stored
    if stored.name != view:
        return False
    # Under another name the features stand in the same order.
    pairs = zip(part.declared(), stored.declared(), strict=True)
    own = {joined: name for (joined, *_), (name, *_) in pairs}
    return features is None or not set(features).isdisjoint(own.get(name, "") for name in names)
