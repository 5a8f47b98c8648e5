"""The verb that looks after a lake: maintain."""

from __future__ import annotations

from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context, with_options
from twinlake.cli.layout import table

MAX_SHOWN = 10


def maintain_options(command: Any) -> Any:  # noqa: ANN401 (click's decorators are untyped functions)
    """Add the options of what maintains."""
    options = (
        click.option("--reconcile", is_flag=True, help="Compare online rows.  [default: if alone]"),
        click.option("--repair", is_flag=True, help="Compare them, and mend those that differ."),
        click.option("--optimize", is_flag=True, help="Put small files of Delta tables together."),
        click.option(
            "--vacuum",
            type=click.IntRange(min=0),
            metavar="DAYS",
            help="Remove files that no version of the last DAYS needs; at least 7.",
        ),
        click.option("--drop-old", is_flag=True, help="Drop tables that no applied view uses."),
    )
    return with_options(command, options)


@click.command()
@click.argument("views", nargs=-1)
@maintain_options
@json_option
@pass_context
def maintain(context: Context, /, views: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401
    """Compare online rows with their events, and say what differs; exit 1 if a row does.

    VIEWS are all by default. With options: do what they say, in this order, also beside running
    streams.
    """
    with context.open() as project:
        done = run(project, views, **options)
    context.answer(maintained_text(done), maintained_document(done))
    return 0 if done.is_clean else 1


def run(
    project: Any,  # noqa: ANN401 (imported when used)
    views: tuple[str, ...],
    *,
    reconcile: bool,
    repair: bool,
    optimize: bool,
    vacuum: int | None,
    drop_old: bool,
) -> Any:  # noqa: ANN401 (imported when used)
    """Maintain; shared with the script."""
    from twinlake.flows import maintaining

    is_alone = not (repair or optimize or drop_old or vacuum is not None)
    work = maintaining.Work(reconcile or is_alone, repair, optimize, vacuum, drop_old)
    return maintaining.maintain(project, views, work)


def maintained_document(done: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down what a maintenance did, for people and programs alike."""
    from dataclasses import asdict

    views = {}
    for found in done.views:
        totals = {"differing_keys": found.differing_keys, "is_clean": found.is_clean}
        views[found.view] = asdict(found) | totals
    return {
        "ok": done.is_clean,
        "views": views,
        "tables": {one.table: asdict(one) for one in done.tables},
        "dropped": done.dropped,
    }


def maintained_text(done: Any) -> str:  # noqa: ANN401 (imported when used)
    """Lay out what a maintenance did."""
    parts = []
    if done.views:
        parts.append(_views_table(done.views))
        parts += filter(None, map(_differing_text, done.views))
        if not any(found.differing_keys for found in done.views):
            parts.append("every online row is what its events come to")
    if done.tables:
        heads = ("table", "files", "put together", "removed")
        rows = [(one.table, one.files, one.replaced, one.removed) for one in done.tables]
        parts.append(table(heads, rows))
        parts += [
            f"{one.table} was not vacuumed: training set {one.spared_for} reads an old version"
            for one in done.tables
            if one.spared_for is not None
        ]
    if done.dropped is not None:
        parts.append(f"dropped: {', '.join(done.dropped) or 'nothing, every table is in use'}")
    return "\n\n".join(parts)


def _views_table(views: list[Any]) -> str:
    heads = ("view", "online rows", "missing", "different", "unknown", "repaired", "left")
    rows = [
        (found.view, found.rows, *found.differing.values(), found.repaired, found.left)
        for found in views
    ]
    return table(heads, rows)


def _differing_text(found: Any) -> str:  # noqa: ANN401 (imported when used)
    """Show the first keys of a view that differ, and say what to do."""
    if not found.differing_keys:
        return ""
    rows = [(_key(one.key), one.kind, one.what or "-") for one in found.first[:MAX_SHOWN]]
    text = f"{found.view}: {found.differing_keys:,} keys differ; the first {len(rows)}:\n\n"
    text += table(("key", "row", "in"), rows)
    if found.marker is None:
        text += "\n\nTo do: `twinlake maintain --repair` writes them anew from their events"
    elif found.stuck_keys:
        shown = ", ".join(map(_key, found.stuck))
        text += (
            f"\n\nnot repaired: {found.stuck_keys:,}, first {shown}: their rows carry "
            f"a write timestamp later than the newest commit, so nothing replaces them.\n"
            f"To do: set the clock of who wrote them right; then drop the online table "
            f"{found.table}, and `twinlake apply` and `twinlake materialize {found.view}` make it "
            f"anew from the events"
        )
    return text


def _key(key: tuple[Any, ...]) -> str:
    return " ".join(map(str, key))


COMMANDS = (maintain,)
