"""Ask a Kafka broker for its cluster without a client: for who only wants to know if it answers.

Standard library only, so that the doctor can look where nothing else is installed, and the local
stack can wait without loading a client that retries on its own.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from twinlake.sockets import receive

_METADATA: Final = 3
_VERSION: Final = 1  # every broker since 0.10 answers it
_ASKED_AS: Final = b"twinlake"
_NUMBER: Final = 1  # the answer must carry the number of the question
_LONGEST_BODY: Final = 1 << 20


def problem(host: str, port: int, seconds: float) -> str | None:
    """Say why there is no cluster that works there, asked within that time; None if there is.

    A broker lists only those that may serve, so one that has just started does not list itself
    until it may.
    """
    until = time.monotonic() + seconds
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            brokers, controller = _cluster(_ask(connection, until))
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, struct.error) as error:
        return str(error) if isinstance(error, ValueError) else "it does not speak Kafka"
    if not brokers:
        return "it answers, but lists no broker that may serve"
    return None if controller in brokers else "it answers, but its cluster has no controller"


def _ask(connection: socket.socket, until: float) -> bytes:
    """Ask for brokers and controller, and for no topic; the body of the answer."""
    head = struct.pack(">hhih", _METADATA, _VERSION, _NUMBER, len(_ASKED_AS)) + _ASKED_AS
    asked = head + struct.pack(">i", 0)
    connection.sendall(struct.pack(">i", len(asked)) + asked)
    (length,) = struct.unpack(">i", receive(connection, 4, until))
    if not 4 <= length <= _LONGEST_BODY:
        raise ValueError("it does not speak Kafka")
    answer = receive(connection, length, until)
    if struct.unpack_from(">i", answer)[0] != _NUMBER:
        raise ValueError("it does not speak Kafka")
    return answer[4:]


def _cluster(body: bytes) -> tuple[Sequence[int], int]:
    """The ids of the brokers, and that of the controller."""
    (count,) = struct.unpack_from(">i", body)
    place, brokers = 4, []
    for _ in range(count):
        brokers.append(struct.unpack_from(">i", body, place)[0])
        place = _behind_text(body, place + 4)  # its host
        place = _behind_text(body, place + 4)  # its port, then its rack
    return brokers, struct.unpack_from(">i", body, place)[0]


def _behind_text(body: bytes, place: int) -> int:
    """Where the text that begins here ends; a length of -1 is none."""
    (length,) = struct.unpack_from(">h", body, place)
    return place + 2 + max(int(length), 0)
