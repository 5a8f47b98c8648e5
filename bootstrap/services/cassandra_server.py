"""Cassandra 5.0 as a service of the local stack: jars, configuration, command, readiness."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from bootstrap import jvm
from bootstrap.services.processes import LOOPBACK, marker
from twinlake.java import find_java, jars_folder
from twinlake.online.cql_probe import problem

JARS = "cassandra-5.0"
CONF = Path(__file__).parent
MAIN = "org.apache.cassandra.service.CassandraDaemon"
HEAP = "768m"
_ANSWER_S = 5

# What Cassandra reaches into on Java 17.
_EXPORTED = (
    "java.base/java.lang.ref", "java.base/jdk.internal.misc", "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch", "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server", "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
)  # fmt: skip
_OPENED = (
    "java.base/java.io", "java.base/java.lang", "java.base/java.lang.module",
    "java.base/java.lang.reflect", "java.base/java.nio", "java.base/java.util",
    "java.base/jdk.internal.loader", "java.base/jdk.internal.math", "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref", "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar", "java.base/sun.nio.ch",
    "java.rmi/sun.rmi.transport.tcp", "jdk.management/com.sun.management.internal",
)  # fmt: skip
_PROPERTIES = (
    # Alone on its machine, it has nobody to wait for.
    "cassandra.skip_wait_for_gossip_to_settle=0",
    "cassandra.ring_delay_ms=100",
    "cassandra.superuser_setup_delay_ms=0",
    "jdk.attach.allowAttachSelf=true",
    "java.net.preferIPv4Stack=true",
    "io.netty.tryReflectionSetAccessible=true",
)


class CassandraServer:
    """The service ``cassandra``; see ``stack.Service`` for what each part promises."""

    name = "cassandra"
    ports: Mapping[str, tuple[int, ...]] = {
        "port": (9042, 9043, 19042),
        "storage_port": (7000, 7010, 17000),
    }

    def fetch(self, environ: Mapping[str, str]) -> None:
        """Bring the jars that are not in the cache, or damaged there."""
        lacking = jvm.damaged(jvm.locked([JARS]), environ)
        if lacking:
            jvm.fetch(lacking, find_java(environ), environ)

    def configure(
        self,
        folder: Path,
        ports: Mapping[str, int],
        environ: Mapping[str, str],  # noqa: ARG002 - Cassandra makes its data folder by itself
    ) -> None:
        """Write the configuration; data that is there stays."""
        for name in ("conf", "logs", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        text = (CONF / "cassandra.yaml").read_text("utf-8")
        text = text.replace("{folder}", json.dumps(str(folder))[1:-1])
        for name, port in ports.items():
            text = text.replace(f"{{{name}}}", str(port))
        (folder / "conf" / "cassandra.yaml").write_text(text, "utf-8")
        shutil.copyfile(CONF / "logback.xml", folder / "conf" / "logback.xml")

    def command(self, folder: Path, environ: Mapping[str, str]) -> list[str]:
        """The command that runs the server in the foreground."""
        java = find_java(environ)
        jars = jars_folder(environ, JARS)
        files = [jars / jar.file for jar in jvm.locked([JARS])]
        (agent,) = (file for file in files if file.name.startswith("jamm-"))
        properties = (
            *_PROPERTIES,
            f"cassandra.config={(folder / 'conf' / 'cassandra.yaml').as_uri()}",
            f"cassandra.storagedir={folder}",
            f"cassandra.logdir={folder / 'logs'}",
            f"logback.configurationFile={folder / 'conf' / 'logback.xml'}",
            f"java.io.tmpdir={folder / 'tmp'}",
            f"jna.tmpdir={folder / 'tmp'}",
        )
        return [
            str(java.executable),
            marker(folder),
            *java.options,
            f"-javaagent:{agent}",
            f"-Xmx{HEAP}",
            "-XX:+UseParallelGC",
            "-XX:MaxDirectMemorySize=512m",
            "-XX:+ExitOnOutOfMemoryError",
            *(f"--add-exports={place}=ALL-UNNAMED" for place in _EXPORTED),
            *(f"--add-opens={place}=ALL-UNNAMED" for place in _OPENED),
            *(f"-D{one}" for one in properties),
            "-cp",
            ":".join(map(str, files)),
            MAIN,
        ]

    def is_ready(self, ports: Mapping[str, int]) -> bool:
        """Whether the server answers a query."""
        return problem(LOOPBACK, ports["port"], _ANSWER_S) is None

    def endpoints(self, ports: Mapping[str, int]) -> dict[str, str | int]:
        """The settings of twinlake that lead to this server."""
        return {"online.hosts": LOOPBACK, "online.port": ports["port"]}

    def data(self, folder: Path) -> Path:
        """Where the data is."""
        return folder / "data"

    def log(self, folder: Path) -> Path:
        """Where the server tells what it does."""
        return folder / "logs" / "system.log"
