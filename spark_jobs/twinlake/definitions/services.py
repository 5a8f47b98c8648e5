"""Feature services and models: what is trained and served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from twinlake.definitions.views import FeatureView, Selection


@dataclass(frozen=True)
class FeatureService:
    """The ordered list of features that one model takes.

    Attributes:
        name: The service's name.
        features: Whole views, or ``view.select("a", "b")``.
        description: For people; no part of the meaning.
    """

    name: str
    features: Sequence[FeatureView | Selection]
    description: str = ""

    def selections(self) -> Iterator[tuple[FeatureView, tuple[str, ...]]]:
        """Yield each view with the names of the features taken from it, in order."""
        for item in self.features:
            if isinstance(item, Selection):
                yield item.view, tuple(item.names)
            else:
                yield item, tuple(name for name, *_ in item.declared())


@dataclass(frozen=True)
class Model:
    """What is trained on a training set of a service.

    Attributes:
        name: The model's name in the model registry.
        service: Where its features come from.
        label: The spine column that it forecasts.
        spine_features: Spine columns that it takes beside the service's features.
        baselines: Naive forecast to compare with: its name to the feature that it is.
        parameters: XGBoost's parameters.
        rounds: How many trees at most.
        test_fraction: The last part of time that is held out.
        description: For people; no part of the meaning.
    """

    name: str
    service: FeatureService
    label: str
    spine_features: Sequence[str] = ()
    baselines: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)
    rounds: int = 200
    test_fraction: float = 0.2
    description: str = ""
