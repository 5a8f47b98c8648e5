"""Settings: what conf/<env>.toml and the environment say, as one frozen value.

From weak to strong: the built-in defaults (equal to conf/local.toml), the file of the environment,
the file of endpoints that it names, if there is one (where a local stack listens is known once it
runs), ``TWINLAKE_*`` variables, arguments. Nothing else in twinlake reads configuration.

    TWINLAKE_CONF                folder of the conf files
    TWINLAKE_STATE               state
    TWINLAKE_ONLINE_HOSTS        [online] hosts
    TWINLAKE_ONLINE_PORT         [online] port
    TWINLAKE_STREAM_BOOTSTRAP    [stream] bootstrap
    TWINLAKE_ALERTS_WEBHOOK      [alerts] webhook
    TWINLAKE_MLFLOW_TRACKING     [mlflow] tracking
    TWINLAKE_SPARK_MASTER        [spark] master
    TWINLAKE_DRIVER_MEMORY       [spark] driver_memory
    TWINLAKE_SHUFFLE_PARTITIONS  [spark] shuffle_partitions
    TWINLAKE_CACHE               where jars are kept (see java.py)
    TWINLAKE_STACK               the folder of the local stack (default: .stack/ in the checkout)
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinlake.errors import InputError
from twinlake.java import checkout, jars_folder

Value = str | int
Flat = dict[str, Value]

# Flat, "section.key"; equal to conf/local.toml, so that a wheel works without the file.
DEFAULTS: Mapping[str, Value] = {
    "state": "{project}/.twinlake",
    "lake.root": "{state}/lake",
    "online.kind": "sqlite",
    "online.path": "{state}/online.sqlite",
    "online.hosts": "127.0.0.1",
    "online.port": 9042,
    "online.datacenter": "",
    "online.keyspace": "twinlake_{id}",
    "online.replication": 3,
    "online.in_flight": 128,
    "online.request_ms": 3000,
    "online.read_s": 8,
    "online.write_s": 60,
    "stream.bootstrap": "",
    "endpoints": "",
    "mlflow.tracking": "sqlite:///{state}/mlflow.sqlite",
    "mlflow.artifacts": "{state}/models",
    "serving.host": "127.0.0.1",
    "serving.port": 8080,
    "serving.workers": 1,
    "serving.deadline_ms": 1000,
    "serving.entities": 1000,
    "serving.values": 100_000,
    "serving.body_kb": 1024,
    "serving.readers": 16,
    "serving.connections": 1000,
    "serving.slow_s": 10,
    "serving.stop_s": 30,
    "serving.refresh_ms": 1000,
    "serving.champion_s": 10,
    "serving.tokens": "{state}/tokens.json",
    "serving.log_one_in": 0,
    "serving.log_mb": 256,
    "alerts.webhook": "",
    "alerts.sns_topic": "",
    "alerts.region": "",
    "ui.port": 8090,
    "ui.mlflow": "",
    "spark.master": "local[*]",
    "spark.driver_memory": "4g",
    "spark.shuffle_partitions": 4,
    "spark.jars": "",
    "java.home": "",
}

_OVERRIDES = {
    "TWINLAKE_STATE": "state",
    "TWINLAKE_ONLINE_HOSTS": "online.hosts",
    "TWINLAKE_ONLINE_PORT": "online.port",
    "TWINLAKE_STREAM_BOOTSTRAP": "stream.bootstrap",
    "TWINLAKE_ALERTS_WEBHOOK": "alerts.webhook",
    "TWINLAKE_MLFLOW_TRACKING": "mlflow.tracking",
    "TWINLAKE_SPARK_MASTER": "spark.master",
    "TWINLAKE_DRIVER_MEMORY": "spark.driver_memory",
    "TWINLAKE_SHUFFLE_PARTITIONS": "spark.shuffle_partitions",
}


MAX_PORT = 65_535
ONLINE_KINDS = ("sqlite", "cassandra")


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """Where the Cassandra store is, and how it is asked.

    Attributes:
        hosts: Addresses to begin with; the others of the cluster are found.
        port: The port of the CQL protocol, the same on all of them.
        datacenter: Whose nodes are asked; empty: that of the first host that answers.
        keyspace: The keyspace of this project's tables; ``{id}`` stands for the state's own id.
        replication: Copies in that data center, where the keyspace has to be made.
        in_flight: Most statements that wait for an answer at once.
        request_ms: How long one attempt may take.
        read_s: How long a read may take, all attempts together.
        write_s: How long one row's write may take, all attempts together.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    datacenter: str = ""
    keyspace: str = "twinlake"
    replication: int = 3
    in_flight: int = 128
    request_ms: int = 3000
    read_s: int = 8
    write_s: int = 60


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an environment decides; all paths are absolute.

    Attributes:
        project: The folder that holds ``features.py``.
        env: The name of the environment: ``local``.
        state: Where the embedded environment keeps all that it makes.
        lake_root: Where the Delta tables and the registry are; a path, or a URI of a file system.
        online_kind: Which online store: ``sqlite`` or ``cassandra``.
        online_path: The file of the SQLite store.
        cassandra: Where the Cassandra store is, and how it is asked.
        stream_bootstrap: Servers of Kafka to begin with, each ``host:port``; none: no Kafka.
        mlflow_tracking: The tracking URI of MLflow.
        mlflow_artifacts: Where MLflow keeps the files of models: a folder, or a URI.
        serving: What [serving] says; for ``serving.options``.
        alerts: What [alerts] says; for ``assurance.alert_sinks``.
        ui_port: Where the pages are served on this machine; 0: any port.
        ui_mlflow: The address of MLflow's own pages; none: that of its server, if there is one.
        spark_master: Where Spark runs.
        driver_memory: The heap of the driver, which in ``local`` is all of Spark: ``4g``.
        shuffle_partitions: In how many parts Spark cuts a shuffle.
        jars: The folder of the jars of Delta Lake; for ``java.jar_files``.
        java_home: The Java that was configured; none: for ``java.find_java`` to find.
    """

    project: Path
    env: str
    state: Path
    lake_root: str
    online_kind: str
    online_path: Path
    cassandra: CassandraSettings
    stream_bootstrap: tuple[str, ...]
    mlflow_tracking: str
    mlflow_artifacts: str
    serving: Mapping[str, Value]
    alerts: Mapping[str, str]
    ui_port: int
    ui_mlflow: str
    spark_master: str
    driver_memory: str
    shuffle_partitions: int
    jars: Path
    java_home: Path | None

    @property
    def driver_memory_bytes(self) -> int:
        """The heap of the driver in bytes."""
        return int(self.driver_memory[:-1]) << {"m": 20, "g": 30}[self.driver_memory[-1]]


def load_settings(
    project: Path,
    env: str = "local",
    state: Path | None = None,
    *,
    environ: Mapping[str, str],
    conf_dir: Path | None = None,
) -> Settings:
    """Read the settings of an environment.

    Args:
        project: The folder that holds ``features.py``.
        env: Which environment: the name of a file in the conf folder.
        state: The state folder, instead of what file and environment say.
        environ: The environment variables.
        conf_dir: The conf folder, instead of ``TWINLAKE_CONF`` and the checkout's.

    Raises:
        InputError: No such environment, or a key or value that does not fit.
    """
    values, origin = _read(env, environ, conf_dir)
    _overlay_endpoints(values, environ)
    for variable, key in _OVERRIDES.items():
        if told := environ.get(variable):
            values[key] = _parse(told, key, variable)
    project = project.expanduser().resolve()
    if state is None:
        state = Path(_fill(values["state"], project=project)).expanduser()
        state = project / state
    state = state.expanduser().resolve()
    places = {"project": project, "state": state}
    text = {key: _fill(value, **places) for key, value in values.items() if key != "state"}
    if not re.fullmatch(r"[1-9]\d*[mg]", text["spark.driver_memory"]):
        raise InputError(
            f"[spark] driver_memory is {text['spark.driver_memory']!r} ({origin} or environment)",
            hint="write a number and m or g, such as 4g",
        )
    if text["online.kind"] not in ONLINE_KINDS:
        raise InputError(
            f"[online] kind is {text['online.kind']!r} ({origin})",
            hint=f"known: {', '.join(ONLINE_KINDS)}",
        )
    partitions = int(values["spark.shuffle_partitions"])
    if partitions < 1:
        raise InputError(
            f"[spark] shuffle_partitions is {partitions} ({origin} or environment)",
            hint="expected at least 1",
        )
    return Settings(
        project=project,
        env=env,
        state=state,
        lake_root=text["lake.root"],
        online_kind=text["online.kind"],
        online_path=Path(text["online.path"]),
        cassandra=_cassandra(values, origin),
        stream_bootstrap=_stream_bootstrap(text["stream.bootstrap"], origin),
        mlflow_tracking=text["mlflow.tracking"],
        mlflow_artifacts=text["mlflow.artifacts"],
        serving=_section("serving", values, text),
        alerts={name: str(told) for name, told in _section("alerts", values, text).items()},
        ui_port=_ui_port(values, origin),
        ui_mlflow=text["ui.mlflow"],
        spark_master=text["spark.master"],
        driver_memory=text["spark.driver_memory"],
        shuffle_partitions=partitions,
        jars=Path(text["spark.jars"]).expanduser() if text["spark.jars"] else jars_folder(environ),
        java_home=Path(text["java.home"]).expanduser() if text["java.home"] else None,
    )


def _section(name: str, values: Flat, text: Mapping[str, str]) -> Flat:
    """Give what a section says, with the places put in."""
    return {
        key.removeprefix(f"{name}."): value if isinstance(value, int) else text[key]
        for key, value in values.items()
        if key.startswith(f"{name}.")
    }


def stack_folder(environ: Mapping[str, str]) -> Path:
    """Where the local stack keeps everything: TWINLAKE_STACK, else the checkout's .stack/."""
    if environ.get("TWINLAKE_STACK"):
        return Path(environ["TWINLAKE_STACK"]).expanduser()
    return (checkout() or Path()) / ".stack"


