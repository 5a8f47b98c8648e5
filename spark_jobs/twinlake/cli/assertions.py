"""The verbs that put data and joins to the test: validate, leak-check."""

from __future__ import annotations

from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import table


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


COMMANDS = (validate,)
