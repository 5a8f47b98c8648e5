"""The first run on a machine that reaches no network: what could not be fetched, and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
# Nothing listens there, so whatever goes through it is refused at once.
CLOSED = "http://127.0.0.1:9"


def offline(tmp_path: Path) -> dict[str, str]:
    """The environment of a first run without network: an empty cache, closed proxies."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), CLOSED)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    return {
        **kept,
        **proxies,
        "TWINLAKE_CACHE": str(tmp_path / "cache"),
        "PIP_INDEX_URL": f"{CLOSED}/simple",
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
    }


def run(command: list[str | Path], folder: Path, tmp_path: Path) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=offline(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_jars_that_cannot_be_fetched(tmp_path: Path) -> None:
    program = CHECKOUT / "bootstrap" / "jvm.py"
    code, told = run([sys.executable, program, "jars"], CHECKOUT, tmp_path)
    assert code == 3
    assert "setup: io.delta:delta-spark_2.12:3.3.2 was not fetched in 3 attempts: " in told
    assert "Hint: check the network and retry; behind a proxy set HTTPS_PROXY" in told
    assert list((tmp_path / "cache").rglob("*.jar")) == []


def test_packages_that_cannot_be_fetched(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    copy.mkdir()
    shutil.copytree(CHECKOUT / "bootstrap", copy / "bootstrap", ignore=lambda *_: ["data"])
    shutil.copytree(CHECKOUT / "spark_jobs" / "twinlake", copy / "spark_jobs" / "twinlake")
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    code, told = run(["bash", "bootstrap/setup"], copy, tmp_path)
    assert code == 3
    assert "setup: pip could not install uv (all of it: .venv/setup.log)" in told
    assert "Hint: check the network and run again; HTTPS_PROXY, PIP_INDEX_URL" in told
    assert not (copy / ".venv" / ".twinlake-setup").exists()
    assert not (tmp_path / "cache").exists()