def conf_folder(environ: Mapping[str, str], conf_dir: Path | None = None) -> Path | None:
    """Where the conf files are: as asked, TWINLAKE_CONF, the checkout's, or nowhere (a wheel)."""
    if conf_dir is not None:
        return conf_dir
    if environ.get("TWINLAKE_CONF"):
        return Path(environ["TWINLAKE_CONF"]).expanduser()
    root = checkout()
    return None if root is None else root / "conf"


def _read(env: str, environ: Mapping[str, str], conf_dir: Path | None) -> tuple[Flat, str]:
    """The values of an environment over the defaults, and where they come from."""
    folder = conf_folder(environ, conf_dir)
    if folder is None:
        if env != "local":
            raise InputError.unknown("environment", env, ["local"])
        return dict(DEFAULTS), "built-in defaults"
    files = {file.stem: file for file in folder.glob("*.toml")}
    if env not in files:
        raise InputError(
            f"there is no environment named {env!r} in {folder}",
            hint=f"known: {', '.join(sorted(files)) or 'none'}",
        )
    return _parse_file(files[env]), str(files[env])


def _overlay_endpoints(values: Flat, environ: Mapping[str, str]) -> None:
    """Let what a running stack wrote come over what the file says; it need not have run yet."""
    if not values["endpoints"]:
        return
    file = Path(_fill(values["endpoints"], stack=stack_folder(environ))).expanduser()
    if file.is_file():
        told = _parse_file(file, {})
        values.update(told)


