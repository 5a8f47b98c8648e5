"""Java and jars for bootstrap/setup, run by the checkout's own Python.

jvm.py ready                 exit 0 when Java 17 and all default jars are there and whole
jvm.py java                  print the home of the Java 17 that will be used
jvm.py jars [GROUP...]       fetch what is missing or damaged of the groups (default: spark-3.5)
jvm.py lock GROUP COORDINATE print the lines that add a coordinate to jars.lock
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT / "spark_jobs"))

from twinlake.errors import EnvironmentFailure, InputError, TwinlakeError
from twinlake.java import (
    SPARK_JARS,
    JavaHome,
    LockedJar,
    cache_folder,
    find_java,
    jars_folder,
    read_jars_lock,
    sha256_of,
)

LOCK = CHECKOUT / "bootstrap" / "jars.lock"
PAUSES_S = (2, 6)  # between attempts, so three in all
ATTEMPT_TIMEOUT_S = 600
LEFTOVER_AGE_S = 86_400


def say(text: str) -> None:
    """Tell the user, on standard error; standard output belongs to the command."""
    sys.stderr.write(text + "\n")


def damaged(jars: list[LockedJar], environ: Mapping[str, str]) -> list[LockedJar]:
    """The jars that are not in the cache, or not with the bytes that the lock names."""
    lacking = []
    for jar in jars:
        file = jars_folder(environ, jar.group) / jar.file
        if not file.is_file():
            lacking.append(jar)
        elif (found := sha256_of(file)) != jar.sha256:
            say(f"{file}: SHA-256 is {found}, expected {jar.sha256}; fetching it again")
            lacking.append(jar)
    return lacking


def locked(groups: list[str]) -> list[LockedJar]:
    """The lines of the lock for these groups."""
    jars = read_jars_lock(LOCK)
    for group in groups:
        if group not in {jar.group for jar in jars}:
            raise InputError.unknown("group of jars", group, {jar.group for jar in jars})
    return [jar for jar in jars if jar.group in groups]


def proxy_options(environ: Mapping[str, str]) -> list[str]:
    """The proxy variables that every other tool reads, in the words of Java, which does not."""
    options = []
    for scheme in ("http", "https"):
        name = f"{scheme}_proxy"
        proxy = urlsplit(environ.get(name) or environ.get(name.upper()) or "")
        if proxy.hostname:
            options += [
                f"-D{scheme}.proxyHost={proxy.hostname}",
                f"-D{scheme}.proxyPort={proxy.port or 80}",
            ]
    return options


def resolve(coordinate: str, folder: Path, java: JavaHome, environ: Mapping[str, str]) -> Path:
    """Let the Ivy that pyspark ships bring a coordinate and all it needs into ``folder``/jars."""
    pyspark_jars = shipped_jars()
    ivy = next(iter(pyspark_jars.glob("ivy-*.jar")), None)
    if ivy is None:
        raise EnvironmentFailure(f"no ivy-*.jar in {pyspark_jars}", hint="delete .venv and retry")
    command = [str(java.executable), *java.options, *proxy_options(environ)]
    # Not the user's own Ivy folder: what lies there must not decide what is found here.
    command += [f"-Divy.default.ivy.user.dir={folder}", "-jar", str(ivy)]
    if environ.get("TWINLAKE_IVY_SETTINGS"):
        command += ["-settings", environ["TWINLAKE_IVY_SETTINGS"]]
    command += ["-dependency", *coordinate.split(":"), "-types", "jar", "bundle"]
    command += ["-confs", "default", "-cache", str(folder / "ivy")]
    command += ["-retrieve", f"{folder}/jars/[artifact]-[revision](-[classifier]).[ext]"]
    log = cache_folder(environ) / "jars" / "ivy.log"
    for pause in (*PAUSES_S, None):
        cause = run_ivy(command, log)
        if cause is None:
            return folder / "jars"
        if pause is not None:
            say(f"  {coordinate}: {cause}; trying again in {pause} s")
            time.sleep(pause)
    raise EnvironmentFailure(
        f"{coordinate} was not fetched in {len(PAUSES_S) + 1} attempts: {cause} (all of it: {log})",
        hint="check the network and retry; behind a proxy set HTTPS_PROXY, behind a mirror "
        "TWINLAKE_IVY_SETTINGS=ivysettings.xml, behind a private authority "
        "JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=FILE",
    )


def run_ivy(command: list[str], log: Path) -> str | None:
    """Run Ivy once, all it says into the log; the cause in one line when it failed."""
    with log.open("w", encoding="utf-8") as stream:
        try:
            done = subprocess.run(
                command, stdout=stream, stderr=stream, timeout=ATTEMPT_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"not done after {ATTEMPT_TIMEOUT_S} s"
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    unresolved = [line for line in lines if "not found" in line or "UNRESOLVED" in line]
    if done.returncode == 0 and not unresolved:
        return None
    told = [line for line in lines if "xception" in line or "rror" in line] + unresolved
    return told[0] if told else f"Ivy ended with exit code {done.returncode}"


def shipped_jars() -> Path:
    """The jars inside the installed pyspark, found without importing it."""
    site = next(Path(sys.prefix).glob("lib/python3.*/site-packages/pyspark/jars"), None)
    if site is None:
        raise EnvironmentFailure(f"pyspark is not installed in {sys.prefix}", hint="delete .venv")
    return site


def kept(jar_names: list[str], group: str) -> list[str]:
    """Without what pyspark ships: two copies of a class on one path are one too many."""
    shipped = {file.name for file in shipped_jars().glob("*.jar")} if "spark" in group else set()
    return [name for name in jar_names if name not in shipped]


def fetch(jars: list[LockedJar], java: JavaHome, environ: Mapping[str, str]) -> None:
    """Bring these jars into the cache; a file appears there whole and verified, or not at all."""
    store = cache_folder(environ) / "jars"
    store.mkdir(parents=True, exist_ok=True)
    sweep(store)
    for coordinate in dict.fromkeys(jar.coordinate for jar in jars):
        say(f"setting up: jars of {coordinate} ...")
        with tempfile.TemporaryDirectory(dir=store, prefix=".incoming-") as incoming:
            brought = resolve(coordinate, Path(incoming), java, environ)
            for jar in (jar for jar in jars if jar.coordinate == coordinate):
                place(brought / jar.file, jar, environ)


def place(file: Path, jar: LockedJar, environ: Mapping[str, str]) -> None:
    """Move one verified jar into its folder of the cache."""
    if not file.is_file():
        raise EnvironmentFailure(
            f"{jar.coordinate} did not bring {jar.file}", hint="correct bootstrap/jars.lock"
        )
    found = sha256_of(file)
    if found != jar.sha256:
        raise EnvironmentFailure(
            f"{jar.file}: the repository sent SHA-256 {found}, expected {jar.sha256}",
            hint="nothing was installed; find out who changed the file before anything else",
        )
    folder = jars_folder(environ, jar.group)
    folder.mkdir(parents=True, exist_ok=True)
    file.replace(folder / jar.file)


def sweep(store: Path) -> None:
    """Remove what killed runs left behind; a day old, so nobody else's download."""
    for leftover in store.glob(".incoming-*"):
        if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE_S:
            shutil.rmtree(leftover, ignore_errors=True)


