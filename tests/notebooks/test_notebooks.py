"""Every notebook runs from top to bottom, and ends with stores that agree."""

import json
import sys
from pathlib import Path
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


def _name(file: Path) -> str:
    return file.stem


def _read(file: Path) -> Any:
    return nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]


def _code_cells(file: Path) -> list[Any]:
    return [cell for cell in _read(file).cells if cell.cell_type == "code"]


def _kernel(folder: Path) -> AsyncKernelManager:
    """A kernel in the running interpreter, whatever kernels this machine has installed."""
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "this interpreter",
        "language": "python",
    }
    (folder / "kernels" / "here").mkdir(parents=True)
    (folder / "kernels" / "here" / "kernel.json").write_text(json.dumps(spec), "utf-8")
    specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    # Its channels are files, so no port is opened.
    return AsyncKernelManager(
        kernel_name="here",
        kernel_spec_manager=specs,
        transport="ipc",
        connection_file=str(folder / "kernel.json"),
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
    client = NotebookClient(
        notebook,
        km=_kernel(tmp_path),
        timeout=LONGEST_CELL_S,
        resources={"metadata": {"path": str(file.parent)}},
    )
    client.execute()
    said = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    assert "mismatches=0 " in said
    assert "homes=0" not in said
    assert (tmp_path / "state" / "online.sqlite").is_file()
