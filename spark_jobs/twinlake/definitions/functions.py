"""A Python function as a definition: what it does, as text that two readings can compare.

The text is that of the function and of everything of its own file that it reads, without comments,
docstrings and annotations. What it reads must be fixed when the file is read: constants, modules,
what modules hold, and other functions of the file. So a changed helper or constant is noticed as
surely as a changed line.
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from types import CodeType, FunctionType, ModuleType
from typing import Any

_ATOMS = (
    bool, int, float, complex, str, bytes, type(None), date, datetime, time, timedelta, Decimal,
    Fraction,
)  # fmt: skip
_READS = {"LOAD_GLOBAL", "LOAD_NAME"}


class Unreadable(ValueError):
    """A function, or what it reads, has no text that says what it does."""

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found)
        self.found = found
        self.hint = hint


@dataclass(frozen=True)
class Function:
    """A function and what it does.

    Attributes:
        name: Its name in the file.
        code: The text of the function, and of what it reads, by name.
        problems: What was found and what to do, where the text could not be had.
        run: The function itself; None when read from a registry.
    """

    name: str
    code: Mapping[str, str]
    problems: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    run: object = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, run: object) -> Function:
        """Take a function with its text."""
        name = str(getattr(run, "__name__", type(run).__name__))
        if not isinstance(run, FunctionType):
            found = f"a {type(run).__name__} is no function"
            return cls(name, {}, ((found, "write it with def in features.py"),), run)
        code: dict[str, str] = {}
        problems = []
        try:
            _collect(run, code)
        except Unreadable as error:
            problems.append((error.found, error.hint))
        return cls(name, code, tuple(problems), run)

    def callable(self) -> Callable[..., Any]:
        """Give the function itself.

        Raises:
            ValueError: It was read from a registry, which holds its text only.
        """
        if callable(self.run):
            return self.run
        raise ValueError(f"function {self.name} is known by its text only")


def _collect(function: FunctionType, code: dict[str, str]) -> None:
    """Add the text of a function, and of what it reads, by name."""
    name = function.__name__
    if name in code:
        return
    code[name] = _text(function)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if defaults:
        code[f"{name} defaults"] = ", ".join(_constant(name, value) for value in defaults)
    for read, value in _read(function):
        if isinstance(value, FunctionType) and _file(value) == _file(function):
            _collect(value, code)
        else:
            code[read] = _said(read, value)


def _file(function: FunctionType) -> str:
    return function.__code__.co_filename


def _text(function: FunctionType) -> str:
    """Give a function's text in one form: as Python itself would write it."""
    name = function.__name__
    if name == "<lambda>":
        raise Unreadable("a lambda has no text of its own", "write it with def in features.py")
    try:
        source = textwrap.dedent(inspect.getsource(function))
        (tree,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError) as error:
        raise Unreadable(
            f"the text of {name} cannot be read", "write it with def in features.py"
        ) from error
    if not isinstance(tree, ast.FunctionDef):
        raise Unreadable(f"{name} is no plain function", "write it with def in features.py")
    tree.decorator_list = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree)


def _read(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the names that a function reads from outside, with what they stand for."""
    inside = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for name, cell in sorted(inside.items()):
        yield name, cell.cell_contents
    for name in sorted(set(_global_names(function.__code__))):
        if name in function.__globals__:
            yield name, function.__globals__[name]
        elif not hasattr(builtins, name):
            found = f"{function.__name__} reads {name}, which the file does not define"
            raise Unreadable(found, f"define {name}, or import it inside the function")


def _global_names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _READS:
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _said(name: str, value: object) -> str:
    """Say what a name stands for, in one form."""
    if isinstance(value, ModuleType):
        return f"module {value.__name__}"
    home = getattr(value, "__module__", None)
    own = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if callable(value) and isinstance(own, str) and isinstance(home, str) and "<" not in home:
        return f"{home}.{own}"
    return _constant(name, value)


def _constant(name: str, value: object) -> str:
    if isinstance(value, _ATOMS):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(_constant(name, item) for item in value)})"
    if isinstance(value, set | frozenset):
        return f"set({', '.join(sorted(_constant(name, item) for item in value))})"
    if isinstance(value, Mapping):
        items = [f"{_constant(name, k)}: {_constant(name, v)}" for k, v in value.items()]
        return f"map({', '.join(items)})"
    raise Unreadable(
        f"reads {name}, a {type(value).__name__}, which may change without a word of the file",
        "let it read constants, modules, and functions of features.py only",
    )
