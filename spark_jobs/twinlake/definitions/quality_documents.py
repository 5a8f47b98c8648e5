"""What is watched of a model, as a part of its JSON document and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from twinlake.definitions.quality import Alert, Labels, Quality
from twinlake.definitions.sources import Source

_TOPICS = ("topic", "totals_topic", "alerts_topic")


def quality_document(quality: Quality) -> dict[str, Any]:
    """Write what is watched; the source of labels is named."""
    labels = quality.labels
    return {
        "window": quality.window,
        "lateness": quality.lateness,
        "labels": labels
        and {
            "source": labels.source.name,
            "prediction_id": _as_given(labels.prediction_id),
            "label": labels.label,
            "within": labels.within,
        },
        "alerts": [asdict(alert) for alert in quality.alerts],
        **{role: getattr(quality, role) for role in _TOPICS},
    }


def _as_given(columns: Mapping[str, str] | Sequence[str]) -> dict[str, str] | list[str]:
    return dict(columns) if isinstance(columns, Mapping) else list(columns)


def read_quality(item: Mapping[str, Any], sources: Mapping[str, Source]) -> Quality:
    """Read what ``quality_document`` wrote."""
    labels = item["labels"]
    return Quality(
        window=item["window"],
        lateness=item["lateness"],
        labels=labels and Labels(**{**labels, "source": sources[labels["source"]]}),
        alerts=tuple(Alert(**alert) for alert in item["alerts"]),
        **{role: item.get(role, "") for role in _TOPICS},
    )
