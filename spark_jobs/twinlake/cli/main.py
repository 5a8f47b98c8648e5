"""The ``twinlake`` command: its verbs, its errors, its exit codes.

0  done
1  a check found something
2  wrong use or bad input
3  the environment failed
4  changes wait (plan --exit-code)
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from twinlake import errors
from twinlake.cli import (
    assertions,
    checks,
    definitions,
    forgetting,
    jobs,
    lineage,
    maintenance,
    monitoring,
    scoring,
    serving,
    streams,
    training,
    training_sets,
    web,
)
from twinlake.cli.context import Context, is_debugging, parse_sources
from twinlake.errors import TwinlakeError
from twinlake.version import VERSION

ENVIRONMENT_FAILED = 3
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="twinlake")
@click.option(
    "-C",
    "project",
    default=".",
    type=click.Path(path_type=Path),
    help="The folder of the project: the one with features.py.  [default: here]",
)
@click.option("--env", default="local", show_default=True, help="The environment: conf/ENV.toml.")
@click.option("--state", type=click.Path(path_type=Path), help="Where all that is made is kept.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME=PATH",
    help="Read a source from other files. May be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.pass_context
def twinlake(
    context: click.Context,
    project: Path,
    env: str,
    state: Path | None,
    sources: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """One definition of a feature, two stores that always agree.

    A new project goes: init, plan, apply, materialize, training-set build, train, get, parity.
    """
    context.obj = Context(project, env, state, parse_sources(sources), as_json)


for _command in (
    *definitions.COMMANDS,
    *jobs.COMMANDS,
    *training.COMMANDS,
    *training_sets.COMMANDS,
    *checks.COMMANDS,
    *assertions.COMMANDS,
    *streams.COMMANDS,
    *scoring.COMMANDS,
    *monitoring.COMMANDS,
    *serving.COMMANDS,
    *maintenance.COMMANDS,
    *lineage.COMMANDS,
    *forgetting.COMMANDS,
    *web.COMMANDS,
):
    twinlake.add_command(_command)


def run() -> None:
    """Run the command line."""
    sys.exit(report(twinlake, as_json="--json" in sys.argv))


def report(command: click.Command, *, as_json: bool) -> int:
    """Run a command; turn an error into one message, and either into an exit code."""
    try:
        return int(command.main(standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        path = "twinlake" if where is None else where.command_path
        return _fail(error.format_message(), f"look at `{path} --help`", 2, as_json=as_json)
    except TwinlakeError as error:
        if is_debugging():
            raise
        return _fail(error.message, error.hint, error.exit_code, as_json=as_json)
    except Exception as error:
        if is_debugging():
            raise
        return _fail_unexpectedly(error, as_json=as_json)


def _fail_unexpectedly(error: Exception, *, as_json: bool) -> int:
    """Report what nobody foresaw, such as an engine's own failure, by its innermost cause."""
    text = str(error)
    ours = re.search(r"twinlake\.errors\.(\w+): (.+)(?:\nHint: (.+))?", text)
    if ours is not None:
        # Raised on purpose in a worker; Spark hands it on as text.
        kind = getattr(errors, ours[1], errors.TwinlakeError)
        return _fail(ours[2], ours[3], kind.exit_code, as_json=as_json)
    causes = re.findall(r"^Caused by: (?:[\w.$]+\.)?(\w+: .+)$", text, re.MULTILINE)
    first = text.strip().splitlines()[0] if text.strip() else ""
    message = causes[-1] if causes else f"{type(error).__name__}: {first}"
    hint = "set TWINLAKE_DEBUG=1 to see where it comes from"
    return _fail(message, hint, ENVIRONMENT_FAILED, as_json=as_json)


def _fail(message: str, hint: str | None, exit_code: int, *, as_json: bool) -> int:
    click.echo(f"twinlake: {message}", err=True)
    if hint:
        click.echo(f"Hint: {hint}", err=True)
    if as_json:
        click.echo(json.dumps({"error": message, "hint": hint, "exit_code": exit_code}))
    return exit_code


if __name__ == "__main__":
    run()
