"""Serve metrics to Prometheus: http://127.0.0.1:PORT/metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from twinlake.errors import EnvironmentFailure

_LOOPBACK = "127.0.0.1"


class Served(Collector):
    """Metrics that can be served; who has some says in ``collect`` which."""

    def serve(self, port: int) -> int:
        """Serve the metrics on this machine's own address; give the port.

        Args:
            port: Where; 0 for any that is free.

        Raises:
            EnvironmentFailure: The port is taken.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        try:
            server, _ = start_http_server(port, _LOOPBACK, registry)
        except OSError as error:
            raise EnvironmentFailure(
                f"metrics cannot be served on port {port}: {error.strerror}",
                hint="name another with --metrics-port",
            ) from error
        return int(server.server_port)
