"""Run an example from end to end and print one JSON line of its figures."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

import click

from twinlake.cli.context import parse_sources
from twinlake.cli.main import report
from twinlake.clock import now_us
from twinlake.flows.project import Project
from twinlake.settings import load_settings

EXAMPLES = Path(__file__).parent


@click.command()
@click.argument("example", default="smart_meters")
@click.option("--env", default="local", show_default=True)
@click.option("--state", type=click.Path(path_type=Path), help="Where all that is made is kept.")
@click.option("--source", "sources", multiple=True, metavar="NAME=PATH")
def run(example: str, env: str, state: Path | None, sources: tuple[str, ...]) -> int:
    """Run EXAMPLE; progress goes to standard error, the figures to standard output."""
    began = time.monotonic()

    def tell(text: str) -> None:
        click.echo(f"[{time.monotonic() - began:6.1f} s] {text}", err=True)

    settings = load_settings(EXAMPLES / example, env, state, environ=os.environ)
    demo = importlib.import_module(f"examples.{example}.demo")
    with Project(
        settings, environ=os.environ, now_us=now_us, tell=tell, sources=parse_sources(sources)
    ) as project:
        figures = demo.run(project)
    figures["seconds"]["total"] = round(time.monotonic() - began, 2)
    click.echo(json.dumps(figures, default=str))
    return 1 if figures["parity"]["mismatching"] else 0


if __name__ == "__main__":
    sys.exit(report(run, as_json=False))
