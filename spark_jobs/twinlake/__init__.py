"""twinlake: one definition of a feature, two stores that always agree."""

from twinlake.definitions.clocks import Clock
from twinlake.definitions.entities import Entity
from twinlake.definitions.expectations import Expectation
from twinlake.definitions.services import FeatureService, Model
from twinlake.definitions.sources import Derived, Files, Kafka, Source
from twinlake.definitions.views import Aggregate, Column, FeatureView
from twinlake.errors import TwinlakeError

__all__ = [
    "Aggregate",
    "Clock",
    "Column",
    "Derived",
    "Entity",
    "Expectation",
    "FeatureService",
    "FeatureView",
    "Files",
    "Kafka",
    "Model",
    "Source",
    "TwinlakeError",
]
