"""Kafka 4.1 as a service of the local stack: jars, configuration, format, command, readiness."""

from __future__ import annotations

import base64
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from bootstrap import jvm
from bootstrap.services.processes import LOOPBACK, marker
from twinlake.assurance.kafka_probe import problem
from twinlake.errors import EnvironmentFailure
from twinlake.java import find_java, jars_folder

JARS = "kafka-4.1"
CONF = Path(__file__).parent
CONFIGURATION = "conf/server.properties"  # from the service's folder, where its programs run
MAIN = "kafka.Kafka"
FORMAT = "kafka.tools.StorageTool"
HEAP = "384m"
_ANSWER_S = 5
_FORMAT_S = 120
_TOLD_LINES = 5


class KafkaServer:
    """The service ``kafka``; see ``stack.Service`` for what each part promises."""

    name = "kafka"
    ports: Mapping[str, tuple[int, ...]] = {
        "port": (9092, 9192, 19092),
        "controller_port": (9093, 9193, 19093),
    }

    def fetch(self, environ: Mapping[str, str]) -> None:
        """Bring the jars that are not in the cache, or damaged there."""
        lacking = jvm.damaged(jvm.locked([JARS]), environ)
        if lacking:
            jvm.fetch(lacking, find_java(environ), environ)

    def configure(self, folder: Path, ports: Mapping[str, int], environ: Mapping[str, str]) -> None:
        """Write the configuration, and format the data folder when it is new."""
        for name in ("conf", "logs", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        text = (CONF / "kafka.properties").read_text("utf-8")
        for name, port in ports.items():
            text = text.replace(f"{{{name}}}", str(port))
        (folder / CONFIGURATION).write_text(text, "utf-8")
        shutil.copyfile(CONF / "kafka.log4j2.xml", folder / "conf" / "log4j2.xml")
        if not (self.data(folder) / "meta.properties").is_file():
            self._format(folder, environ)

    def command(self, folder: Path, environ: Mapping[str, str]) -> list[str]:
        """The command that runs the server in the foreground."""
        return [*_java(folder, environ, MAIN), CONFIGURATION]

    def is_ready(self, ports: Mapping[str, int]) -> bool:
        """Whether the server answers for its cluster and lists itself as one that may serve."""
        return problem(LOOPBACK, ports["port"], _ANSWER_S) is None

    def endpoints(self, ports: Mapping[str, int]) -> dict[str, str | int]:
        """The settings of twinlake that lead to this server."""
        return {"stream.bootstrap": f"{LOOPBACK}:{ports['port']}"}

    def data(self, folder: Path) -> Path:
        """Where the data is."""
        return folder / "data"

    def log(self, folder: Path) -> Path:
        """Where the server tells what it does."""
        return folder / "logs" / "server.log"

    def _format(self, folder: Path, environ: Mapping[str, str]) -> None:
        """Give a new data folder its identity, without which Kafka does not start."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        command = [*_java(folder, environ, FORMAT), "format", f"--cluster-id={cluster}"]
        # What a format that was cut short left behind is no reason to refuse.
        command += ["--ignore-formatted", "--config", CONFIGURATION]
        output = folder / "logs" / "format.log"
        try:
            with output.open("wb") as stream:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    stdout=stream,
                    stderr=stream,
                    env=dict(environ),
                    timeout=_FORMAT_S,
                    check=False,
                )
            failed = done.returncode != 0
        except subprocess.TimeoutExpired:
            failed = True
        if failed:
            lines = output.read_text("utf-8", "replace").splitlines()
            told = " | ".join(line.strip() for line in lines[:_TOLD_LINES]) or "it said nothing"
            raise EnvironmentFailure(
                f"kafka could not make its data folder {self.data(folder)}: {told}",
                hint=f"all of it: {output}",
            )


def _java(folder: Path, environ: Mapping[str, str], main: str) -> list[str]:
    """What starts one of Kafka's programs."""
    java = find_java(environ)
    jars = jars_folder(environ, JARS)
    properties = (
        "java.net.preferIPv4Stack=true",
        f"java.io.tmpdir={folder / 'tmp'}",
        f"log4j2.configurationFile={(folder / 'conf' / 'log4j2.xml').as_uri()}",
    )
    return [
        str(java.executable),
        marker(folder),
        *java.options,
        f"-Xmx{HEAP}",
        "-XX:+UseParallelGC",
        "-XX:MaxDirectMemorySize=256m",
        "-XX:+ExitOnOutOfMemoryError",
        *(f"-D{one}" for one in properties),
        "-cp",
        ":".join(str(jars / jar.file) for jar in jvm.locked([JARS])),
        main,
    ]
