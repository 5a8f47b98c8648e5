"""The application: which page is at which address, and what is shown where a page fails."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from twinlake.errors import InputError, TwinlakeError
from twinlake.serving.bodies import read_body
from twinlake.serving.desk import Desk
from twinlake.serving.options import serving_options
from twinlake.serving.problems import Refusal
from twinlake.ui.deciding import Decisions
from twinlake.ui.guard import OWN_NAMES, Forms, OwnNamesOnly
from twinlake.ui.jobs import Jobs
from twinlake.ui.opening import Opening
from twinlake.ui.pages import Changed, Pages, Shown

logger = logging.getLogger("twinlake.ui")
# No form of ours is longer.
_BODY_KB = 64
_DEADLINE_MS = 5_000
Endpoint = Callable[[Request], Awaitable[Response]]


def make_ui(opening: Opening) -> FastAPI:
    """Make the application.

    Args:
        opening: What it shows.
    """
    options = serving_options(opening.settings, body_kb=_BODY_KB, deadline_ms=_DEADLINE_MS)
    desk = Desk(opening.settings, options, opening.now_us)
    forms, jobs = Forms(), Jobs(opening.command, opening.environ, opening.now_us)
    pages = Pages(opening, forms.token, jobs, Decisions(desk))

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(jobs.stop)
        await run_in_threadpool(desk.stop)

    def failed(error: Exception) -> Response:
        told, status = _told(error)
        return pages.page("error.html", status, error=told)

    def shown(page: Shown) -> Endpoint:
        async def answered(request: Request) -> Response:
            try:
                return await run_in_threadpool(page, request)
            except Exception as error:
                return failed(error)

        return answered

    def changed(page: Changed) -> Endpoint:
        async def answered(request: Request) -> Response:
            try:
                form = forms.read(request, await read_body(request, options))
                return await run_in_threadpool(page, request, form)
            except Exception as error:
                return failed(error)

        return answered

    ui = FastAPI(lifespan=living, docs_url=None, redoc_url=None, openapi_url=None)
    ui.router.routes.extend(_routes(pages, shown, changed))
    ui.router.routes.append(Mount("/static", StaticFiles(packages=[("twinlake.ui", "static")])))
    ui.add_exception_handler(HTTPException, _handler(failed))

    def refused(host: str) -> ASGIApp:
        names = ", ".join(sorted(OWN_NAMES))
        return pages.page(
            "error.html",
            421,
            error=InputError(f"{host[:100]!r} is no name of this machine", hint=f"use {names}"),
        )

    ui.add_middleware(OwnNamesOnly, refused=refused)
    return ui


def _told(error: Exception) -> tuple[TwinlakeError, int]:
    """Give what a page says of an error, and its status."""
    if isinstance(error, HTTPException):
        return InputError(
            "there is no such page", hint="take one of those above"
        ), error.status_code
    if isinstance(error, Refusal):
        return error, error.status
    if isinstance(error, TwinlakeError):
        return error, 404 if isinstance(error, InputError) else 503
    # Nothing of it is shown: it may hold what lies inside.
    logger.error("a page failed", exc_info=error)
    return TwinlakeError("this page failed", hint="the log of `twinlake ui` says where"), 500


def _handler(failed: Callable[[Exception], Response]) -> Callable[..., Awaitable[Response]]:
    async def handled(_: Request, error: Exception) -> Response:
        return failed(error)

    return handled


def _routes(
    pages: Pages, shown: Callable[[Shown], Endpoint], changed: Callable[[Changed], Endpoint]
) -> list[Route]:
    read: dict[str, Shown] = {
        "/": pages.home,
        "/decide": pages.models,
        "/decide/{model}": pages.question,
        "/catalogue": pages.catalogue,
        "/catalogue/{kind}/{name}": pages.item,
        "/training-sets": pages.training_sets,
        "/training-sets/diff": pages.diff,
        "/training-sets/{name}": pages.training_set,
        "/parity": pages.parity,
        "/quarantine": pages.quarantine,
        "/streams": pages.streams,
        "/quality": pages.quality,
        "/job": pages.job,
    }
    written: dict[str, Changed] = {
        "/decide/{model}": pages.decide,
        "/materialize": pages.materialize,
        "/training-sets/diff": pages.compare,
        "/parity": pages.check_parity,
        "/quarantine/{source}": pages.replay,
    }
    return [
        *(Route(path, shown(page), methods=["GET"]) for path, page in read.items()),
        *(Route(path, changed(page), methods=["POST"]) for path, page in written.items()),
        Route("/favicon.ico", _icon),
    ]


async def _icon(_: Request) -> Response:
    return RedirectResponse("/static/icon.svg", 301)
