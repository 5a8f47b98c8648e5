"""What a server did, in the form that Prometheus reads: /metrics.

twinlake_requests_total{route, status}         requests by route and HTTP status
twinlake_request_seconds{route}                how long they took
twinlake_values_total{service, status}         values served, by their status
twinlake_late_total{service}                   requests whose deadline came first
twinlake_predictions_total{model}              forecasts made
twinlake_logged_total, twinlake_log_dropped_total   served vectors that were logged, and not
twinlake_refresh_failures_total{what}          looks at what is applied, stored or registered
twinlake_model_version{model}                  the version in use

Where several processes serve, each writes to files in the folder that PROMETHEUS_MULTIPROC_DIR
names, and whichever is asked adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

# prometheus-client reads it when it is loaded.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ServingMetrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self._registry = to = CollectorRegistry()
        self._requests = Counter("twinlake_requests", "Requests", ["route", "status"], registry=to)
        self._seconds = Histogram(
            "twinlake_request_seconds",
            "How long they took",
            ["route"],
            buckets=_BUCKETS,
            registry=to,
        )
        self._values = Counter(
            "twinlake_values",
            "Values served, by their status",
            ["service", "status"],
            registry=to,
        )
        self._late = Counter(
            "twinlake_late",
            "Requests whose deadline came first",
            ["service"],
            registry=to,
        )
        self._predictions = Counter(
            "twinlake_predictions", "Forecasts made", ["model"], registry=to
        )
        self.logged = Counter("twinlake_logged", "Served vectors that were logged", registry=to)
        self.dropped = Counter(
            "twinlake_log_dropped",
            "Served vectors that found no room in the log",
            registry=to,
        )
        self._failures = Counter(
            "twinlake_refresh_failures",
            "What failed, such as a look for a champion",
            ["what"],
            registry=to,
        )
        self._version = Gauge(
            "twinlake_model_version",
            "The version in use",
            ["model"],
            multiprocess_mode="mostrecent",
            registry=to,
        )

        # Looking a counter up by its labels takes longer than counting; there are few of them.
        self._of_route = cache(self._seconds.labels)
        self._of_answer = cache(self._requests.labels)
        self._of_status = cache(self._values.labels)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._of_answer(route, status).inc()
        self._of_route(route).observe(seconds)

    def served(self, service: str, counts: Mapping[str, int]) -> None:
        """Count values by status."""
        for status, count in counts.items():
            self._of_status(service, status).inc(count)

    def late(self, service: str) -> None:
        """Count a request whose deadline came first."""
        self._late.labels(service).inc()

    def predicted(self, model: str, count: int) -> None:
        """Count forecasts."""
        self._predictions.labels(model).inc(count)

    def failed(self, what: str) -> None:
        """Count a look that failed."""
        self._failures.labels(what).inc()

    def uses(self, model: str, version: int) -> None:
        """Tell which version of a model is in use."""
        self._version.labels(model).set(version)

    def text(self) -> bytes:
        """Write all counters down, those of all processes together."""
        folder = os.environ.get(FOLDER)
        if not folder:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)
