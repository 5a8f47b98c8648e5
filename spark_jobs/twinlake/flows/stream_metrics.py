"""What a stream did, in the form that Prometheus reads: http://127.0.0.1:PORT/metrics.

twinlake_rows_total{source, verdict}          rows landed
twinlake_late_rows_total{source}              accepted rows older than what had been accepted
twinlake_below_horizon_rows_total{source}     accepted rows older than what is held in memory
twinlake_lag_records{source}                  records of the topic that wait to be read
twinlake_lake_publications_total{source}      publications that looked beyond what is held
twinlake_feature_rows_total{view}             feature rows appended
twinlake_online_rows_total{view}              online rows written
twinlake_online_retries_total{source}         online rows that had to be sent once more
twinlake_predictions_total{model, verdict}    predictions: positive, negative, none
twinlake_batches_total{source}                batches that held rows
twinlake_batch_seconds{source, part}          the newest batch: judge, land, score, publish
twinlake_freshness_seconds{source, quantile}  the newest batch: event to readable online
twinlake_data_clock_seconds{source}           the newest accepted event
twinlake_validations_total{source}            looks of Great Expectations at what was landed
twinlake_expectations_failed{source}          what did not hold the last time
twinlake_parity_cells_total{source, verdict}  served cells recomputed: equal, mismatching
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from twinlake.flows.metrics_server import Served
from twinlake.flows.stream_lander import Progress


class StreamMetrics(Served):
    """The newest progress of each source, as metrics."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}

    def note(self, source: str, progress: Progress) -> None:
        """Take note of what a stream did so far."""
        self._progress[source] = progress

    def collect(self) -> Iterator[Metric]:
        """Give all metrics as they are now."""
        yield from self._counters()
        seconds = GaugeMetricFamily(
            "twinlake_batch_seconds", "Seconds of the newest batch", labels=["source", "part"]
        )
        fresh = GaugeMetricFamily(
            "twinlake_freshness_seconds",
            "Event to readable online, newest batch",
            labels=["source", "quantile"],
        )
        clock = GaugeMetricFamily(
            "twinlake_data_clock_seconds", "The newest accepted event", labels=["source"]
        )
        lag = GaugeMetricFamily("twinlake_lag_records", "Records that wait", labels=["source"])
        failed = GaugeMetricFamily(
            "twinlake_expectations_failed", "Expectations that do not hold", labels=["source"]
        )
        for source, told in self._progress.items():
            if told.validations:
                failed.add_metric([source], told.expectations_failed)
            if told.lag is not None:
                lag.add_metric([source], told.lag)
            for part, spent in told.batch_s.items():
                seconds.add_metric([source, part], spent)
            for quantile, waited in told.freshness_s.items():
                fresh.add_metric([source, str(quantile)], waited)
            if told.clock_us is not None:
                clock.add_metric([source], told.clock_us / 1_000_000)
        yield from (seconds, fresh, clock, lag, failed)

    def _counters(self) -> Iterator[Metric]:
        rows = CounterMetricFamily("twinlake_rows", "Rows landed", labels=["source", "verdict"])
        late = CounterMetricFamily(
            "twinlake_late_rows", "Accepted rows that came late", labels=["source"]
        )
        below = CounterMetricFamily(
            "twinlake_below_horizon_rows",
            "Accepted rows older than what is held",
            labels=["source"],
        )
        looks = CounterMetricFamily(
            "twinlake_validations", "Looks of Great Expectations", labels=["source"]
        )
        retries = CounterMetricFamily(
            "twinlake_online_retries", "Online rows sent once more", labels=["source"]
        )
        lake = CounterMetricFamily(
            "twinlake_lake_publications", "Publications computed from the lake", labels=["source"]
        )
        batches = CounterMetricFamily(
            "twinlake_batches", "Batches that held rows", labels=["source"]
        )
        feature = CounterMetricFamily("twinlake_feature_rows", "Feature rows", labels=["view"])
        online = CounterMetricFamily("twinlake_online_rows", "Online rows", labels=["view"])
        cells = CounterMetricFamily(
            "twinlake_parity_cells", "Served cells recomputed", labels=["source", "verdict"]
        )
        said = CounterMetricFamily(
            "twinlake_predictions", "Predictions", labels=["model", "verdict"]
        )
        for source, told in self._progress.items():
            for verdict in ("accepted", "duplicate", "quarantined", "erased"):
                rows.add_metric([source, verdict], getattr(told, verdict))
            late.add_metric([source], told.late)
            below.add_metric([source], told.below_horizon)
            retries.add_metric([source], told.retries)
            looks.add_metric([source], told.validations)
            differ = told.parity_mismatching
            cells.add_metric([source, "equal"], told.parity_compared - differ)
            cells.add_metric([source, "mismatching"], differ)
            lake.add_metric([source], told.slow_batches)
            batches.add_metric([source], told.batches)
            for view, count in told.feature_rows.items():
                feature.add_metric([view], count)
            for view, count in told.online_rows.items():
                online.add_metric([view], count)
            for model, counts in told.scored.items():
                said.add_metric([model, "positive"], counts.positive)
                said.add_metric([model, "negative"], counts.predictions - counts.positive)
                said.add_metric([model, "none"], counts.unscored)
        yield from (rows, late, below, looks, retries, lake, batches, feature, online, cells, said)
