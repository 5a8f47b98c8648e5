"""The rules of the house, as functions from source text to what breaks them.

Pure, so that test_rules.py can show each of them a text that it must refuse.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "spark_jobs" / "twinlake"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "base", "manager", "common", "misc", "core"}

# Anything that answers with the time of day. Monotonic clocks measure durations and are free.
CLOCKS = {
    *(f"time.{name}" for name in ("time", "time_ns", "ctime", "gmtime", "localtime", "asctime")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
    *(f"pandas.Timestamp.{name}" for name in ("now", "utcnow", "today")),
    *(
        f"pyspark.sql.functions.{name}"
        for name in ("now", "curdate", "current_date", "current_timestamp", "localtimestamp")
    ),
}
_SQL_CLOCK = re.compile(r"\b(current_timestamp|current_date|localtimestamp|now\(\))", re.IGNORECASE)


def python_files(*folders: Path) -> list[Path]:
    """Every Python file below the folders."""
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def clock_reads(source: str) -> list[str]:
    """Where a text reads the time of day, called or handed on, in Python or in SQL."""
    tree = ast.parse(source)
    names = _imported(tree)
    prose = _docstrings(tree)
    reads = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            path = _dotted(node, names)
            if path in CLOCKS:
                reads.append(f"line {node.lineno}: {path}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            told = _SQL_CLOCK.search(node.value)
            if told and node not in prose:
                reads.append(f"line {node.lineno}: {told[0]} in SQL")
    return reads


def long_functions(source: str) -> list[str]:
    """Functions that do not fit a screen, docstring and decorators not counted."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                prose = node.body[0]
                length -= (prose.end_lineno or prose.lineno) - prose.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"line {node.lineno}: {node.name} has {length} lines")
    return found


def is_docstring_only(source: str) -> bool:
    """Whether a text holds no statement but its docstring."""
    body = ast.parse(source).body
    return not body or (len(body) == 1 and ast.get_docstring(ast.parse(source)) is not None)


def foreign_imports(source: str, allowed: Collection[str]) -> list[str]:
    """Imports that are neither standard library, nor twinlake, nor allowed."""
    known = {*sys.stdlib_module_names, "twinlake", *allowed}
    return sorted({name for name in _imports(ast.parse(source)) if name.split(".")[0] not in known})


def is_vague(file: Path) -> bool:
    """Whether a module or its folder has a name that says nothing."""
    return bool({file.stem, file.parent.name} & VAGUE_NAMES)


def dead_links(text: str, folder: Path) -> list[str]:
    """Relative links of a Markdown text that lead nowhere."""
    links = re.findall(r"\]\(([^)\s]+)\)", _without_code(text))
    paths = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    return [path for path in paths if not (folder / path).exists()]


def dead_commands(text: str, checkout: Path, lanes: Collection[str]) -> list[str]:
    """Paths below bootstrap/ and lanes that a text names and that do not exist."""
    paths = re.findall(r"\bbootstrap/[\w./-]*\w", text)
    dead = [path for path in paths if not (checkout / path).exists()]
    named = re.findall(r"--lane[ =](\w+)", text)
    return dead + [f"--lane {lane}" for lane in named if lane not in lanes]


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def _imported(tree: ast.AST) -> dict[str, str]:
    """What the names that imports bind stand for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                names[bound] = alias.name if alias.asname else bound
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name an expression stands for; empty when it starts from no import."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        start = _dotted(node.value, names)
        return f"{start}.{node.attr}" if start else ""
    return ""


def _docstrings(tree: ast.AST) -> set[ast.Constant]:
    """Strings that stand alone as a statement: prose, no SQL."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "." * node.level
