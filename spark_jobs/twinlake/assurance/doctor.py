"""The doctor: looks at what twinlake stands on, and says what to do about what is amiss.

Imports no Spark and starts nothing but ``java -version``, so that it answers within a second on
a machine where nothing works.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinlake.assurance import kafka_probe, tracking_probe
from twinlake.errors import EnvironmentFailure
from twinlake.java import (
    REQUIRED_JAVA,
    SETUP_HINT,
    SPARK_JARS,
    checkout,
    find_java,
    jar_files,
    read_jars_lock,
    sha256_of,
)
from twinlake.online import cql_probe
from twinlake.settings import Settings

_PYTHONS = ((3, 11), (3, 12))
_PACKAGES = ("numpy", "pyspark", "delta-spark")
_FREE_DISK_BYTES = 2 << 30
_PYTHON_TIMEOUT_S = 10
_SERVER_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it must be.
        found: What is there.
        expected: What must be there.
        fix: What to do; empty when ``ok``.
    """

    name: str
    ok: bool
    found: str
    expected: str
    fix: str = ""


def examine(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything; a finding that is not ok never keeps the others from being made."""
    return [
        _python(),
        _java(settings, environ),
        _jars(settings),
        *(_package(name) for name in _PACKAGES),
        _state(settings.state),
        *_online(settings),
        *_stream(settings),
        *_tracking(settings),
        _disk(settings.state),
        _memory(settings),
        _worker_python(environ),
    ]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info[:2] in _PYTHONS
    return _finding("Python", ok, found, "3.11 or 3.12", SETUP_HINT)


def _java(settings: Settings, environ: Mapping[str, str]) -> Finding:
    expected = f"Java {REQUIRED_JAVA}"
    try:
        java = find_java(environ, settings.java_home)
    except EnvironmentFailure as failure:
        return Finding("Java", False, failure.message, expected, failure.hint or SETUP_HINT)
    return Finding("Java", True, f"{java.version} from {java.origin}, {java.home}", expected)


def _jars(settings: Settings) -> Finding:
    root = checkout()
    lock = None if root is None else root / "bootstrap" / "jars.lock"
    expected = "all jars, with the SHA-256 of bootstrap/jars.lock"
    try:
        files = jar_files(settings.jars, lock)
    except EnvironmentFailure as failure:
        return Finding("jars", False, failure.message, expected, SETUP_HINT)
    if lock is None:
        return Finding(
            "jars", True, f"{len(files)} in {settings.jars}, no lock to compare", expected
        )
    sums = {jar.file: jar.sha256 for jar in read_jars_lock(lock) if jar.group == SPARK_JARS}
    damaged = [file.name for file in files if sha256_of(file) != sums[file.name]]
    found = f"{len(files)} in {settings.jars}"
    if damaged:
        found = f"damaged in {settings.jars}: {', '.join(damaged)}"
    return _finding("jars", not damaged, found, expected, SETUP_HINT)


def _package(name: str) -> Finding:
    versions = locked_versions(name)
    expected = " or ".join(sorted(versions)) or "any version (no lock beside the package)"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", expected, SETUP_HINT)
    return _finding(name, not versions or found in versions, found, expected, SETUP_HINT)


def locked_versions(package: str, lock: Path | None = None) -> set[str]:
    """The versions that requirements.lock admits; empty without a lock."""
    root = checkout()
    if lock is None and root is not None:
        lock = root / "bootstrap" / "requirements.lock"
    if lock is None or not lock.is_file():
        return set()
    pattern = rf"^{re.escape(package)}==([^\s;]+)"
    return set(re.findall(pattern, lock.read_text(encoding="utf-8"), re.MULTILINE))


def _state(state: Path) -> Finding:
    place = _existing(state)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        fix = f"make {place} writable, or choose another folder with --state"
        return Finding("state folder", False, f"{place}: {error.strerror}", "writable", fix)
    return Finding("state folder", True, f"{state} is writable", "writable")


def _online(settings: Settings) -> list[Finding]:
    """Look whether the server of the online store answers; an embedded store has none."""
    if settings.online_kind != "cassandra":
        return []
    port, findings = settings.cassandra.port, []
    for host in settings.cassandra.hosts:
        found = cql_probe.problem(host, port, _SERVER_TIMEOUT_S)
        told = f"{host}:{port}: {found}" if found else f"{host}:{port} answers"
        fix = (
            "start it (the local stack: bootstrap/stack up), or correct [online] hosts and port "
            "in the environment's file"
        )
        findings.append(_finding("Cassandra", found is None, told, "a server that answers", fix))
    return findings


def _stream(settings: Settings) -> list[Finding]:
    """Look whether Kafka answers, where streams come from there."""
    findings = []
    for server in settings.stream_bootstrap:
        host, _, port = server.rpartition(":")
        found = kafka_probe.problem(host.strip("[]"), int(port), _SERVER_TIMEOUT_S)
        told = f"{server}: {found}" if found else f"{server} answers"
        fix = (
            "start it (the local stack: bootstrap/stack up), or correct [stream] bootstrap in the "
            "environment's file"
        )
        findings.append(_finding("Kafka", found is None, told, "a cluster that answers", fix))
    return findings


def _tracking(settings: Settings) -> list[Finding]:
    """Look whether MLflow answers, where it is a server."""
    uri = settings.mlflow_tracking
    if not uri.startswith(("http://", "https://")):
        return []
    found = tracking_probe.problem(uri, _SERVER_TIMEOUT_S)
    fix = (
        "start it (the local stack: bootstrap/stack up), or correct [mlflow] tracking in the "
        "environment's file"
    )
    told = f"{uri}: {found}" if found else f"{uri} answers"
    return [_finding("MLflow", found is None, told, "a server that answers", fix)]


def _disk(state: Path) -> Finding:
    free = shutil.disk_usage(_existing(state)).free
    fix = "free some space, or choose a folder on another disk with --state"
    return _finding(
        "free disk", free >= _FREE_DISK_BYTES, _gib(free), f"{_gib(_FREE_DISK_BYTES)} or more", fix
    )


def _memory(settings: Settings) -> Finding:
    free = free_memory_bytes()
    expected = f"{_gib(settings.driver_memory_bytes)} or more, the heap of the driver"
    if free is None:
        return Finding("free memory", True, "not told by this system", expected)
    fix = "end other programs, or set TWINLAKE_DRIVER_MEMORY lower, such as 2g"
    return _finding("free memory", free >= settings.driver_memory_bytes, _gib(free), expected, fix)


def free_memory_bytes(root: Path = Path("/")) -> int | None:
    """What may still be used: of the machine, or of the container where that is less."""
    try:
        told = (root / "proc/meminfo").read_text(encoding="utf-8")
        match = re.search(r"^MemAvailable:\s+(\d+) kB", told, re.MULTILINE)
    except OSError:
        match = None
    if match is None:
        return None
    free = int(match[1]) * 1024
    group = root / "sys/fs/cgroup"
    try:
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        used = int((group / "memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no container, or its limit is "max"
        return free
    return min(free, limit - used)


def _worker_python(environ: Mapping[str, str]) -> Finding:
    ours = "{}.{}".format(*sys.version_info[:2])
    expected = f"not set (workers then use {sys.executable}), or a Python {ours}"
    named = environ.get("PYSPARK_PYTHON")
    if not named:
        return Finding("PYSPARK_PYTHON", True, "not set", expected)
    fix = f"unset PYSPARK_PYTHON, or set it to {sys.executable}"
    program = "import sys; print('{}.{}'.format(*sys.version_info[:2]))"
    try:
        answer = subprocess.run(
            [named, "-I", "-S", "-c", program],
            capture_output=True,
            text=True,
            timeout=_PYTHON_TIMEOUT_S,
            env=dict(environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("PYSPARK_PYTHON", False, f"{named}: {error}", expected, fix)
    version = answer.stdout.strip() or f"exit {answer.returncode}"
    return _finding("PYSPARK_PYTHON", version == ours, f"{named} ({version})", expected, fix)


def _finding(name: str, ok: bool, found: str, expected: str, fix: str) -> Finding:
    return Finding(name, ok, found, expected, "" if ok else fix)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: looking makes nothing."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
