"""The verb that shows a project in a browser: ui."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from twinlake.cli.context import Context, json_option, pass_context


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="The port; 0: any.  [default: [ui] port]"
)
@json_option
@pass_context
def ui(context: Context, port: int | None) -> None:
    """Show the project in a browser on this machine until told to stop.

    Decisions with their reasons, catalogue and lineage, training sets, parity, quarantine, streams.
    Ctrl-C or SIGTERM ends it, and the jobs that its pages started.
    """
    from twinlake.clock import now_us
    from twinlake.ui import process
    from twinlake.ui.opening import Opening

    settings = context.settings()
    opening = Opening(settings, os.environ, now_us, _command(context), context.sources)
    place = ""

    def listening(address: str) -> None:
        nonlocal place
        place = address
        context.tell(f"pages at {address}")

    process.run(opening, settings.ui_port if port is None else port, listening)
    context.answer("", {"pages_at": place})


def _command(context: Context) -> list[str]:
    """Give this command on this project, as a page starts it."""
    settings = context.settings()
    sources = [f"--source={name}={Path(path).resolve()}" for name, path in context.sources.items()]
    return [
        sys.executable,
        "-m",
        "twinlake.cli.main",
        f"-C{settings.project}",
        f"--env={context.env}",
        f"--state={settings.state}",
        *sources,
    ]


COMMANDS = (ui,)
