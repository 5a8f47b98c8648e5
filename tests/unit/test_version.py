"""The version says which state of the code it is."""

from __future__ import annotations

import re
import tomllib
import zipfile
from pathlib import Path

from twinlake.version import VERSION, code_hash, code_version

CHECKOUT = Path(__file__).resolve().parents[2]


def test_it_is_the_version_of_the_package() -> None:
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    assert declared["project"]["version"] == VERSION
    assert re.fullmatch(re.escape(VERSION) + r"\+[0-9a-f]{12}", code_version())
    assert code_version().endswith(code_hash(CHECKOUT / "spark_jobs" / "twinlake"))


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_two_states_of_code_differ_and_what_is_no_code_does_not_count(tmp_path: Path) -> None:
    first = code_hash(write(tmp_path / "1", a_py="x = 1\n", b__c_py="y = 2\n"))
    assert code_hash(write(tmp_path / "2", b__c_py="y = 2\n", a_py="x = 1\n", notes="n")) == first
    others = [
        write(tmp_path / "3", a_py="x = 2\n", b__c_py="y = 2\n"),
        write(tmp_path / "4", a_py="x = 1\n", b__d_py="y = 2\n"),
        write(tmp_path / "5", a_py="x = 1\n"),
        write(tmp_path / "6", a_py="x = 1\ny = 2\n", b__c_py=""),
    ]
    assert len({first, *map(code_hash, others)}) == 5


def test_a_package_in_a_zip_has_the_same_hash(tmp_path: Path) -> None:
    folder = write(tmp_path / "1", a_py="x = 1\n", b__c_py="y = 2\n")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sorted(folder.rglob("*.py")):
            archive.write(file, f"twinlake/{file.relative_to(folder)}")
    assert code_hash(zipfile.Path(tmp_path / "all.zip", "twinlake/")) == code_hash(folder)
