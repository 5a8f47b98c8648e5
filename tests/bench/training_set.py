"""Training sets of 28,638 loans beside hand-written DuckDB ASOF joins, and beside Feast.

python -m tests.bench.training_set FOLDER [--rounds 5] [--feast PYTHON]

FOLDER holds ``loan_applications.parquet``, ``zipcode_features.parquet`` and
``credit_history.parquet``. Ours: from the events tables, which hold what was landed once, to a
Delta table with its receipt. DuckDB: from the Parquet files to one. Feast: the same by its local
provider, in a process of its own that stays; PYTHON is an interpreter that can import it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import twinlake
from tests.bench.measuring import give, machine, race, say, table
from twinlake.flows import rebuilding, training_sets
from twinlake.flows.feature_store import FeatureStore
from twinlake.lake import training_tables

OURS, REBUILT, DUCK, FEAST = (
    "twinlake to Delta, with a receipt",
    "twinlake rebuilt and compared",
    "DuckDB ASOF to Parquet",
    "Feast, local provider, to Parquet",
)
TTL_DAYS = 3650
ZIPCODE = {
    "city": "string", "state": "string", "location_type": "string", "tax_returns_filed": "bigint",
    "population": "bigint", "total_wages": "bigint",
}  # fmt: skip
CREDIT = dict.fromkeys(
    (
        "credit_card_due", "mortgage_due", "student_loan_due", "vehicle_loan_due", "hard_pulls",
        "missed_payments_2y", "missed_payments_1y", "missed_payments_6m", "bankruptcies",
    ),
    "bigint",
)  # fmt: skip
FEATURES = [*ZIPCODE, *CREDIT]
# What twinlake calls a column that is no name for a feature.
OWN_NAMES = {"state": "state_code"}
LOANS, ZIPCODES, CREDITS = "loan_applications", "zipcode_features", "credit_history"
CHILD = Path(__file__).with_name("feast_training_set.py")


def define(project: Path, data: Path) -> None:
    """Write the project: two sources, a view of each, one service of all."""
    project.mkdir()
    text = "from twinlake import Column, Entity, FeatureService, FeatureView, Files, Source\n"
    for name, key, kind, columns in (
        (ZIPCODES, "zipcode", "bigint", ZIPCODE),
        (CREDITS, "dob_ssn", "string", CREDIT),
    ):
        listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        named = [(column, OWN_NAMES.get(column, column)) for column in columns]
        text += f"""
{name} = FeatureView(
    "{name}", entity=Entity("{key}", join_keys={{"{key}": "{kind}"}}), ttl="{TTL_DAYS}d",
    source=Source(
        "{name}_rows", schema="{key} {kind}, {listed}, event_timestamp timestamp",
        event_timestamp="event_timestamp", batch=Files("{data / name}.parquet"),
    ),
    features=[Column(column, name) for column, name in {named!r}],
)
"""
    text += f'loans = FeatureService("loans", features=[{ZIPCODES}, {CREDITS}])\n'
    (project / "features.py").write_text(text)


def ours(store: FeatureStore, spine: Path, made: list[str]) -> Callable[[], None]:
    """Build a training set that is not there; its name is left behind."""
    places = store.project.places

    def run() -> None:
        for name in made:
            shutil.rmtree(places.training_set(name))
            (places.receipts / f"{name}.json").unlink()
        made[:] = [training_sets.build(store.project, "loans", spine).name]

    return run


def duck(data: Path, out: Path) -> Callable[[], None]:
    """Join by two ASOF joins, each with its ttl."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2; SET TimeZone = 'UTC'")

    def cells(alias: str, names: list[str]) -> str:
        is_young = f"s.event_timestamp - {alias}.event_timestamp <= INTERVAL {TTL_DAYS} DAY"
        return ", ".join(f"CASE WHEN {is_young} THEN {alias}.{n} END AS {n}" for n in names)

    query = f"""COPY (SELECT s.*, {cells("z", [*ZIPCODE])}, {cells("c", [*CREDIT])}
        FROM '{data / LOANS}.parquet' s
        ASOF LEFT JOIN '{data / ZIPCODES}.parquet' z
            ON s.zipcode = z.zipcode AND s.event_timestamp >= z.event_timestamp
        ASOF LEFT JOIN '{data / CREDITS}.parquet' c
            ON s.dob_ssn = c.dob_ssn AND s.event_timestamp >= c.event_timestamp)
        TO '{out}' (FORMAT parquet)"""

    def run() -> None:
        connection.execute(query)

    return run


@contextmanager
def feast(python: Path, data: Path, folder: Path, out: Path) -> Iterator[Callable[[], None]]:
    """Keep a process of Feast that joins once for each line that it is sent."""
    command = [str(python), str(CHILD), str(data), str(folder), str(out), str(TTL_DAYS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:

        def wait_for(word: str) -> None:
            # Libraries print what they like to standard output.
            for line in child.stdout or ():
                if line.strip() == word:
                    return
            sys.exit(f"Feast ended with exit code {child.wait()}")

        def run() -> None:
            if child.stdin is not None:
                child.stdin.write("join\n")
                child.stdin.flush()
            wait_for("joined")

        wait_for("ready")
        try:
            yield run
        finally:
            if child.stdin is not None:
                child.stdin.close()


def compare(wanted: pa.Table, name: str, found: pa.Table) -> None:
    """Stop unless a contender has the same rows and cells as DuckDB."""
    columns = ["loan_id", "loan_status", *FEATURES]
    expected = wanted.select(columns).sort_by("loan_id")
    if not found.select(columns).sort_by("loan_id").cast(expected.schema).equals(expected):
        sys.exit(f"{name} and DuckDB differ")
    say(f"  {name}: {found.num_rows:,} rows x {len(FEATURES)} features agree with DuckDB")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Land once, compare the results, then race."""
    data: Path = options.data.resolve()
    spine = data / f"{LOANS}.parquet"
    define(folder / "project", data)
    made: list[str] = []
    with twinlake.open(folder / "project", tell=say) as store:
        store.apply()
        store.materialize()
        project = store.project
        runs = {OURS: ours(store, spine, made), DUCK: duck(data, folder / "duck.parquet")}
        for run in runs.values():
            run()
        wanted = pq.read_table(folder / "duck.parquet")
        path = project.places.training_set(made[0])
        found = training_tables.read_arrow(project.spark, path, 2)
        theirs = {own: name for name, own in OWN_NAMES.items()}
        named = [theirs.get(name, name) for name in found.column_names]
        compare(wanted, OURS, found.rename_columns(named))
        runs[REBUILT] = lambda: check(rebuilding.rebuild(project, made[0]).verdict)
        if options.feast is None:
            timings = race(runs, options.rounds)
        else:
            out = folder / "feast.parquet"
            with feast(options.feast, data, folder / "feast", out) as run:
                run()
                compare(wanted, FEAST, pq.read_table(out))
                timings = race({**runs, FEAST: run}, options.rounds)
    say(table(f"{wanted.num_rows:,} loans, {len(FEATURES)} features of two views", timings, OURS))
    return {
        "machine": machine(),
        "rows": wanted.num_rows,
        "runs": {n: {"seconds": t.median, "peak_mb": t.peak_mb} for n, t in timings.items()},
    }


def check(verdict: str) -> None:
    """Stop unless a rebuild gave the same."""
    if verdict != rebuilding.SAME:
        sys.exit(f"the rebuild says {verdict}")


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--feast", type=Path, metavar="PYTHON", help="an interpreter with Feast")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        give(measure(options, Path(name)))


if __name__ == "__main__":
    main()
