"""Keys and signatures, read where and when a call is made; they are in no message and no log."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twinlake.errors import EnvironmentFailure, InputError
from twinlake.inference.contracts import Question
from twinlake.inference.endpoint import Endpoint


class ApiKey:
    """The key of an endpoint, from a variable or a file, as it is now.

    Args:
        endpoint: Names where it is; it may name none.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._variable = endpoint.api_key_variable
        self._file = endpoint.api_key_file
        self._header = endpoint.api_key_header.lower()
        self._seen: tuple[int, int, int] | None = None
        self._held = ""

    def read(self) -> str | None:
        """Give the key; None where the endpoint asks for none.

        Raises:
            InputError: It is not there, can be read by others, or is no text for a header.
        """
        if self._variable is not None:
            return self._checked(os.environ.get(self._variable, ""), self._variable)
        return None if self._file is None else self._from_file(self._file)

    def headers(self, key: str | None) -> dict[str, str]:
        """Give the header that carries a key."""
        if key is None:
            return {}
        return {self._header: f"Bearer {key}" if self._header == "authorization" else key}

    def _from_file(self, path: Path) -> str:
        """Read a file again when it was replaced, so that a key can be changed while calls run."""
        try:
            found = path.stat()
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise InputError(
                    f"the key file {path} can be read by others", hint=f"chmod 600 {path}"
                )
            seen = (found.st_ino, found.st_size, found.st_mtime_ns)
            if seen != self._seen:
                text = path.read_text(encoding="ascii").strip()
                self._held, self._seen = self._checked(text, str(path)), seen
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"the key file {path} cannot be read: {type(error).__name__}",
                hint="write the key there, readable for its owner only",
            ) from None
        return self._held

    @staticmethod
    def _checked(key: str, where: str) -> str:
        if not key:
            raise InputError(f"{where} holds no key", hint="set it where the calls are made")
        if not key.isascii() or not key.isprintable():
            raise InputError(f"the key in {where} has characters that no header may have")
        return key


class Signer:
    """Signs requests as AWS asks (SigV4), with credentials that are renewed before they end.

    Where they come from is botocore's business: variables, profiles, a role, a process.

    Args:
        endpoint: Names region and service; it may name none.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._region = endpoint.sigv4_region
        self._service = endpoint.sigv4_service
        self._credentials: Any = None
        self._lock = asyncio.Lock()

    def require(self) -> None:
        """Find the credentials, where requests are signed.

        Raises:
            EnvironmentFailure: There are none, or nothing that signs.
        """
        if self._region is None or self._credentials is not None:
            return
        try:
            from botocore.exceptions import BotoCoreError
            from botocore.session import Session
        except ImportError:
            raise EnvironmentFailure(
                "requests cannot be signed: botocore is not installed",
                hint="install botocore where the calls are made",
            ) from None
        try:
            self._credentials = Session().get_credentials()
        except BotoCoreError as error:
            raise EnvironmentFailure(
                f"the credentials of AWS cannot be had: {type(error).__name__}",
                hint="check the profile and the variables AWS_*",
            ) from None
        if self._credentials is None:
            raise EnvironmentFailure(
                "there are no credentials of AWS to sign with",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role",
            )

    async def headers(self, question: Question) -> Mapping[str, str]:
        """Give the headers of a question with its signature, made for this moment.

        Raises:
            EnvironmentFailure: The credentials could not be renewed.
        """
        if self._region is None:
            return question.headers
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(
            method=question.method,
            url=question.url,
            data=question.body,
            headers=dict(question.headers),
        )
        SigV4Auth(await self._frozen(), self._service, self._region).add_auth(request)
        return dict(request.headers.items())

    async def _frozen(self) -> Any:  # noqa: ANN401 (botocore has no types)
        """Renew in another thread, for that asks a server and others wait; one at a time."""
        held = self._credentials
        needed = getattr(held, "refresh_needed", None)
        try:
            if needed is None or not needed():
                return held.get_frozen_credentials()
            async with self._lock:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(None, held.get_frozen_credentials)
        except Exception as error:
            # Of whatever kind: what renews them is anybody's program.
            raise EnvironmentFailure(
                f"the credentials of AWS could not be renewed: {type(error).__name__}"
            ) from None
