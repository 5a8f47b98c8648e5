"""Live parity: recompute some served keys from their events while a stream runs.

Each row is compared at its own ingest version and as of the moment at which it was served, so that
what lands meanwhile changes nothing and lag is no difference. Only the events that windows reach
are read, so a check takes as long after a year as after a day.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.assurance.comparison import Comparison
from twinlake.definitions.views import FeatureView
from twinlake.flows.checking import (
    Verdict,
    compare_sides,
    compared_shape,
    served_rows,
    served_schema,
)
from twinlake.flows.project import Project, view_table
from twinlake.flows.reading import clock_reading
from twinlake.kernel.views import ViewShape
from twinlake.lake import comparison
from twinlake.lake.recent import RecentEvents

KEYS = 20


@dataclass(frozen=True)
class Sample:
    """What was served of some keys of a view at one moment.

    Attributes:
        view: The view.
        rows: One per key, as parity takes them.
    """

    view: FeatureView
    rows: Sequence[dict[str, Any]]


class LiveCheck:
    """Checks keys of the views that a stream publishes.

    Args:
        project: The project.
        views: The views.
        seed: Chooses other keys.
    """

    def __init__(self, project: Project, views: Sequence[FeatureView], seed: int = 0) -> None:
        self._project = project
        self._views = list(views)
        self._chance = random.Random(seed)  # noqa: S311 (which keys is no secret)

    def sample(self, recent: RecentEvents) -> list[Sample]:
        """Serve keys of some recent events; no batch may be published meanwhile."""
        samples = []
        for view in self._views:
            names = list(view.entity.join_keys)
            keys = [
                key
                for key in dict.fromkeys(recent.some_keys(names, KEYS, self._chance))
                if None not in key
            ]
            if keys:
                at_us = clock_reading(self._project, view, None).at_us
                samples.append(Sample(view, served_rows(self._project, view, keys, at_us)))
        return samples

    def compare(self, samples: Sequence[Sample]) -> Verdict:
        """Compare what was served with what independent code makes of the events."""
        verdict = Verdict()
        for sample in samples:
            self._compare(sample, verdict)
        return verdict

    def _compare(self, sample: Sample, verdict: Verdict) -> None:
        project, view = self._project, sample.view
        file = project.places.new_scratch() / f"live-parity-{view_table(view)}.parquet"
        pq.write_table(pa.Table.from_pylist(sample.rows, schema=served_schema(view)), file)
        newest = [row["event_us"] for row in sample.rows if row.get("event_us") is not None]
        hop_us = view.hop_us or 0
        since_us = min(newest) - ViewShape.of(view).reach_us - 2 * hop_us if newest else None
        frame = comparison.sides(
            project.spark,
            view,
            project.places.events(view.source.name),
            None,
            file,
            only_served=True,
            since_us=since_us,
        )
        wanted = Comparison(
            keys=tuple(view.entity.join_keys),
            shape=compared_shape(view),
            version=max(row["version"] for row in sample.rows),
            covered=(),
        )
        compare_sides(verdict, view, frame, wanted, 0)
        verdict.keys += len(sample.rows)
        file.unlink(missing_ok=True)