def lock_lines(group: str, coordinate: str, java: JavaHome, environ: Mapping[str, str]) -> str:
    """What jars.lock must say about a coordinate, as the repository answers today."""
    store = cache_folder(environ) / "jars"
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".incoming-") as incoming:
        brought = resolve(coordinate, Path(incoming), java, environ)
        names = kept(sorted(file.name for file in brought.glob("*.jar")), group)
        lines = [f"{group} {coordinate} {name} {sha256_of(brought / name)}" for name in names]
    return "\n".join(lines)


def run(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Do one command; the exit code."""
    match arguments:
        case ["ready"]:
            find_java(environ)
            return 1 if damaged(locked([SPARK_JARS]), environ) else 0
        case ["java"]:
            sys.stdout.write(f"{find_java(environ).home}\n")
        case ["jars", *groups]:
            lacking = damaged(locked(groups or [SPARK_JARS]), environ)
            if lacking:
                fetch(lacking, find_java(environ), environ)
        case ["lock", group, coordinate]:
            sys.stdout.write(lock_lines(group, coordinate, find_java(environ), environ) + "\n")
        case _:
            raise InputError(f"not a command: {' '.join(arguments)!r}\n{__doc__}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:], os.environ))
    except TwinlakeError as error:
        say(f"setup: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        say(f"setup: {error}\nHint: check the disk and the rights of {cache_folder(os.environ)}")
        sys.exit(3)
