"""Ask a server for one CQL row without the driver: for who only wants to know whether it answers.

Standard library only, so that the doctor can look where nothing else is installed, and the local
stack can wait without loading half a second of driver.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Final

from twinlake.sockets import receive

_QUERY: Final = b"SELECT key FROM system.local"
_HEADER: Final = struct.Struct(">BBhBi")  # version, flags, stream, opcode, length of the body
_VERSION: Final = 4
_ANSWER: Final = 0x80
_ERROR, _STARTUP, _READY, _AUTHENTICATE, _QUERY_CODE, _RESULT = 0, 1, 2, 3, 7, 8
_ONE: Final = 1  # the consistency that a single live node satisfies
_LONGEST_BODY: Final = 1 << 20


def problem(host: str, port: int, seconds: float) -> str | None:
    """Say why no query is answered there within that time; None if one is.

    A server that asks who is there has answered, too: who may log in is not looked at.
    """
    until = time.monotonic() + seconds
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            version = _text(b"CQL_VERSION") + _text(b"3.0.0")
            code, body = _ask(connection, _STARTUP, struct.pack(">h", 1) + version, until)
            if code == _AUTHENTICATE:
                return None
            if code == _READY:
                asked = struct.pack(">i", len(_QUERY)) + _QUERY + struct.pack(">hB", _ONE, 0)
                code, body = _ask(connection, _QUERY_CODE, asked, until)
                if code == _RESULT:
                    return None
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)
    told = body[6:].decode("utf-8", "replace") if code == _ERROR else f"message {code}"
    return f"it answers {told[:200]}"


def _text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def _ask(connection: socket.socket, code: int, body: bytes, until: float) -> tuple[int, bytes]:
    connection.sendall(_HEADER.pack(_VERSION, 0, 0, code, len(body)) + body)
    version, _, _, answer, length = _HEADER.unpack(receive(connection, _HEADER.size, until))
    if not version & _ANSWER or not 0 <= length <= _LONGEST_BODY:
        raise ValueError("it does not speak CQL")
    return answer, receive(connection, length, until)
