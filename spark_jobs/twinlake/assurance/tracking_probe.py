"""Ask an MLflow server for an experiment without MLflow, which takes seconds to load.

Standard library only, so that the doctor can look where nothing else is installed, and the local
stack can wait without loading a client that retries on its own.
"""

from __future__ import annotations

import http.client
import json
from typing import Final
from urllib.parse import urlsplit

# What needs the server's database, so that a server without one has not answered.
_ASKED: Final = "/api/2.0/mlflow/experiments/get?experiment_id=0"
_LONGEST_BODY: Final = 1 << 16
_WHO_IS_THERE: Final = (401, 403)


def problem(uri: str, seconds: float) -> str | None:
    """Say why no MLflow server answers at an address, each step within that time; None if one does.

    A server that asks who is there has answered, too: who may log in is not looked at.
    """
    try:
        parts = urlsplit(uri)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=seconds)
        try:
            connection.request("GET", parts.path.rstrip("/") + _ASKED)
            answer = connection.getresponse()
            body = answer.read(_LONGEST_BODY)
        finally:
            connection.close()
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except (http.client.HTTPException, ValueError) as error:
        return f"it does not speak HTTP: {error}"
    if answer.status in _WHO_IS_THERE or (answer.status < 500 and _is_told_by_mlflow(body)):
        return None
    return f"it answers {answer.status} {answer.reason}"


def _is_told_by_mlflow(body: bytes) -> bool:
    try:
        told = json.loads(body)
    except ValueError:
        return False
    return isinstance(told, dict) and bool({"experiment", "error_code"} & told.keys())
