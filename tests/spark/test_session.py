"""What starting Spark does to the process that starts it."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import os
from tests.spark.conftest import FOR_SHORT_LIVES
from twinlake.java import find_java, jar_files, jars_folder
from twinlake.lake.session import SessionOptions, start

java = find_java(os.environ)
print("before", flush=True)
session = start(SessionOptions(
    master="local[1]", jars=jar_files(jars_folder(os.environ)), java_home=java.home,
    java_options=(*java.options, *FOR_SHORT_LIVES),
))
session._jvm.java.lang.System.out.println("said by Java")
print("after", flush=True)
session.stop()
"""


def test_what_java_prints_is_not_on_standard_output() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.splitlines() == ["before", "after"]
    assert "said by Java" in done.stderr
