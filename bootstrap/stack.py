"""The local stack: real servers on this machine, for `--env stack`.

bootstrap/stack up [SERVICE...]      start what does not run; return when all of it answers
bootstrap/stack down [SERVICE...]    end what up started; data and logs stay
bootstrap/stack status [SERVICE...]  say what runs; exit 1 when something does not

A service is cassandra, kafka or mlflow; without one, all of them. Everything lies in one folder:
`--folder`, else TWINLAKE_STACK, else .stack/ in the checkout. The servers listen on 127.0.0.1 only.
Where they listen is written to endpoints.toml in that folder, which conf/stack.toml names, so that
`--env stack` finds them. Exit codes: 0 done, 1 status found something that does not run, 2 wrong
use, 3 the environment failed.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from bootstrap.services import processes
from bootstrap.services.cassandra_server import CassandraServer
from bootstrap.services.kafka_server import KafkaServer
from bootstrap.services.mlflow_server import MlflowServer
from twinlake.errors import EnvironmentFailure, TwinlakeError
from twinlake.settings import stack_folder

START_S = 300
POLL_S = 0.2
LOCK_S = 400
_TOLD_LINES = 5


class Service(Protocol):
    """One server of the stack. A further one is a class with these and a line in SERVICES."""

    name: str
    ports: Mapping[str, tuple[int, ...]]
    """Which ports it listens on, each with the numbers that are tried first."""

    def fetch(self, environ: Mapping[str, str]) -> None:
        """Bring what is not on this machine yet; nothing twice."""
        ...

    def configure(self, folder: Path, ports: Mapping[str, int], environ: Mapping[str, str]) -> None:
        """Write its configuration into its folder; data that is there stays."""
        ...

    def command(self, folder: Path, environ: Mapping[str, str]) -> list[str]:
        """The command that runs it, with the marker of ``processes`` among its arguments."""
        ...

    def is_ready(self, ports: Mapping[str, int]) -> bool:
        """Whether it does its work; bounded in time."""
        ...

    def endpoints(self, ports: Mapping[str, int]) -> dict[str, str | int]:
        """The settings of twinlake that lead to it."""
        ...

    def data(self, folder: Path) -> Path:
        """Where its data is."""
        ...

    def log(self, folder: Path) -> Path:
        """Where it tells what it does."""
        ...


SERVICES: tuple[Service, ...] = (CassandraServer(), KafkaServer(), MlflowServer())


@dataclass(frozen=True, slots=True)
class Status:
    """How one service is.

    Attributes:
        service: Its name.
        running: Whether its process is there.
        ready: Whether it answers.
        pid: Its process, if there is one.
        ports: Where it listens, or did last.
        data: The folder of its data.
        log: The file that it writes.
    """

    service: str
    running: bool
    ready: bool
    pid: int | None
    ports: Mapping[str, int]
    data: str
    log: str


class Stack:
    """The services below one folder.

    Args:
        folder: Where they keep everything.
        environ: The environment variables.
        start_s: How long one may take until it answers.
        services: Which of them are meant; the others are left as they are.
    """

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        start_s: float = START_S,
        services: Sequence[Service] = SERVICES,
    ) -> None:
        self.folder = folder.expanduser().resolve()
        self._services = services
        self._environ = environ
        self._start_s = start_s

    @property
    def endpoints(self) -> Path:
        """The file that says where the servers listen."""
        return self.folder / "endpoints.toml"

    def up(self, wanted: Mapping[str, int] | None = None) -> list[Status]:
        """Start what does not run and wait until everything answers.

        Args:
            wanted: Ports that must be used, by ``service.port``; taken ones are an error.

        Raises:
            EnvironmentFailure: A server did not start, a port is taken, a download failed.
        """
        with self._alone():
            for service in self._services:
                self._up(service, wanted or {})
            self._write_endpoints()
        return self.status()

    def down(self) -> list[str]:
        """End what runs; the names of the services that did."""
        if not self.folder.is_dir():
            return []
        with self._alone():
            return [
                service.name
                for service in reversed(self._services)
                if processes.stop(self._place(service))
            ]

    def status(self) -> list[Status]:
        """Say how each service is; changes nothing."""
        found = []
        for service in self._services:
            place = self._place(service)
            pid, ports = processes.find(place), self._ports(service)
            found.append(
                Status(
                    service.name,
                    running=pid is not None,
                    ready=pid is not None and bool(ports) and service.is_ready(ports),
                    pid=pid,
                    ports=ports,
                    data=str(service.data(place)),
                    log=str(service.log(place)),
                )
            )
        return found

    def _up(self, service: Service, wanted: Mapping[str, int]) -> None:
        place = self._place(service)
        pid, ports = processes.find(place), self._ports(service)
        if pid is not None and ports:
            _say(f"{service.name} runs already (pid {pid}, port {ports['port']})")
            if self._is_up(service, ports, pid):
                return
            _say(f"{service.name} (pid {pid}) has ended")
        elif pid is not None:  # its ports are not known any more
            processes.stop(place)
        service.fetch(self._environ)
        place.mkdir(parents=True, exist_ok=True)
        ports = _chosen(service, ports, wanted)
        (place / "ports.json").write_text(json.dumps(ports) + "\n", "utf-8")
        service.configure(place, ports, self._environ)
        _say(f"starting {service.name} on port {ports['port']} ...")
        output = place / "logs" / "output.log"
        command = service.command(place, self._environ)
        process = processes.start(place, command, output, self._environ)
        began = time.monotonic()
        try:
            if not self._is_up(service, ports, process.pid):
                raise EnvironmentFailure(
                    f"{service.name} ended while it started: {_told(service, place)}",
                    hint=f"all of it: {service.log(place)}, {output}",
                )
        except BaseException:  # an interrupt too: what does not work is not left running
            processes.stop(place)
            raise
        _say(f"{service.name} answers after {time.monotonic() - began:.1f} s")

    def _is_up(self, service: Service, ports: Mapping[str, int], pid: int) -> bool:
        """Wait until a service answers, or its process has ended."""
        place = self._place(service)
        until = time.monotonic() + self._start_s
        while not service.is_ready(ports):
            if processes.find(place) is None:
                return False
            if time.monotonic() > until:
                raise EnvironmentFailure(
                    f"{service.name} (pid {pid}) does not answer on port {ports['port']} after "
                    f"{self._start_s:g} s",
                    hint=f"look into {service.log(place)}; bootstrap/stack down ends it",
                )
            time.sleep(POLL_S)
        return True

    def _write_endpoints(self) -> None:
        """Write the settings that lead to the servers, as a TOML file of dotted keys.

        Those that are not meant this time stay in it; those that were never started are not.
        """
        lines = ["# Written by bootstrap/stack up; read by conf/stack.toml."]
        for service in SERVICES:
            ports = self._ports(service)
            endpoints = service.endpoints(ports) if ports else {}
            lines += [f"{key} = {json.dumps(value)}" for key, value in endpoints.items()]
        fresh = self.folder / "endpoints.new"
        fresh.write_text("\n".join(lines) + "\n", "utf-8")
        fresh.replace(self.endpoints)

    def _place(self, service: Service) -> Path:
        return self.folder / service.name

    def _ports(self, service: Service) -> dict[str, int]:
        """The ports of the last start; empty before the first, or when the file is damaged."""
        try:
            ports = json.loads((self._place(service) / "ports.json").read_text("utf-8"))
            return {name: int(ports[name]) for name in service.ports}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other commands on this folder out; the kernel frees the lock of a killed one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as lock:
            until = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise EnvironmentFailure(
                            f"another bootstrap/stack has held {lock.name} for {LOCK_S} s",
                            hint="wait for it, or end it",
                        ) from None
                    time.sleep(POLL_S)
            yield


def _chosen(
    service: Service, before: Mapping[str, int], wanted: Mapping[str, int]
) -> dict[str, int]:
    """Choose ports: the wanted one, else that of the last start, else a preferred, else any."""
    chosen: dict[str, int] = {}
    for name, preferred in service.ports.items():
        asked = wanted.get(f"{service.name}.{name}")
        if asked is not None and not processes.is_free(asked):
            raise EnvironmentFailure(
                f"{service.name} cannot listen on port {asked}: another program does",
                hint="end that program, choose another port, or leave --port out for a free one",
            )
        first = [asked] if asked is not None else []
        if not first and name in before and processes.is_let_go(before[name]):
            first = [before[name]]  # clients that wait for it find it again
        chosen[name] = processes.free_port([*first, *preferred], list(chosen.values()))
    return chosen


def _told(service: Service, place: Path) -> str:
    """The last errors of a server, for a message."""
    lines: list[str] = []
    for file in dict.fromkeys((service.log(place), place / "logs" / "output.log")):
        if file.is_file():
            lines += file.read_text("utf-8", "replace").splitlines()[-200:]
    errors = [line.strip() for line in lines if "ERROR" in line or "xception" in line]
    return " | ".join((errors or lines or ["it said nothing"])[-_TOLD_LINES:])


def _say(text: str) -> None:
    sys.stderr.write(f"stack: {text}\n")
    sys.stderr.flush()


def _print(statuses: Sequence[Status], stack: Stack, *, as_json: bool) -> None:
    if as_json:
        document = {
            "folder": str(stack.folder),
            "endpoints": str(stack.endpoints),
            "services": [asdict(status) for status in statuses],
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    for status in statuses:
        state = "ready" if status.ready else "does not answer" if status.running else "stopped"
        pid = f", pid {status.pid}" if status.pid else ""
        port = f", port {status.ports['port']}" if status.running and status.ports else ""
        sys.stdout.write(f"{status.service}: {state}{port}{pid}\n")
        sys.stdout.write(f"  data {status.data}\n  log  {status.log}\n")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bootstrap/stack", allow_abbrev=False, description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("command", choices=("up", "down", "status"))
    names = [service.name for service in SERVICES]
    parser.add_argument(
        "services", nargs="*", metavar="SERVICE", help=f"{' or '.join(names)}; default: all"
    )
    parser.add_argument("--folder", type=Path, help="where everything lies; default: .stack/")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--port",
        action="append",
        default=[],
        metavar="cassandra=9042",
        help="up: listen exactly there; without it, on a port that is free",
    )
    options = parser.parse_intermixed_args(arguments)
    for name in options.services:
        if name not in names:
            parser.error(f"there is no service {name!r}; known: {', '.join(names)}")
    chosen = options.services or names
    options.services = [service for service in SERVICES if service.name in chosen]
    ports = {}
    for text in options.port:
        name, _, number = text.partition("=")
        if name not in chosen or not number.isdigit():
            parser.error(f"--port {text!r} is not SERVICE=NUMBER with a SERVICE that is meant")
        ports[f"{name}.port"] = int(number)
    options.port = ports
    return options


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do one command; the exit code."""
    options = _parse(arguments)
    folder = options.folder or stack_folder(environ)
    stack = Stack(folder, environ, services=options.services)
    match options.command:
        case "up":
            _print(stack.up(options.port), stack, as_json=options.json)
        case "down":
            ended = stack.down()
            _say(f"ended {', '.join(ended)}" if ended else "nothing ran")
            if options.json:
                _print(stack.status(), stack, as_json=True)
        case "status":
            statuses = stack.status()
            _print(statuses, stack, as_json=options.json)
            return 0 if all(status.ready for status in statuses) else 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:], os.environ))
    except TwinlakeError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        _say(f"{error}\nHint: check the disk and the rights of the stack's folder")
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)
