"""Run the API in one process or several, until told to stop."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.supervisors.multiprocess import Multiprocess

from twinlake.errors import EnvironmentFailure
from twinlake.registry.places import Places
from twinlake.serving.api import make_api
from twinlake.serving.connections import PatientConfig, PatientProtocol
from twinlake.serving.metrics import FOLDER
from twinlake.serving.options import ServingOptions
from twinlake.settings import Settings

_BACKLOG = 1024


class BriefFormatter(logging.Formatter):
    """One line a message: a stack trace would show what lies inside, such as values and paths.

    Args:
        verb: Whose messages they are.
    """

    def __init__(self, verb: str) -> None:
        super().__init__()
        self.verb = verb

    def format(self, record: logging.LogRecord) -> str:
        """Write a line, of an exception only its class."""
        kind = record.exc_info[0] if record.exc_info else None
        told = record.getMessage().splitlines() or [""]
        return f"twinlake {self.verb}: {told[0]}" + (f" ({kind.__name__})" if kind else "")


def logging_of(verb: str) -> dict[str, Any]:
    """Configure the log of a server, whose messages name its verb."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"brief": {"()": BriefFormatter, "verb": verb}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "brief"}},
        "loggers": {
            "twinlake": {"handlers": ["stderr"], "level": "INFO"},
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING"},
            # Python's own loop tells of tasks that failed, with their stack.
            "asyncio": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
        },
    }


def run(
    settings: Settings,
    options: ServingOptions,
    now_us: Callable[[], int],
    listening: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT comes; requests under way are finished then.

    Args:
        settings: Where things are.
        options: Where to listen, and the limits.
        now_us: Gives the present.
        listening: Is told the address once it is bound.

    Raises:
        EnvironmentFailure: The address cannot be had, or a process cannot start.
    """
    with bound(options.host, options.port) as listener, _metrics_folder(settings, options):
        host, port = listener.getsockname()[:2]
        config = PatientConfig(
            partial(_make, settings, options, now_us),
            factory=True,
            http=PatientProtocol,
            loop="uvloop",
            ws="none",
            lifespan="on",
            workers=options.workers,
            log_config=logging_of("serve"),
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            limit_concurrency=options.connections,
            timeout_graceful_shutdown=options.stop_s,
        )
        config.slow_s = float(options.slow_s)
        shown = f"[{host}]" if ":" in host else host
        listening(f"http://{shown}:{port}")
        if options.workers == 1:
            OneProcess(config).run([listener])
        else:
            _several(config, listener)


def _make(settings: Settings, options: ServingOptions, now_us: Callable[[], int]) -> FastAPI:
    """Make the application of a process that does nothing else."""
    # An answer of a hundred entities is thousands of small objects without cycles: what is loaded
    # by now need not be looked through for garbage each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    return make_api(settings, options, now_us)


class OneProcess(Server):
    """A server that ends as told, instead of by the signal that told it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Heed signals while serving, and leave it at that."""
        kinds = (signal.SIGTERM, signal.SIGINT)
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)


def _several(config: Config, listener: socket.socket) -> None:
    supervisor = Multiprocess(config, [listener])
    supervisor.run()
    codes = {process.exitcode for process in supervisor.processes}
    if not codes <= {0, -signal.SIGTERM, -signal.SIGINT}:
        raise EnvironmentFailure(
            "a serving process could not start, or did not end well", hint="see what it said above"
        )


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address for a while.

    Raises:
        EnvironmentFailure: It cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, port))
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot listen on {host}:{port}: {error.strerror}",
                hint="name another --port, 0 for any free one",
            ) from error
        made.listen(_BACKLOG)
        made.set_inheritable(True)
        yield made


@contextmanager
def _metrics_folder(settings: Settings, options: ServingOptions) -> Iterator[None]:
    """Give processes a folder to count in together, before any of them loads the counters."""
    if options.workers == 1:
        yield
        return
    with Places(settings.state).sandbox("serving") as folder:
        os.environ[FOLDER] = str(folder)
        try:
            yield
        finally:
            del os.environ[FOLDER]
