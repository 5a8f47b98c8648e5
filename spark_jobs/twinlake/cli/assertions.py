"""The verbs that put data and joins to the test: validate, leak-check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import table

MAX_SHOWN = 10


@click.command()
@click.argument("source")
@click.option("--landed", is_flag=True, help="Validate the newest landed batch, not the files.")
@click.option("--batch", type=click.IntRange(min=1), help="Validate this landed batch.")
@json_option
@pass_context
def validate(context: Context, source: str, batch: int | None, *, landed: bool) -> int:
    """Let Great Expectations validate SOURCE.

    It looks at the files as they are now, and writes data docs; exit 1 if an expectation fails.
    """
    from twinlake.flows import validating

    if landed and batch is not None:
        raise click.UsageError("give --landed or --batch, not both")
    with context.open() as project:
        done = validating.validate_source(project, source, 0 if landed else batch)
    rows = [
        (
            "ok" if finding.success else "FAILS",
            "batch" if finding.stops else "rows",
            finding.expectation,
            finding.observed,
        )
        for finding in done.findings
    ]
    count = len(done.failed)
    verdict = f"{count} of {len(rows)} expectations fail" if count else "every expectation holds"
    context.answer(
        f"{table(('', 'judges', 'expectation', 'observed'), rows)}\n\n{verdict}\n"
        f"data docs: {done.data_docs}",
        validation_document(source, done),
    )
    return 1 if count else 0


def validation_document(source: str, done: Any) -> dict[str, Any]:  # noqa: ANN401 (imported late)
    """Write down a validation, for people and programs alike."""
    from dataclasses import asdict

    return {
        "source": source,
        "success": not done.failed,
        "rows": done.rows,
        "findings": [asdict(finding) for finding in done.findings],
        "data_docs": str(done.data_docs),
    }


@click.command("leak-check")
@click.argument("service", required=False)
@click.option(
    "--spine",
    type=click.Path(path_type=Path),
    help="Check rows of this spine; moments around events of some keys without it.",
)
@click.option("--keys", type=click.IntRange(min=1), help="How many keys.  [default: 10]")
@click.option("--seed", type=int, default=0, show_default=True, help="Choose other keys.")
@json_option
@pass_context
def leak_check(
    context: Context, service: str | None, spine: Path | None, keys: int | None, seed: int
) -> int:
    """Prove that no training set sees its future.

    Plants rows that a training set must not see yet, into a copy, and builds one: exit 1 if any
    of them arrives. Without SERVICE, all services.
    """
    from twinlake.flows import leak_checking

    wanted = keys or leak_checking.DEFAULT_KEYS
    with context.open() as project:
        names = [service] if service else list(project.applied().definitions.services)
        done = [
            leak_checking.check_leaks(project, name, spine, keys=wanted, seed=seed)
            for name in names
        ]
    document = {
        "leaks": sum(len(item.examined.leaks) for item in done),
        "seed": seed,
        "services": {item.service: _leak_document(item) for item in done},
    }
    context.answer("\n\n".join(_leak_text(item) for item in done), document)
    return 1 if document["leaks"] else 0


def _leak_document(item: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    from dataclasses import asdict

    found = item.examined
    return {
        "spine_rows": found.rows,
        "planted": found.planted,
        "compared": found.cells,
        "leaks": len(found.leaks),
        "would_show": found.shown,
        "untested": found.untested,
        "notes": list(item.notes),
        "first": [asdict(leak) for leak in found.leaks[:MAX_SHOWN]],
    }


def _leak_text(item: Any) -> str:  # noqa: ANN401 (imported when used)
    from twinlake.definitions.times import format_instant

    found = item.examined
    planted = ", ".join(f"{count:,} {kind}" for kind, count in found.planted.items())
    head = f"{item.service}: {found.rows:,} spine rows; planted {planted}"
    lines = [f"{head}; {found.cells:,} cells compared", *item.notes]
    if found.untested:
        lines.append(f"not tested, for nothing planted changes them: {', '.join(found.untested)}")
    tested = len(found.shown) - len(found.untested)
    lines.append(f"{tested} of {len(found.shown)} columns change where a planted row may be seen")
    if not found.leaks:
        return "\n".join([*lines, "no leak: nothing that was planted arrived"])
    shown = found.leaks[:MAX_SHOWN]
    heads = (
        "view", "feature", "key", "spine row as of", "planted", "happened", "known", "expected",
        "found",
    )  # fmt: skip
    rows = [
        (
            leak.view,
            leak.feature,
            " ".join(f"{name}={value}" for name, value in leak.key.items()),
            format_instant(leak.as_of_us),
            leak.planted,
            format_instant(leak.planted_event_us),
            format_instant(leak.planted_known_us),
            leak.expected,
            leak.found,
        )
        for leak in shown
    ]
    lines.append(f"LEAK: {len(found.leaks):,} cells see what was planted; the first {len(shown)}:")
    return "\n".join(lines) + "\n\n" + table(heads, rows)


COMMANDS = (validate, leak_check)
