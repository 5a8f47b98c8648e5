"""The verbs that serve features and forecasts over HTTP, and hand out the tokens for it."""

from __future__ import annotations

import ipaddress
from contextlib import AbstractContextManager
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import table
from twinlake.definitions.times import format_instant, parse_duration_us
from twinlake.errors import InputError


@click.command()
@click.option("--host", help="The address to listen on.  [default: [serving] host]")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="The port; 0: any.  [default: [serving] port]"
)
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: [serving] workers]")
@click.option(
    "--without-tokens", is_flag=True, help="Let everybody on this machine read everything."
)
@click.option("--sagemaker", metavar="MODEL", help="Also answer /ping and /invocations, by MODEL.")
@json_option
@pass_context
def serve(context: Context, /, *, without_tokens: bool, **told: Any) -> None:  # noqa: ANN401
    """Serve features and forecasts over HTTP until told to stop.

    GET /docs on the server lists the addresses. Ctrl-C or SIGTERM ends it; requests under way are
    finished. Who asks needs a token of `twinlake token new`.
    """
    from dataclasses import replace

    from twinlake.clock import now_us
    from twinlake.serving import process
    from twinlake.serving.options import serving_options

    settings = context.settings()
    options = serving_options(settings, **told)
    if without_tokens:
        if not _is_own(options.host):
            raise InputError(
                f"--without-tokens would let everybody read who reaches {options.host}",
                hint="make a token with `twinlake token new`, or listen on 127.0.0.1",
            )
        options = replace(options, tokens=None)
    place = ""

    def listening(address: str) -> None:
        nonlocal place
        place = address
        context.tell(f"serving at {address}, its pages at {address}/docs")

    process.run(settings, options, now_us, listening)
    context.answer("", {"served_at": place})


def _is_own(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that `twinlake serve` asks for."""


@token.command()
@click.option("--service", "services", multiple=True, help="A service it may read; * for all.")
@click.option("--expires", default="90d", show_default=True, help="How long it holds, such as 12h.")
@click.option("--note", default="", help="Whose it is.")
@json_option
@pass_context
def new(context: Context, services: tuple[str, ...], expires: str, note: str) -> None:
    """Make a token. It is printed once, and only its hash is kept.

    A model may be asked by who may read its service.
    """
    from twinlake.clock import now_us

    if not services:
        raise click.UsageError("name at least one --service", click.get_current_context())
    with context.open() as project:
        known = project.applied().definitions.services
    for name in services:
        if name != "*" and name not in known:
            raise InputError.unknown("service", name, known)
    try:
        length_us = parse_duration_us(expires)
    except ValueError as error:
        raise InputError(f"--expires: {error}", hint="write it as 12h or 90d") from error
    at_us = now_us()
    with _alone(context):
        made = _tokens(context).new(services, note, at_us, at_us + length_us)
    context.answer(
        made, {"token": made, "services": services, "expires": format_instant(at_us + length_us)}
    )


@token.command("list")
@json_option
@pass_context
def list_(context: Context) -> None:
    """List the tokens, without what makes them work."""
    tokens = _tokens(context).all()
    heads = ("token", "services", "note", "made", "expires")
    rows = [
        (
            one.id,
            ", ".join(one.services),
            one.note,
            format_instant(one.created_us),
            format_instant(one.expires_us),
        )
        for one in tokens
    ]
    listed = [dict(zip(heads, row, strict=True)) for row in rows]
    context.answer(table(heads, rows) if rows else "no tokens", {"tokens": listed})


@token.command()
@click.argument("name", metavar="TOKEN")
@json_option
@pass_context
def revoke(context: Context, name: str) -> None:
    """Take TOKEN away, named as `token list` does; servers refuse it from then on."""
    with _alone(context):
        gone = _tokens(context).revoke(name)
    context.answer(f"{gone.id} is revoked", {"revoked": gone.id})


def _alone(context: Context) -> AbstractContextManager[None]:
    """Keep others from changing the tokens meanwhile: of two at once one would be lost."""
    from twinlake.registry.places import Places

    return Places(context.settings().state).exclusively("keeper", "tokens")


def _tokens(context: Context) -> Any:  # noqa: ANN401 (imported when used)
    from twinlake.serving.options import serving_options
    from twinlake.serving.tokens import TokenFile

    path = serving_options(context.settings()).tokens
    return TokenFile(path)  # type: ignore[arg-type]  # settings always name one


COMMANDS = (serve, token)
