"""The example on a real Cassandra: the command line, from raw rows to equal stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bootstrap.services.processes import free_port
from tests.stack.servers import client

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = CHECKOUT / "spark_jobs" / "examples" / "smart_meters"
SAMPLE = CHECKOUT / "bootstrap" / "data" / "smart_meters" / "daily_energy.parquet"
HOMES = 12


class Command:
    """The command ``twinlake`` on a state folder and a server of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    def __call__(self, *verb: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
        before = ["-C", EXAMPLE, "--env", "stack", "--state", self.folder / "state"]
        source = ["--source", f"daily_energy={self.folder / 'cut.parquet'}", "--json"]
        return subprocess.run(
            [sys.executable, "-m", "twinlake.cli.main", *map(str, before), *source, *verb],
            env={
                **os.environ,
                "TWINLAKE_STACK": str(self.folder / "no-stack"),
                "TWINLAKE_ONLINE_PORT": str(port or self.port),
                "TWINLAKE_DRIVER_MEMORY": "1g",
            },
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )

    def document(self, *verb: str) -> dict[str, Any]:
        done = self(*verb)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, cassandra_port: int) -> Command:
    folder = tmp_path_factory.mktemp("example")
    with duckdb.connect() as engine:
        engine.execute(
            f"COPY (SELECT * FROM '{SAMPLE}' WHERE household_id IN "
            f"(SELECT DISTINCT household_id FROM '{SAMPLE}' ORDER BY household_id LIMIT {HOMES})) "
            f"TO '{folder / 'cut.parquet'}' (FORMAT parquet)"
        )
    made = Command(folder, cassandra_port)
    made.document("apply")
    made.document("materialize")
    return made


def test_both_stores_agree_in_every_cell(command: Command) -> None:
    verdict = command.document("parity", "--all")
    assert verdict["mismatching"] == 0
    assert verdict["compared"] == verdict["served"] > 0
    assert verdict["keys"] == HOMES


def test_rows_that_differ_online_are_named_and_mended(command: Command) -> None:
    session = client(command.port)
    ((keyspace, table),) = [
        (one.keyspace_name, one.table_name)
        for one in session.execute("SELECT keyspace_name, table_name FROM system_schema.tables")
        if one.table_name.startswith("household_energy__")
    ]
    there = f'"{keyspace}"."{table}"'
    homes = sorted(row.household_id for row in session.execute(f"SELECT * FROM {there}"))
    column = "energy_sum_3months"
    session.execute(f"DELETE FROM {there} WHERE household_id = %s", [homes[0]])
    session.execute(f"UPDATE {there} SET {column} = 0.5 WHERE household_id = %s", [homes[1]])
    looked = command("maintain", "household_energy")
    assert looked.returncode == 1, looked.stderr
    found = json.loads(looked.stdout)["views"]["household_energy"]
    assert found["differing"] == {"missing": 1, "different": 1, "unknown": 0}
    assert {one["key"][0]: one["what"] or "" for one in found["first"]} == {
        homes[0]: "",
        homes[1]: column,
    }
    mended = command.document("maintain", "household_energy", "--repair")
    assert mended["views"]["household_energy"]["repaired"] == 2
    assert command.document("parity", "--all")["mismatching"] == 0
    assert session.execute(f"SELECT count(*) FROM {there}").one()[0] == HOMES


def test_one_home_is_served(command: Command) -> None:
    with duckdb.connect() as engine:
        cut = command.folder / "cut.parquet"
        ((home,),) = engine.execute(f"SELECT min(household_id) FROM '{cut}'").fetchall()
    told = command.document("get", "energy_forecast", f"household_id={home}")
    assert {feature["status"] for feature in told["features"].values()} <= {"present", "null"}


def test_a_dead_server_is_one_clear_message(command: Command) -> None:
    port, began = free_port(()), time.monotonic()
    done = command("get", "energy_forecast", "household_id=MAC000002", port=port)
    assert done.returncode == 3
    assert time.monotonic() - began < 60
    assert json.loads(done.stdout)["exit_code"] == 3
    assert done.stderr.startswith(f"twinlake: the Cassandra store at 127.0.0.1:{port}")
    assert "bootstrap/stack up" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_the_doctor_names_a_dead_server(command: Command) -> None:
    port = free_port(())
    done = command("doctor", port=port)
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert (done.returncode, found["Cassandra"]["ok"]) == (3, False)
    assert f"127.0.0.1:{port}" in found["Cassandra"]["found"]
    there = {one["name"]: one for one in json.loads(command("doctor").stdout)["findings"]}
    assert there["Cassandra"]["ok"] is True


def test_a_state_that_was_deleted_meets_no_old_tables(command: Command) -> None:
    again = Command(command.folder / "again", command.port)
    again.folder.mkdir()
    (again.folder / "cut.parquet").symlink_to(command.folder / "cut.parquet")
    steps = [step["step"] for step in again.document("plan")["steps"]]
    assert "DropTables" not in steps
    assert steps.count("CreateViewTables") == 2
