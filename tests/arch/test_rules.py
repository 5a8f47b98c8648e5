"""Each rule is shown what it must refuse, and its nearest neighbour that it must let pass."""

from pathlib import Path

import pytest

from tests.arch import rules


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time as clock\nclock.time_ns()",
        "from time import time as tick\ntick()",
        "import datetime as dt\ndt.datetime.now(dt.UTC)",
        "from datetime import datetime\ndatetime.utcnow()",
        "from datetime import date\ndefault = date.today",
        "import pandas as pd\npd.Timestamp.now()",
        "from pyspark.sql import functions as F\nF.current_timestamp()",
        "query = 'select current_timestamp() as at'",
    ],
)
def test_a_read_of_the_time_of_day_is_seen(source: str) -> None:
    assert len(rules.clock_reads(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.monotonic()\ntime.perf_counter_ns()\ntime.sleep(1)",
        "def f(clock): return clock.now()",
        "def f(now):\n    'Not current_timestamp but now().'\n    return now",
        "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)",
    ],
)
def test_what_only_looks_like_a_clock_passes(source: str) -> None:
    assert rules.clock_reads(source) == []


def _function(lines: int, prose: int = 0) -> str:
    docstring = "    '''" + "\n" * prose + "    '''\n" if prose else ""
    return "def f():\n" + docstring + "    a = 1\n" * (lines - 1)


def test_a_function_fits_a_screen_without_its_docstring() -> None:
    assert rules.long_functions(_function(rules.MAX_FUNCTION_LINES)) == []
    assert rules.long_functions(_function(rules.MAX_FUNCTION_LINES, prose=30)) == []
    assert rules.long_functions(_function(rules.MAX_FUNCTION_LINES + 1)) != []


def test_an_init_file_holds_a_docstring_only() -> None:
    assert rules.is_docstring_only("")
    assert rules.is_docstring_only('"""What this is."""')
    assert not rules.is_docstring_only('"""What this is."""\nimport os')
    assert not rules.is_docstring_only("1")


def test_a_foreign_import_is_seen_wherever_it_stands() -> None:
    source = "import json\nfrom twinlake import errors\ndef f():\n    import numpy.linalg as n"
    assert rules.foreign_imports(source, ()) == ["numpy.linalg"]
    assert rules.foreign_imports(source, ("numpy",)) == []


@pytest.mark.parametrize(
    ("file", "is_vague"),
    [
        ("a/utils.py", True),
        ("common/a.py", True),
        ("a/windows.py", False),
        ("a/basement.py", False),
    ],
)
def test_a_name_must_say_something(file: str, is_vague: bool) -> None:
    assert rules.is_vague(Path(file)) is is_vague


def test_a_link_must_lead_somewhere(tmp_path: Path) -> None:
    (tmp_path / "there.md").touch()
    text = "[a](there.md#part) [b](gone.md) [c](https://example.org/) [d](#here) `[e](code.md)`"
    assert rules.dead_links(text, tmp_path) == ["gone.md"]


def test_a_command_must_exist(tmp_path: Path) -> None:
    (tmp_path / "bootstrap").mkdir()
    (tmp_path / "bootstrap" / "test").touch()
    text = "Run `bash bootstrap/test --lane unit`, then bootstrap/gone, then --lane other."
    assert rules.dead_commands(text, tmp_path, {"unit"}) == ["bootstrap/gone", "--lane other"]
