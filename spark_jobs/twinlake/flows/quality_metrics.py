"""How well models do, in the form that Prometheus reads.

twinlake_quality{model, metric, of}              the newest final window's value
twinlake_quality_records{model, metric, of}      on how many records it rests
twinlake_quality_model_version{model}            the newest version there
twinlake_quality_window_end_seconds{model}       until when the newest final window reaches
twinlake_quality_predictions_total{model, verdict}  counted, late, unlabelled, unscored
twinlake_quality_waiting{model}                  predictions whose label is waited for
twinlake_quality_labels_total{model, verdict}    used, duplicate, conflicting, unknown, ...
twinlake_alert_raised{model, rule}               1 while the alert is on
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from twinlake.assurance.quality import Sums
from twinlake.flows.metrics_server import Served
from twinlake.flows.monitoring import Watch

# Window end in microseconds, model version, value, records.
_Newest = tuple[int, int, float, int]
_NO_VERSION = -1


class QualityMetrics(Served):
    """The newest final windows of each model, as metrics."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str, str], _Newest] = {}
        self._sums: dict[str, Sums] = {}
        self._raised: dict[str, Mapping[str, bool]] = {}

    def note(self, model: str, metrics: pa.Table) -> None:
        """Take note of final windows: of each metric the newest window and version stays."""
        ends = metrics.column("window_end").cast(pa.int64()).to_pylist()
        names = ("model_version", "metric", "of", "value", "records")
        others = (metrics.column(name).to_pylist() for name in names)
        for end, version, metric, of, value, records in zip(ends, *others, strict=True):
            key = (model, metric, of or "")
            row = (end, _NO_VERSION if version is None else version, value, records)
            known = self._newest.get(key)
            if known is None or row[:2] >= known[:2]:
                self._newest[key] = row

    def note_sums(self, model: str, sums: Sums) -> None:
        """Take note of what became of all predictions and labels."""
        self._sums[model] = sums

    def note_alerts(self, model: str, raised: Mapping[str, bool]) -> None:
        """Take note of which alerts are on."""
        self._raised[model] = raised

    def look(self, seen: Watch) -> None:
        """Take note of what was seen of a model."""
        if seen.newest is not None:
            self.note(seen.model, seen.newest)
        self.note_sums(seen.model, seen.sums)
        self.note_alerts(seen.model, dict.fromkeys(seen.raised, True))

    def collect(self) -> Iterator[Metric]:
        """Give all metrics as they are now."""
        labels = ["model", "metric", "of"]
        value = GaugeMetricFamily("twinlake_quality", "Newest final window", labels=labels)
        records = GaugeMetricFamily("twinlake_quality_records", "What it rests on", labels=labels)
        newest: dict[str, tuple[int, int]] = {}
        for key, (end, version, figure, count) in self._newest.items():
            value.add_metric(list(key), figure)
            records.add_metric(list(key), count)
            newest[key[0]] = max(newest.get(key[0], (end, version)), (end, version))
        versions = GaugeMetricFamily(
            "twinlake_quality_model_version", "Newest version there", labels=["model"]
        )
        until = GaugeMetricFamily(
            "twinlake_quality_window_end_seconds", "Until when it reaches", labels=["model"]
        )
        for model, (end, version) in newest.items():
            until.add_metric([model], end / 1_000_000)
            if version != _NO_VERSION:
                versions.add_metric([model], version)
        raised = GaugeMetricFamily("twinlake_alert_raised", "Alerts", labels=["model", "rule"])
        for model, rules in self._raised.items():
            for rule, is_on in rules.items():
                raised.add_metric([model, rule], float(is_on))
        yield from (value, records, versions, until, raised)
        yield from self._counters()

    def _counters(self) -> Iterator[Metric]:
        by_verdict = ["model", "verdict"]
        said = CounterMetricFamily(
            "twinlake_quality_predictions", "Predictions by what became of them", labels=by_verdict
        )
        labels = CounterMetricFamily(
            "twinlake_quality_labels", "Labels by verdict", labels=by_verdict
        )
        waiting = GaugeMetricFamily(
            "twinlake_quality_waiting", "Predictions without their label yet", labels=["model"]
        )
        for model, sums in self._sums.items():
            for verdict in ("counted", "late", "unlabelled", "unscored"):
                said.add_metric([model, verdict], getattr(sums, verdict))
            for verdict, count in sums.labels.items():
                if verdict != "waiting":
                    labels.add_metric([model, verdict], count)
            waiting.add_metric([model], sums.waiting)
        yield from (said, labels, waiting)
