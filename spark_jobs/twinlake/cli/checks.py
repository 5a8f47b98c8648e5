"""The verbs that look: get, parity, doctor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, parse_key, pass_context
from twinlake.cli.layout import table

MAX_SHOWN = 10


@click.command()
@click.argument("service")
@click.argument("key", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option("--as-of", metavar="T", help="A time, wall or data; the project's clock without it.")
@json_option
@pass_context
def get(context: Context, service: str, key: tuple[str, ...], as_of: str | None) -> None:
    """Read a service's features online.

    KEY is a join key, or a request field of on-demand features. Each feature comes with its value,
    its status, and the event timestamp of the key's newest event.
    """
    from twinlake.definitions.times import format_instant
    from twinlake.flows import reading

    parts = parse_key(key)
    with context.open() as project:
        answer = reading.read_service(project, service, [parts], as_of)[0]
    rows = [
        (name, served.value, served.status, format_instant(served.event_us))
        for name, served in answer.features.items()
    ]
    moments = {str(moment) for moment in answer.as_of.values()}
    text = f"as of {', '.join(sorted(moments))}\n\n"
    if all(served.status == "missing" for served in answer.features.values()):
        text += f"no row for {' '.join(key)}"
    else:
        text += table(("feature", "value", "status", "event timestamp"), rows)
    for message in dict.fromkeys(s.message for s in answer.features.values() if s.message):
        text += f"\n\n{message}"
    context.answer(text, {"service": service} | answer_document(answer))


def answer_document(answer: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down what was served for a key, for people and programs alike."""
    from dataclasses import asdict

    from twinlake.definitions.times import format_instant

    features = {}
    for name, served in answer.features.items():
        told = served._asdict() | {"event_timestamp": format_instant(served.event_us)}
        if served.message is None:
            del told["message"]
        features[name] = told
    return {
        "key": answer.key,
        **({"request": answer.request} if answer.request else {}),
        "as_of": {view: asdict(moment) for view, moment in answer.as_of.items()},
        "features": features,
    }


@click.command()
@click.argument("service", required=False)
@click.option("--keys", type=click.IntRange(min=1), help="How many keys to compare.")
@click.option("--all", "every", is_flag=True, help="Compare every key.  [default: 10,000 keys]")
@click.option("--as-of", metavar="T", help="Serve as of a time, wall or data.")
@click.option("--replay", is_flag=True, help="Send landed events through the stream job again.")
@click.option("--events", type=click.IntRange(1), help="Replay: most events.  [default: 1,000,000]")
@click.option("--batches", type=click.IntRange(1), help="Replay: batches.  [default: 50]")
@click.option("--restarts", type=click.IntRange(0), help="Replay: kills.  [default: 20]")
@click.option("--seed", type=int, help="Replay: another order, other kills.  [default: 0]")
@json_option
@pass_context
def parity(
    context: Context,
    /,
    service: str | None,
    keys: int | None,
    as_of: str | None,
    *,
    every: bool,
    replay: bool,
    **asked: int | None,
) -> int:
    """Prove that both stores agree.

    Independent code recomputes what is stored and served; exit 1 if a cell differs.

    With --replay in a sandbox: what was landed goes through the stream job once more, in another
    order, in batches of random size, some rows twice or far ahead of time, some pushed, landed from
    files or quarantined at first, while its process is killed again and again.
    """
    from twinlake.flows import checking

    if keys is not None and every:
        raise click.UsageError("give --keys or --all, not both")
    how = {name: value for name, value in asked.items() if value is not None}
    if replay and (keys is not None or every or as_of is not None):
        raise click.UsageError("--replay compares all keys at moments of its own")
    if how and not replay:
        raise click.UsageError(f"--{next(iter(how))} needs --replay")
    with context.open() as project:
        if service is None:
            views = list(project.applied().definitions.views.values())
        else:
            views = project.service(service).views()
        if replay:
            from twinlake.cli import replays

            return replays.answer(context, project, views, how)
        limit = None if every else (keys or checking.DEFAULT_KEYS)
        verdict = checking.check_parity(project, views, limit, as_of)
        document = verdict_document(verdict)
        _remember(context, project.places.parity_note(service), document)
    context.answer(verdict_text(verdict), document)
    return 1 if verdict.mismatches else 0


