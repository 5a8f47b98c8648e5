"""What is seen of models, in the form that Prometheus reads: http://127.0.0.1:PORT/metrics.

twinlake_watched_predictions_total{model, kind}     rows in final windows (counted), and late ones
twinlake_quality{model, model_version, metric, of}  figures of the newest final window
twinlake_alert_raised{model, alert}                 1 while an alert is raised
twinlake_alerts_waiting{model}                      alerts that a place has not taken yet
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from twinlake.flows.metrics_server import Served
from twinlake.flows.monitoring import Watch


class QualityMetrics(Served):
    """Metrics of models that are watched."""

    def __init__(self) -> None:
        self._seen: dict[str, Watch] = {}

    def note(self, seen: Watch) -> None:
        """Remember what was seen of a model."""
        self._seen[seen.model] = seen

    def collect(self) -> Iterator[Metric]:
        """Give all metrics as they are now."""
        rows = CounterMetricFamily(
            "twinlake_watched_predictions", "Predictions seen", labels=["model", "kind"]
        )
        quality = GaugeMetricFamily(
            "twinlake_quality",
            "Figures of the newest final window",
            labels=["model", "model_version", "metric", "of"],
        )
        raised = GaugeMetricFamily("twinlake_alert_raised", "Alerts", labels=["model", "alert"])
        waiting = GaugeMetricFamily(
            "twinlake_alerts_waiting", "Alerts that a place has not taken", labels=["model"]
        )
        for name, seen in self._seen.items():
            rows.add_metric([name, "counted"], seen.counted)
            rows.add_metric([name, "late"], seen.late)
            waiting.add_metric([name], seen.waiting)
            for one in seen.newest:
                version = str(seen.newest_version)
                quality.add_metric([name, version, one.metric, one.of], one.value)
            for alert in seen.raised:
                raised.add_metric([name, alert], 1)
        yield from (rows, quality, raised, waiting)
