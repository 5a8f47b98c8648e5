"""How models do: what was counted of their predictions, and figures window after window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twinlake.assurance.alerting import breaks
from twinlake.definitions.quality import Alert, Quality
from twinlake.definitions.services import Model
from twinlake.flows.project import Project
from twinlake.registry import notes
from twinlake.ui.samples import read_rows

# Windows that a page shows, the newest ones, and rows that are read for them at most.
WINDOWS = 90
_ROWS = 50_000
# What is counted anyhow, or is for a picture of its own; the others are worth one.
_COUNTED = ("unscored", "labelled", "unlabelled", "calibration_forecast", "calibration_actual")


@dataclass(frozen=True)
class Point:
    """A figure of one window.

    Attributes:
        start_us: When the window began.
        version: The version of the model.
        value: The figure.
        records: Of how many records it is.
        share: Of the greatest value shown, from 0 to 1.
        is_beyond: Whether an alert says that it is beyond its bound.
    """

    start_us: int
    version: int | None
    value: float
    records: int
    share: float
    is_beyond: bool


@dataclass(frozen=True)
class Chart:
    """A figure over windows.

    Attributes:
        name: What it is, and of what.
        points: Oldest first.
        bounds: Of alerts, as shares of the greatest value shown.
    """

    name: str
    points: Sequence[Point]
    bounds: Sequence[float]


def told(project: Project, model: Model) -> dict[str, Any]:
    """Give what is known of a model that is watched; of one that was never, next to nothing."""
    quality = model.quality or Quality()
    note = notes.read(project.places.quality_note(model.name))
    shown: dict[str, Any] = {"model": model, "quality": quality, "note": note, "charts": []}
    shown["watched"] = project.places.is_held("monitor", model.name)
    if note is None:
        return shown
    waiting = notes.read(project.places.alerts_note(model.name)) or {"events": []}
    shown["waiting"] = len(waiting["events"])
    shown["charts"] = _charts(project, model, quality, note["pass"])
    return shown


def _charts(project: Project, model: Model, quality: Quality, newest: int) -> list[Chart]:
    path = project.places.quality(model.name, "figures")
    if not (path / "_delta_log").is_dir():
        return []
    # A pass brings a window at least, so that older ones are of no windows shown.
    rows = read_rows(path, where=pc.field("_pass") > newest - WINDOWS, most=_ROWS)
    start = rows["window_start"].cast(pa.int64())
    rows = rows.set_column(rows.schema.get_field_index("window_start"), "window_start", start)
    rows = rows.sort_by([("window_start", "ascending"), ("model_version", "ascending")])
    shown = set(sorted(pc.unique(start).to_pylist())[-WINDOWS:])
    figures: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        if row["metric"] not in _COUNTED and row["window_start"] in shown:
            name = f"{row['metric']} of {row['of']}" if row["of"] else row["metric"]
            figures.setdefault(name, []).append(row)
    return [_chart(name, of, quality.alerts) for name, of in figures.items()]


def _chart(name: str, rows: Sequence[dict[str, Any]], alerts: Sequence[Alert]) -> Chart:
    metric, of = rows[0]["metric"], rows[0]["of"] or None
    on = [alert for alert in alerts if (alert.metric, alert.of) == (metric, of)]
    bounds = [bound for alert in on for bound in (alert.above, alert.below) if bound is not None]
    high = max(*(abs(row["value"]) for row in rows), *map(abs, bounds), 1e-9)
    points = [
        Point(
            row["window_start"],
            row["model_version"],
            row["value"],
            row["records"],
            abs(row["value"]) / high,
            any(breaks(alert, row["value"]) for alert in on),
        )
        for row in rows
    ]
    return Chart(name.replace("_", " "), points, [abs(bound) / high for bound in bounds])
