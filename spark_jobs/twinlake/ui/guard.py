"""What keeps other sites away: who may ask, who may change something, what a page may load.

The pages have no login, so only this machine reaches them. A browser on it also shows other sites,
which may send requests here: they do not know the token that each form holds, their browser says
where a request came from, and a name of theirs that leads here is not one of this machine's.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinlake.serving.problems import Refusal

OWN_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
TOKEN_FIELD = "_token"  # noqa: S105 (the name of the field)
HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_MOST_FIELDS = 500


class OwnNamesOnly:
    """Answers only requests that call this machine by its own name, and says how pages may be used.

    Args:
        app: What answers.
        refused: Makes the answer to the others.
    """

    def __init__(self, app: ASGIApp, refused: Callable[[str], ASGIApp]) -> None:
        self._app, self._refused = app, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *told]
            await send(message)

        host = Headers(scope=scope).get("host", "")
        app = self._app if is_own(host) else self._refused(host)
        await app(scope, receive, with_headers)


def is_own(host: str) -> bool:
    """Tell whether a Host header names this machine itself, at whatever port."""
    try:
        return urlsplit(f"//{host}").hostname in OWN_NAMES
    except ValueError:
        return False


class Forms:
    """The forms of this process: each holds a token that no other site can know."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)

    def read(self, request: Request, body: bytes) -> dict[str, str]:
        """Read what a form sends.

        Raises:
            Refusal: It is of another site, or no form of ours.
        """
        self._require_same_origin(request)
        try:
            pairs = parse_qsl(
                body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
            )
        except ValueError:
            raise Refusal(400, "this is no form", hint="use the form of the page") from None
        fields = dict(pairs)
        if not hmac.compare_digest(fields.pop(TOKEN_FIELD, "").encode(), self.token.encode()):
            raise Refusal(
                403,
                "the form is of another run of these pages",
                hint="load the page anew, and send it again",
            )
        return fields

    def _require_same_origin(self, request: Request) -> None:
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        own = f"http://{request.headers.get('host', '')}"
        if (origin is not None and origin != own) or site not in {None, "same-origin"}:
            raise Refusal(
                403, "another site sent this form", hint="open the page itself, and send it there"
            )
        if origin is None and site is None:
            raise Refusal(
                403, "nothing says which site sent this form", hint="use a browser of today"
            )
