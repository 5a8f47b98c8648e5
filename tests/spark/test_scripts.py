"""The scripts that spark-submit runs, each in a process of its own as on a cluster."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinlake.java import find_java, jar_files, jars_folder

SCRIPTS = Path(__file__).resolve().parents[2] / "spark_jobs"
BIN = Path(sys.prefix) / "bin"
FEATURES = """
from twinlake import Aggregate, Clock, Column, Entity, FeatureService, FeatureView, Files, Model
from twinlake import Source

clock = Clock("data")
readings = Source(
    "readings", schema="k string, at timestamp, v double", event_timestamp="at",
    batch=Files("readings.parquet"),
)
meter = Entity("meter", join_keys={"k": "string"})
meter_days = FeatureView(
    "meter_days", entity=meter, source=readings, hop="1d",
    features=[Column("v"), Aggregate("mean", "v", windows={"mean_2d": "2d"})],
)
meters = FeatureService("meters", features=[meter_days])
next_value = Model(
    "next_value", service=meters, label="y", baselines={"yesterday": "v"}, rounds=3
)
"""
START = dt.datetime(2014, 2, 1, tzinfo=dt.UTC)
DAYS = 20


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "features.py").write_text(FEATURES, "utf-8")
    times = [START + dt.timedelta(days=day) for day in range(DAYS)] * 2
    keys = ["a"] * DAYS + ["b"] * DAYS
    values = [float(number % 7) for number in range(2 * DAYS)]
    instant = pa.timestamp("us", "UTC")
    readings = {"k": keys, "at": pa.array(times, instant), "v": values}
    pq.write_table(pa.table(readings), folder / "readings.parquet")
    spine = {"k": keys, "event_timestamp": pa.array(times, instant), "y": values}
    pq.write_table(pa.table(spine), folder / "spine.parquet")
    return folder


def run(command: list[str | Path], project: Path) -> tuple[int, dict[str, Any]]:
    """Run a command of the project; its exit code and the last line that it printed."""
    java = find_java(os.environ)
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "JAVA_HOME": str(java.home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TWINLAKE_DRIVER_MEMORY": "1g",
        "TWINLAKE_SPARK_MASTER": "local[2]",
    }
    done = subprocess.run(
        [*command, "-C", project],
        env=environment,
        cwd=project,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    assert lines, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(lines[-1])
    return done.returncode, answer


def script(name: str) -> list[str | Path]:
    return [sys.executable, SCRIPTS / f"{name}.py"]


def test_a_wrong_use_is_one_json_object_and_exit_code_2(project: Path, tmp_path: Path) -> None:
    command = [*script("materialize_features"), "--incremental", "--start", "2014-02-01"]
    code, answer = run(command, project)
    assert (code, answer["exit_code"]) == (2, 2)
    code, answer = run([*script("train_model"), "next_value", "--state", tmp_path], project)
    assert (code, answer["exit_code"]) == (3, 3)
    assert "nothing is applied" in answer["error"]


def test_materialize_build_train(project: Path) -> None:
    applied = subprocess.run([BIN / "twinlake", "-C", project, "apply"], check=False)
    assert applied.returncode == 0
    jars = ",".join(map(str, jar_files(jars_folder(os.environ))))
    submit: list[str | Path] = [BIN / "spark-submit", "--master", "local[2]", "--jars", jars]
    submit += ["--driver-memory", "1g", "--conf", "spark.ui.enabled=false"]
    code, done = run([*submit, SCRIPTS / "materialize_features.py"], project)
    assert code == 0
    assert done["sources"]["readings"]["accepted"] == 2 * DAYS
    assert done["views"]["meter_days"]["online_rows"] == 2

    out = project / "out.parquet"
    options: list[str | Path] = ["meters", "--spine", project / "spine.parquet", "--out", out]
    code, built = run([*script("build_training_set"), *options], project)
    assert (code, built["rows"], built["built"]) == (0, 2 * DAYS, True)
    assert pq.read_metadata(out).num_rows == 2 * DAYS

    code, trained = run([*script("train_model"), "next_value"], project)
    assert (code, trained["version"]) == (0, 1)
    assert trained["training_set"] == built["training_set"]
    assert set(trained["errors"]) == {"model", "yesterday"}
