"""Run the pages in this process, until told to stop."""

from __future__ import annotations

from collections.abc import Callable

from uvicorn import Config

from twinlake.serving.connections import PatientConfig, PatientProtocol
from twinlake.serving.process import OneProcess, bound, logging_of
from twinlake.ui.app import make_ui
from twinlake.ui.opening import Opening

HOST = "127.0.0.1"
_STOP_S = 5
_CONNECTIONS = 100


def run(opening: Opening, port: int, listening: Callable[[str], None]) -> None:
    """Serve the pages to this machine until SIGTERM or SIGINT comes; jobs end then, too.

    Args:
        opening: What they show.
        port: Where to listen; 0: any port.
        listening: Is told the address once it is bound.

    Raises:
        EnvironmentFailure: The address cannot be had.
    """
    with bound(HOST, port) as listener:
        config: Config = PatientConfig(
            make_ui(opening),
            http=PatientProtocol,
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=logging_of("ui"),
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_STOP_S,
        )
        listening(f"http://{HOST}:{listener.getsockname()[1]}")
        OneProcess(config).run([listener])
