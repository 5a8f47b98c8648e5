"""The API: a FastAPI application over one desk."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from twinlake.registry.places import Places
from twinlake.serving import descriptions
from twinlake.serving.desk import Desk
from twinlake.serving.options import ServingOptions
from twinlake.serving.page import page
from twinlake.serving.problems import HEADERS, document
from twinlake.serving.routes import Endpoint, Routes
from twinlake.serving.served_log import ServedLog
from twinlake.settings import Settings
from twinlake.version import VERSION

logger = logging.getLogger("twinlake.serving")
# The page brings all that it needs, and may load nothing.
_PAGE_HEADERS = {
    **HEADERS,
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}


class _Api(FastAPI):
    """An application whose own addresses are found before all layers, which take time each.

    What these layers are for, errors told as problems and nothing of the inside, is done by
    ``Routes.guarded`` already.

    Attributes:
        direct: What is answered by method and path.
    """

    def __init__(self, **told: Any) -> None:  # noqa: ANN401 (what FastAPI takes)
        super().__init__(**told)
        self.direct: dict[tuple[str, str], Endpoint] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or go on to the layers."""
        endpoint = None
        if scope["type"] == "http":
            endpoint = self.direct.get((scope["method"], scope["path"]))
        if endpoint is None:
            await super().__call__(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)


def make_api(settings: Settings, options: ServingOptions, now_us: Callable[[], int]) -> FastAPI:
    """Make the application of one process.

    Args:
        settings: Where things are.
        options: The limits.
        now_us: Gives the present.
    """
    desk = Desk(settings, options, now_us)
    log = ServedLog(Places(settings.state).served, options, desk.metrics)

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        desk.start()
        log.start()
        try:
            yield
        finally:
            log.stop()
            desk.stop()

    api = _Api(
        title="twinlake",
        version=VERSION,
        description=descriptions.API,
        lifespan=living,
        docs_url=None,
        redoc_url=None,
    )
    api.state.desk = desk
    routes = Routes(desk, log)

    def add(method: str, path: str, endpoint: Endpoint, told: dict[str, Any]) -> None:
        guarded = routes.guarded(path, endpoint)
        api.add_api_route(
            path,
            guarded,
            methods=[method],
            response_model=None,
            name=path,
            summary=told["summary"],
            openapi_extra=told["extra"],
        )
        # The one above is for the document. It would also look for dependencies, of which there
        # are none, and that takes as long as reading a row.
        api.router.routes.insert(0, Route(path, guarded, methods=[method], include_in_schema=False))
        if "{" not in path:
            api.direct[method, path] = guarded

    add("POST", "/v1/features", routes.features, descriptions.FEATURES)
    add("POST", "/v1/predict/{model}", routes.predict, descriptions.PREDICT)
    add("GET", "/healthz", routes.healthz, descriptions.HEALTHZ)
    add("GET", "/readyz", routes.readyz, descriptions.READYZ)
    add("GET", "/metrics", routes.metrics, descriptions.METRICS)
    if options.sagemaker is not None:
        add("POST", "/invocations", routes.invocations, descriptions.INVOCATIONS)
        add("GET", "/ping", routes.ping, descriptions.PING)

    _add_pages(api)
    return api


def _add_pages(api: FastAPI) -> None:
    """Add the page that lists the addresses, and what is said of an address that is not there."""
    api.openapi().setdefault("components", {})["securitySchemes"] = descriptions.SCHEMES

    @api.get("/", include_in_schema=False)
    @api.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page(api.openapi()), headers=_PAGE_HEADERS)

    @api.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        hint = "GET /docs lists what there is"
        return document(error.status_code, str(error.detail), hint, error.headers)
