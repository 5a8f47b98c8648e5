"""What [serving] says, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinlake.errors import InputError
from twinlake.settings import MAX_PORT, Settings

# Of these, 0 means any port, and no logging.
_MAY_BE_ZERO = {"port", "log_one_in"}


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How features and forecasts are served.

    Attributes:
        host: The address to listen on.
        port: The port; 0 for any free one.
        workers: How many processes.
        deadline_ms: What the store has not answered by then has the status ``error``.
        entities: Most entities in a request.
        values: Most values in an answer.
        body_kb: The longest body of a request.
        readers: Threads of a process that read from the store.
        connections: Most connections of a process.
        slow_s: How long a client may take to send a request.
        stop_s: How long requests under way may take to end when told to stop.
        refresh_ms: How often to look what was applied and published.
        champion_s: How often to ask for a new champion.
        tokens: The file of tokens; None: whoever reaches the server may read everything.
        log_one_in: Of how many served vectors one is logged; 0: none.
        log_mb: Most that logged vectors may take up on disk.
        sagemaker: The model that the contract of SageMaker's containers answers with, if any.
    """

    host: str
    port: int
    workers: int
    deadline_ms: int
    entities: int
    values: int
    body_kb: int
    readers: int
    connections: int
    slow_s: int
    stop_s: int
    refresh_ms: int
    champion_s: int
    tokens: Path | None
    log_one_in: int
    log_mb: int
    sagemaker: str | None = None

    @property
    def deadline_s(self) -> float:
        """The deadline in seconds."""
        return self.deadline_ms / 1000


def serving_options(settings: Settings, **told: object) -> ServingOptions:
    """Read [serving], with what was told beside it; None there says nothing.

    Raises:
        InputError: A number is too small, or no port.
    """
    values = {**settings.serving, **{name: v for name, v in told.items() if v is not None}}
    for name, value in values.items():
        if isinstance(value, int) and value < (0 if name in _MAY_BE_ZERO else 1):
            raise InputError(
                f"[serving] {name} is {value}", hint="expected at least 1; conf/local.toml shows it"
            )
    if int(str(values["port"])) > MAX_PORT:
        raise InputError(f"[serving] port is {values['port']}", hint=f"at most {MAX_PORT}")
    values["tokens"] = Path(str(values["tokens"]))
    return ServingOptions(**values)  # type: ignore[arg-type]  # checked by load_settings
