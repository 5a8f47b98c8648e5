"""What every verb shares: the project that it works on, and how it speaks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from twinlake.flows.project import Project
    from twinlake.settings import Settings


@dataclass
class Context:
    """The options that stand before a verb, and the output of the verb.

    Attributes:
        project: The folder of the project.
        env: The environment.
        state: The state folder, where another than the environment's is wanted.
        sources: Source name to the path that replaces the definition's.
        as_json: Print one JSON object on standard output and nothing else there.
    """

    project: Path
    env: str
    state: Path | None
    sources: Mapping[str, Path]
    as_json: bool
    started: float = field(default_factory=time.monotonic)

    def settings(self) -> Settings:
        """Read the settings of the environment."""
        # Every verb but --help needs these; none of them needs them to be listed.
        from twinlake.settings import load_settings

        return load_settings(self.project, self.env, self.state, environ=os.environ)

    def open(self) -> Project:
        """Open the project."""
        from twinlake.clock import now_us
        from twinlake.flows.project import Project

        return Project(
            self.settings(),
            environ=os.environ,
            now_us=now_us,
            tell=self.tell,
            sources=self.sources,
        )

    def tell(self, text: str) -> None:
        """Report progress on standard error, with the seconds since the start."""
        elapsed = time.monotonic() - self.started
        click.echo(f"[{elapsed:6.1f} s] {text}", err=True)

    def answer(self, text: str, document: Mapping[str, Any]) -> None:
        """Print a verb's answer: the text, or the document with ``--json``."""
        if self.as_json:
            click.echo(json.dumps(document, default=str))
        elif text:
            click.echo(text.rstrip("\n"))


pass_context = click.make_pass_decorator(Context)


def json_option(command: Any) -> Any:  # noqa: ANN401 (click's decorators are untyped functions)
    """Let ``--json`` stand after the verb, too."""

    def set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.find_root().obj.as_json = True

    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=set_json,
        help="Print one JSON object on standard output.",
    )(command)


def parse_sources(values: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=PATH`` options.

    Raises:
        click.UsageError: One is of another form.
    """
    sources = {}
    for value in values:
        name, separator, path = value.partition("=")
        if not separator or not name or not path:
            raise click.UsageError(f"--source {value!r} is not NAME=PATH")
        sources[name] = Path(path)
    return sources


def parse_key(items: Sequence[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` arguments.

    Raises:
        click.UsageError: One is of another form, or a name is there twice.
    """
    parts = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            raise click.UsageError(
                f"{item!r} is not KEY=VALUE", click.get_current_context(silent=True)
            )
        if name in parts:
            raise click.UsageError(f"{name} is given twice", click.get_current_context(silent=True))
        parts[name] = value
    return parts


def is_debugging() -> bool:
    """Tell whether the user wants to see tracebacks."""
    return os.environ.get("TWINLAKE_DEBUG", "") not in {"", "0"}


def with_options(command: Any, options: Sequence[Any]) -> Any:  # noqa: ANN401 (click's decorators are untyped functions)
    """Add options to a command, in the order in which its help lists them."""
    for option in reversed(options):
        command = option(command)
    return command
