"""Every notebook runs from top to bottom, and ends with stores that agree."""

import json
import sqlite3
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

CHECKOUT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
LONGEST_CELL_S = 900
MOST_LINES = 20
DELTA_TYPES = {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint"}


def _name(file: Path) -> str:
    return file.stem


def _read(file: Path) -> Any:
    return nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]


def _code_cells(file: Path) -> list[Any]:
    return [cell for cell in _read(file).cells if cell.cell_type == "code"]


def _kernel(folder: Path, sockets: Path) -> AsyncKernelManager:
    """A kernel in the running interpreter, whatever kernels this machine has installed.

    It is talked to through files, so no port is opened; their paths must be short.
    """
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "this interpreter",
        "language": "python",
    }
    (folder / "kernels" / "here").mkdir(parents=True)
    (folder / "kernels" / "here" / "kernel.json").write_text(json.dumps(spec), "utf-8")
    specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    return AsyncKernelManager(
        kernel_name="here",
        kernel_spec_manager=specs,
        transport="ipc",
        connection_file=str(sockets / "kernel.json"),
    )


def test_there_is_a_notebook() -> None:
    assert "smart_meters" in [_name(file) for file in NOTEBOOKS]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=_name)
def test_a_notebook_is_kept_without_outputs(file: Path) -> None:
    cells = _code_cells(file)
    assert [cell.id for cell in cells if cell.outputs or cell.execution_count] == []


@pytest.mark.parametrize("file", NOTEBOOKS, ids=_name)
def test_a_notebook_is_thin(file: Path) -> None:
    cells = _code_cells(file)
    long = [cell.id for cell in cells if len(cell.source.splitlines()) > MOST_LINES]
    defining = [cell.id for cell in cells if "def " in cell.source or "class " in cell.source]
    assert (long, defining) == ([], [])


@pytest.mark.parametrize("file", NOTEBOOKS, ids=_name)
def test_a_notebook_runs_and_ends_with_parity(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINLAKE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # nobody's own start-up files
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = _read(file)
    # The last cell leaves its verdict for us, in the form that programs read.
    notebook.cells[-1].source += "\nprint(f'mismatches={mismatches} homes={verdict.keys}')"
    with TemporaryDirectory(prefix="kernel") as sockets:
        client = NotebookClient(
            notebook,
            km=_kernel(tmp_path, Path(sockets)),
            timeout=LONGEST_CELL_S,
            resources={"metadata": {"path": str(file.parent)}},
        )
        client.execute()
    said = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    assert "mismatches=0 " in said
    assert "homes=0" not in said
    _tables_are_as_contracted(file.stem, tmp_path / "state")


def _tables_are_as_contracted(example: str, state: Path) -> None:
    """Every table that the run made has the columns that schemas/ promises."""
    contracts = [
        json.loads(file.read_text("utf-8"))
        for file in (CHECKOUT / "schemas" / example).glob("*.json")
    ]
    assert contracts
    for contract in contracts:
        (table,) = state.glob(contract["table"].replace("__ID", "__*"))
        found = _columns(table)
        wanted = [(column["name"], column["type"]) for column in contract["columns"]]
        further = contract.get("columns_of_the_spine_that_models_take", [])
        assert [column for column in found if column[0] not in further] == wanted
        assert {name for name, _ in found} >= set(further)
    with sqlite3.connect(state / "online.sqlite") as database:
        made = {sql for (sql,) in database.execute("SELECT sql FROM sqlite_schema") if sql}
    database.close()
    for file in (CHECKOUT / "schemas" / example).glob("online.*.sql"):
        assert file.read_text("utf-8").removesuffix(";\n") in made


def _columns(table: Path) -> list[tuple[str, str]]:
    """The columns of a Delta table as its first commit says."""
    first = min((table / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for line in first.read_text("utf-8").splitlines()]
    (schema,) = (a["metaData"]["schemaString"] for a in actions if "metaData" in a)
    return [(field["name"], _sql_type(field["type"])) for field in json.loads(schema)["fields"]]


def _sql_type(kind: Any) -> str:
    if isinstance(kind, dict):
        return f"array<{kind['elementType']}>"
    return str(DELTA_TYPES.get(kind, kind))