def _remember(context: Context, file: Path, document: dict[str, Any]) -> None:
    """Keep what parity said last, for whoever looks later; the verdict does not hang on it."""
    from twinlake.clock import now_us
    from twinlake.registry import notes

    try:
        notes.write(file, json.dumps({"at_us": now_us(), **document}, default=str))
    except OSError as error:
        context.tell(f"the verdict is not kept: {error.strerror}")


def verdict_document(verdict: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down a parity verdict, for people and programs alike."""
    from dataclasses import asdict

    served = verdict.tallies["served"]
    return {
        "keys": verdict.keys,
        "as_of": {view: asdict(moment) for view, moment in verdict.as_of.items()},
        "served": verdict.served_cells,
        "compared": served.cells,
        "nulls": served.nulls,
        "mismatching": verdict.mismatches,
        "checks": {name: asdict(tally) for name, tally in verdict.tallies.items()},
        "differences": [asdict(d) for d in verdict.differences[:MAX_SHOWN]],
    }


def verdict_text(verdict: Any) -> str:  # noqa: ANN401 (imported when used)
    """Lay out a parity verdict."""
    from twinlake.definitions.times import format_instant

    rows = [
        (name, tally.rows, tally.cells, tally.nulls, tally.mismatches)
        for name, tally in verdict.tallies.items()
    ]
    parts = [table(("check", "rows", "cells", "null on both sides", "mismatching"), rows)]
    if verdict.mismatches:
        shown = verdict.differences[:MAX_SHOWN]
        parts.append(f"{verdict.mismatches:,} cells differ; the first {len(shown)}:")
        parts.append(
            table(
                ("view", "check", "key", "feature", "as of", "expected", "found"),
                [
                    (
                        d.view,
                        d.check,
                        d.key,
                        d.feature,
                        format_instant(d.at_us),
                        d.expected,
                        d.found,
                    )
                    for d in shown
                ],
            )
        )
    else:
        parts.append(f"parity holds for {verdict.keys:,} keys: 0 cells differ")
    return "\n\n".join(parts)


@click.command()
@click.option("--lake", is_flag=True, help="Look at every file of the state instead: none damaged?")
@click.option("--repair", is_flag=True, help="The same, and mend what nothing is lost with.")
@json_option
@pass_context
def doctor(context: Context, *, lake: bool, repair: bool) -> int:
    """Say what this machine lacks."""
    from dataclasses import asdict

    from twinlake.assurance.doctor import examine

    if lake or repair:
        return _examine_lake(context, mend=repair)
    findings = examine(context.settings(), os.environ)
    rows = [
        ("ok" if finding.ok else "LACKS", finding.name, finding.found, finding.expected)
        for finding in findings
    ]
    fixes = [f"  {finding.name}: {finding.fix}" for finding in findings if not finding.ok]
    text = table(("", "what", "found", "expected"), rows)
    if fixes:
        text += "\n\nTo do:\n" + "\n".join(fixes)
    context.answer(text, {"ok": not fixes, "findings": [asdict(finding) for finding in findings]})
    return 3 if fixes else 0


def _examine_lake(context: Context, *, mend: bool) -> int:
    from twinlake.assurance import damage
    from twinlake.registry.places import Places

    settings = context.settings()
    places, online = Places(settings.state), settings.online_path
    found = damage.find_damage(places, online)
    gone = damage.repair(found) if mend else []
    left = damage.find_damage(places, online) if gone else found
    parts = [f"taken away: {file}" for file in gone]
    parts += [f"DAMAGED {one.file}: {one.found}\n    To do: {one.fix}" for one in left]
    if not left:
        parts.append(f"no file below {settings.state} is damaged")
    document = {
        "ok": not left,
        "repaired": [str(file) for file in gone],
        "damaged": [
            {
                "file": str(one.file),
                "found": one.found,
                "fix": one.fix,
                "repair": bool(one.shortcuts),
            }
            for one in left
        ],
    }
    context.answer("\n".join(parts), document)
    return 3 if left else 0


COMMANDS = (get, parity, doctor)