def _cassandra(values: Flat, origin: str) -> CassandraSettings:
    numbers = {
        name: int(values[f"online.{name}"])
        for name in ("port", "replication", "in_flight", "request_ms", "read_s", "write_s")
    }
    for name, number in numbers.items():
        if number < 1 or (name == "port" and number > MAX_PORT):
            raise InputError(f"[online] {name} is {number} ({origin} or environment)")
    hosts = tuple(host.strip() for host in str(values["online.hosts"]).split(",") if host.strip())
    if not hosts:
        raise InputError(
            f"[online] hosts is empty ({origin} or environment)",
            hint="name one host, or several with commas between",
        )
    return CassandraSettings(
        hosts=hosts,
        datacenter=str(values["online.datacenter"]),
        keyspace=str(values["online.keyspace"]),
        **numbers,
    )


def _ui_port(values: Flat, origin: str) -> int:
    port = int(values["ui.port"])
    if not 0 <= port <= MAX_PORT:
        raise InputError(f"[ui] port is {port} ({origin})", hint=f"at most {MAX_PORT}; 0: any")
    return port


def _stream_bootstrap(text: str, origin: str) -> tuple[str, ...]:
    servers = tuple(server.strip() for server in text.split(",") if server.strip())
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= MAX_PORT:
            raise InputError(
                f"[stream] bootstrap names {server!r} ({origin} or environment)",
                hint="write HOST:PORT, or several with commas between",
            )
    return servers


def _parse_file(file: Path, defaults: Mapping[str, Value] = DEFAULTS) -> Flat:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(
            f"{file} cannot be read as TOML: {error}",
            hint="mend it; conf/local.toml shows the form",
        ) from error
    values = dict(defaults)
    for key, value in flatten(document).items():
        if key not in DEFAULTS:
            raise InputError(
                f"{file}: unknown key {key!r}", hint=f"known: {', '.join(sorted(DEFAULTS))}"
            )
        wanted = type(DEFAULTS[key])
        if type(value) is not wanted:  # bool is an int, and not meant
            raise InputError(
                f"{file}: {key} is {value!r}, expected a {_WORDS[wanted]}",
                hint=f"the default is {DEFAULTS[key]!r}",
            )
        values[key] = value
    return values


_WORDS = {str: "string", int: "whole number"}


def flatten(document: Mapping[str, object], prefix: str = "") -> Flat:
    """Name every value of a TOML document by its path: ``spark.master``."""
    flat: Flat = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value  # type: ignore[assignment]  # any type; checked by the caller
    return flat


def _parse(text: str, key: str, variable: str) -> Value:
    if isinstance(DEFAULTS[key], str):
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{variable} is {text!r}, expected a whole number", hint="change or unset the variable"
        ) from None


def _fill(value: Value, **places: Path) -> str:
    """Put the places in; not str.format, for a path may hold braces."""
    text = str(value)
    for name, place in places.items():
        text = text.replace(f"{{{name}}}", str(place))
    return text
