"""The loan example on a small part of its rows, its pages, and a browser that opens them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from examples.loan_approval import decision

CHECKOUT = Path(__file__).resolve().parents[2]
DATA = CHECKOUT / "bootstrap" / "data" / "loan_approval"
EVERY = 8
WIDTHS = (390, 1280)
# What breaks the expectations of the source, and what the gate says of it.
BAD = {"dob_ssn": "nobody's number", "credit_card_due": -5}


@dataclass(frozen=True)
class Loans:
    """The example's project with a state of its own.

    Attributes:
        command: The ``twinlake`` command on it.
        figures: What its demo printed.
    """

    command: list[str]
    figures: dict[str, Any]

    def said(self, *arguments: str) -> Any:
        """Run a verb, and give the object that it prints."""
        done = subprocess.run(
            [*self.command, "--json", *arguments],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """Everything that the example's demo makes, of one loan in eight and two bad reports."""
    folder = tmp_path_factory.mktemp("loans")
    _cut(folder)
    told = [f"--state={folder / 'state'}"]
    told += [
        f"--source={source}={folder / file}"
        for source, file in (
            ("zipcodes", "zipcode_features.parquet"),
            ("credit_reports", "credit_history.parquet"),
        )
    ]
    done = subprocess.run(
        [sys.executable, "-m", "examples.run", "loan_approval", *told],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4_000:]
    project = str(Path(decision.__file__).parent)
    command = [sys.executable, "-m", "twinlake.cli.main", f"-C{project}", *told]
    return Loans(command, json.loads(done.stdout))


def _cut(folder: Path) -> None:
    """Take some loans, who asked for them and where they live; two reports are made bad."""
    loans = pq.read_table(DATA / "loan_applications.parquet")
    loans = loans.take(pa.array(range(0, len(loans), EVERY)))
    pq.write_table(loans, folder / "loan_applications.parquet")
    for file, key, more in (
        ("zipcode_features.parquet", "zipcode", decision.APPLICANT["zipcode"]),
        ("credit_history.parquet", "dob_ssn", decision.APPLICANT["dob_ssn"]),
    ):
        table = pq.read_table(DATA / file)
        wanted = pa.array({*loans[key].to_pylist(), more}, table[key].type)
        table = table.filter(pc.is_in(table[key], wanted))
        if key == "dob_ssn":
            bad = [{**row, **BAD} for row in table.slice(0, 1).to_pylist()]
            table = pa.concat_tables([table, pa.Table.from_pylist(bad, table.schema)])
        pq.write_table(table, folder / file)


@pytest.fixture(scope="session")
def pages(loans: Loans) -> Iterator[str]:
    """The address of the project's pages."""
    process = subprocess.Popen(
        [*loans.command, "ui", "--port=0"], stderr=subprocess.PIPE, text=True
    )
    said: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"pages at (http://\S+)", line):
                yield found[1]
                process.send_signal(signal.SIGTERM)
                said += process.stderr.readlines()
                assert process.wait(60) == 0, "".join(said)
                assert "failed" not in "".join(said)
                return
        pytest.fail("".join(said))
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """A browser without a window; the lane fails without one, for then it proves nothing."""
    places = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    lacking = [name for name, place in places.items() if place is None]
    if lacking:
        pytest.fail(
            f"this lane needs {' and '.join(lacking)} on PATH: on Debian, as root, "
            "`apt-get install chromium chromium-driver`"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = str(places["chromium"])
    for told in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(told)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(places["chromedriver"])))
    yield driver
    driver.quit()
