"""The verb about what depends on what: lineage."""

from __future__ import annotations

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import tree


@click.command()
@click.argument("name")
@json_option
@pass_context
def lineage(context: Context, name: str) -> None:
    """Show what NAME was made from, and what breaks if it changes.

    NAME is a model, service, view, source or feature; VIEW.FEATURE where several views have one of
    that name.
    """
    from twinlake.flows import lineage as flow

    with context.open() as project:
        document = flow.lineage(project, name)
    context.answer("\n".join(tree(document, 0)), document)


COMMANDS = (lineage,)
