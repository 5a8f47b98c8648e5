"""Bearer tokens: a file of hashes, each with an end and the services that it may read.

A token's secret is 256 random bits, so its SHA-256 gives nothing away: nobody can try them all,
which is what slow hashes such as scrypt are for, with secrets that people choose. A slow hash here
would only let anybody who sends wrong tokens use up the processor.

    {"format": 1, "tokens": [{"id", "sha256", "services", "note", "created_us", "expires_us"}]}
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from twinlake.errors import EnvironmentFailure, InputError, StateError
from twinlake.serving.problems import Refusal

FORMAT = 1
EVERYTHING = "*"
_PREFIX = "tl"
_BEARER = "bearer "
_CHALLENGE = {"www-authenticate": "Bearer"}
# Compared with where there is no such token, so that both take the same time.
_NOBODY = sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token.

    Attributes:
        id: Names it; no secret.
        sha256: Of its secret, in hexadecimal.
        services: The services that it may read; ``*`` for all.
        note: Whose it is.
        created_us: When it was made.
        expires_us: When it ends.
    """

    id: str
    sha256: str
    services: tuple[str, ...]
    note: str
    created_us: int
    expires_us: int

    def may_read(self, service: str) -> bool:
        """Tell whether it may read a service."""
        return EVERYTHING in self.services or service in self.services


class TokenFile:
    """The tokens of a project, in one file that only its owner may read.

    Args:
        path: The file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._held: dict[str, Token] = {}

    def all(self) -> list[Token]:
        """Give all tokens, the oldest first.

        Raises:
            StateError: The file is damaged.
        """
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise StateError(
                    f"{self.path} has format {document['format']}, this twinlake reads {FORMAT}"
                )
            return [_token(each) for each in document["tokens"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{self.path} cannot be read as a file of tokens: {type(error).__name__}",
                hint="restore it, or remove it and make tokens anew",
            ) from error

    def new(self, services: Sequence[str], note: str, now_us: int, expires_us: int) -> str:
        """Make a token; its text is given here and kept nowhere.

        Raises:
            InputError: It would have ended already.
            EnvironmentFailure: The file cannot be written.
        """
        if expires_us <= now_us:
            raise InputError("the token would have ended already", hint="name a later end")
        name, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        hashed = sha256(secret.encode()).hexdigest()
        made = Token(name, hashed, tuple(services), note, now_us, expires_us)
        self._write([*self.all(), made])
        return f"{_PREFIX}.{name}.{secret}"

    def revoke(self, name: str) -> Token:
        """Take a token away; servers notice with the next request.

        Raises:
            InputError: There is none of that id.
        """
        tokens = {token.id: token for token in self.all()}
        if name not in tokens:
            raise InputError.unknown("token", name, tokens)
        gone = tokens.pop(name)
        self._write(list(tokens.values()))
        return gone

    def check(self, header: str | None, now_us: int) -> Token:
        """Give the token that a request bears in its Authorization header.

        Raises:
            Refusal: It bears none, or one that does not hold.
            StateError: The file is damaged.
        """
        if header is None or header[: len(_BEARER)].lower() != _BEARER:
            raise Refusal(
                401,
                "the request bears no token",
                hint="send `Authorization: Bearer TOKEN`; `twinlake token new` makes one",
                headers=_CHALLENGE,
            )
        prefix, _, rest = header[len(_BEARER) :].strip().partition(".")
        name, _, secret = rest.partition(".")
        token = self._current().get(name)
        told = sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        is_same = hmac.compare_digest(told, _NOBODY if token is None else token.sha256)
        if token is None or not is_same or prefix != _PREFIX:
            raise Refusal(
                401,
                "the token is not one of this server's",
                hint="look whether it was copied whole, or revoked",
                headers=_CHALLENGE,
            )
        if now_us >= token.expires_us:
            raise Refusal(401, "the token has expired", hint="ask for another", headers=_CHALLENGE)
        return token

    def _current(self) -> dict[str, Token]:
        """Give the tokens, read again when the file has changed."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return {}
        seen = stat.st_ino, stat.st_mtime_ns, stat.st_size
        if seen != self._seen:
            self._held = {token.id: token for token in self.all()}
            self._seen = seen
        return self._held

    def _write(self, tokens: Sequence[Token]) -> None:
        text = json.dumps({"format": FORMAT, "tokens": [asdict(token) for token in tokens]})
        part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Nobody else may read it, not even for a moment.
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot write {self.path}: {error.strerror}",
                hint="free some space, or name a writable file in [serving] tokens",
            ) from error


def _token(document: dict[str, Any]) -> Token:
    return Token(**{**document, "services": tuple(document["services"])})
