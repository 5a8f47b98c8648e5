"""The verb that forgets: a key, everywhere."""

from __future__ import annotations

import sys
from typing import Any

import click

from twinlake.cli.context import Context, json_option, parse_key, pass_context
from twinlake.cli.layout import table
from twinlake.errors import InputError


@click.command()
@click.argument("entity")
@click.argument("key", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_context
def forget(context: Context, entity: str, key: tuple[str, ...], *, yes: bool) -> None:
    """Erase a key of ENTITY everywhere, for good, and keep it out if it comes again.

    Shows first where the key is and what cannot be reached; asks on a terminal, and wants --yes
    elsewhere. No stream may run on its sources meanwhile; one that was stopped goes on after it.
    """
    parts = parse_key(key)
    with context.open() as project:
        from twinlake.flows import forgetting
        from twinlake.flows.erasable import EntityKey

        asked = EntityKey.of(project, entity, parts)
        if not yes:
            _ask(context, forgetting.look(project, asked))
        done = forgetting.forget(project, asked)
    context.answer(forgotten_text(done), forgotten_document(done))


def _ask(context: Context, found: Any) -> None:  # noqa: ANN401 (imported when used)
    """Show what would be done, and go on only if that is wanted.

    Raises:
        InputError: There is nobody to ask.
    """
    click.echo(f"To be erased:\n\n{_tables_text(found, 'rows found')}", err=True)
    click.echo(f"\nOut of reach:\n\n{_left_text(found)}\n", err=True)
    if context.as_json or not sys.stdin.isatty():
        raise InputError(
            "nothing was forgotten: nobody is there to be asked",
            hint="look at what is listed, and give --yes",
        )
    click.confirm("Erase it for good?", abort=True, err=True)


def forgotten_document(done: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down what forgetting did, for people and programs alike; the key is not in it."""
    from dataclasses import asdict

    return {
        "entity": done.key.entity.name,
        "rows": done.rows,
        "was_forgotten_before": done.was_known,
        "tables": {one.table: _without_name(asdict(one)) for one in done.tables},
        "computed_anew": done.refolded,
        "left_to_do": [asdict(one) for one in done.left],
    }


def _without_name(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "table"}


def forgotten_text(done: Any) -> str:  # noqa: ANN401 (imported when used)
    """Lay out what forgetting did."""
    if done.rows:
        parts = [_tables_text(done, "rows erased")]
    elif done.was_known:
        parts = ["nothing is left of it: it was forgotten before"]
    else:
        parts = ["it is nowhere; the ledger keeps it out from now on"]
    if done.refolded:
        parts.append(table(("view", "keys computed anew"), list(done.refolded.items())))
    parts.append(f"Left to do:\n\n{_left_text(done)}")
    return "\n\n".join(parts)


def _tables_text(done: Any, head: str) -> str:  # noqa: ANN401 (imported when used)
    rows = [(one.table, one.rows, one.files) for one in done.tables]
    return table(("table", head, "files"), rows) if rows else "nothing: the key is nowhere"


def _left_text(done: Any) -> str:  # noqa: ANN401 (imported when used)
    lines = []
    for one in done.left:
        where = f" ({', '.join(one.where)})" if one.where else ""
        lines.append(f"{one.what}{where}\n    {one.who}: {one.do}")
    return "\n".join(lines)


COMMANDS = (forget,)
