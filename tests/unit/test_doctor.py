"""The doctor finds what is broken, and only that."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from twinlake.assurance import doctor
from twinlake.assurance.doctor import Finding, examine, free_memory_bytes, locked_versions
from twinlake.java import checkout, read_jars_lock
from twinlake.settings import Settings, load_settings


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"TWINLAKE_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def settings(tmp_path: Path, environ: dict[str, str]) -> Settings:
    return load_settings(tmp_path / "project", environ=environ)


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_every_part_is_looked_at(settings: Settings, environ: dict[str, str]) -> None:
    names = [finding.name for finding in examine(settings, environ)]
    assert names == [
        "Python", "Java", "jars", "numpy", "pyspark", "delta-spark",
        "state folder", "free disk", "free memory", "PYSPARK_PYTHON",
    ]  # fmt: skip


def test_a_finding_has_a_fix_exactly_when_something_is_wrong(
    settings: Settings, environ: dict[str, str]
) -> None:
    for finding in examine(settings, environ):
        assert bool(finding.fix) is not finding.ok, finding
        assert finding.found
        assert finding.expected


def test_this_python_and_its_packages_are_right(settings: Settings) -> None:
    findings = _by_name(examine(settings, {}))
    for name in ("Python", "numpy", "pyspark", "delta-spark", "PYSPARK_PYTHON"):
        assert findings[name].ok, findings[name]


def test_missing_jars_are_found(settings: Settings, environ: dict[str, str]) -> None:
    finding = _by_name(examine(settings, environ))["jars"]
    assert not finding.ok
    assert "bash bootstrap/setup" in finding.fix


def test_damaged_jars_are_found(settings: Settings, environ: dict[str, str]) -> None:
    settings.jars.mkdir(parents=True)
    root = checkout()
    assert root is not None
    for jar in read_jars_lock(root / "bootstrap" / "jars.lock"):
        (settings.jars / jar.file).write_bytes(b"half a jar")
    finding = _by_name(examine(settings, environ))["jars"]
    assert not finding.ok
    assert "delta-storage-3.3.2.jar" in finding.found


def test_a_version_off_the_lock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0.1")
    finding = doctor._package("numpy")
    assert not finding.ok
    assert finding.found == "0.0.1"
    assert finding.expected in locked_versions("numpy")


def test_the_lock_is_read_by_whole_names(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "delta==1\ndelta-spark==3.3.2 ; python_version > '3'\n    --hash=delta-spark==9\n"
    )
    assert locked_versions("delta-spark", lock) == {"3.3.2"}
    assert locked_versions("spark", lock) == set()


def test_looking_makes_no_folder(settings: Settings, environ: dict[str, str]) -> None:
    examine(settings, environ)
    assert not settings.state.exists()


def test_a_state_that_cannot_be_a_folder_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    finding = doctor._state(file / "state")
    assert not finding.ok
    assert str(file) in finding.fix


def test_too_little_memory_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_memory_bytes", lambda: 1 << 30)
    finding = doctor._memory(settings)
    assert (finding.ok, finding.found) == (False, "1.0 GiB")


def test_a_container_limits_the_memory(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    assert free_memory_bytes(tmp_path) is None
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   4000 kB\n")
    assert free_memory_bytes(tmp_path) == 4000 * 1024
    (group / "memory.current").write_text("1024\n")
    (group / "memory.max").write_text("max\n")
    assert free_memory_bytes(tmp_path) == 4000 * 1024
    (group / "memory.max").write_text("2048\n")
    assert free_memory_bytes(tmp_path) == 1024


def test_another_worker_python_is_found(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 3.9\n")
    other.chmod(0o755)
    finding = doctor._worker_python({"PYSPARK_PYTHON": str(other)})
    assert not finding.ok
    assert "(3.9)" in finding.found
    assert doctor._worker_python({"PYSPARK_PYTHON": sys.executable}).ok
    assert not doctor._worker_python({"PYSPARK_PYTHON": str(tmp_path / "none")}).ok
