"""twinlake: one definition of a feature, two stores that always agree.

Importing it loads the definitions only; ``open`` loads what works on data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinlake.definitions.clocks import Clock
from twinlake.definitions.entities import Entity
from twinlake.definitions.expectations import Expectation
from twinlake.definitions.on_demand import OnDemandView, Request, on_demand
from twinlake.definitions.quality import Alert, Labels, Quality
from twinlake.definitions.services import FeatureService, Model
from twinlake.definitions.sources import DeltaTable, Derived, Files, Kafka, Source
from twinlake.definitions.views import Aggregate, Column, FeatureView
from twinlake.errors import TwinlakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike

    from pyspark.sql import SparkSession

    from twinlake.flows.feature_store import FeatureStore

__all__ = [
    "Aggregate",
    "Alert",
    "Clock",
    "Column",
    "DeltaTable",
    "Derived",
    "Entity",
    "Expectation",
    "FeatureService",
    "FeatureView",
    "Files",
    "Kafka",
    "Labels",
    "Model",
    "OnDemandView",
    "Quality",
    "Request",
    "Source",
    "TwinlakeError",
    "on_demand",
    "open",
]


def open(  # noqa: A001 (it is read as twinlake.open)
    project: str | PathLike[str],
    env: str = "local",
    state: str | PathLike[str] | None = None,
    sources: Mapping[str, str | PathLike[str]] | None = None,
    spark: SparkSession | None = None,
    tell: Callable[[str], None] | None = None,
) -> FeatureStore:
    """Open the feature store of a project.

    Args:
        project: The folder that holds ``features.py``.
        env: The environment: the name of a file in ``conf/``.
        state: Where all that is made is kept, instead of where the environment says.
        sources: Source name to the files to read instead of the definition's.
        spark: A session to use, as a notebook server or a cluster made it; it is not stopped.
        tell: Is given progress, one line at a time, such as ``print``; else it is logged.

    Raises:
        InputError: There is no such environment, or its file does not fit.
    """
    from twinlake.flows.feature_store import open_store

    return open_store(project, env, state, sources, spark, tell)
