"""What the scripts that spark-submit runs share: options as before a verb, and their session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from twinlake.cli.context import Context, parse_sources
from twinlake.cli.main import twinlake

if TYPE_CHECKING:
    from twinlake.flows.project import Project


class Script(click.Command):
    """A command that takes ``-C``, ``--env``, ``--state`` and ``--source`` as twinlake does.

    Its function is given a ``Context`` by ``pass_context`` and answers in JSON.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (click's own arguments)
        super().__init__(*args, **kwargs)
        self.context_settings = twinlake.context_settings
        shared = {"project", "env", "state", "sources"}
        self.params[:0] = [option for option in twinlake.params if option.name in shared]

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 (what the script's function gives)
        """Make the context out of the shared options, and run the script with the others."""
        project, env, state = (ctx.params.pop(name) for name in ("project", "env", "state"))
        sources = parse_sources(ctx.params.pop("sources"))
        ctx.obj = Context(project, env, state, sources, as_json=True)
        return super().invoke(ctx)


@contextmanager
def open_project(context: Context) -> Iterator[Project]:
    """Open a script's project, on the session that spark-submit made where it made one."""
    from twinlake.clock import now_us
    from twinlake.flows.project import Project
    from twinlake.lake.submitted import submitted_session

    settings = context.settings()
    spark = submitted_session(os.environ, settings.state / "scratch")
    try:
        with Project(
            settings,
            environ=os.environ,
            now_us=now_us,
            tell=context.tell,
            sources=context.sources,
            spark=spark,
        ) as project:
            yield project
    finally:
        if spark is not None:
            spark.stop()
