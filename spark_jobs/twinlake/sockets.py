"""Reading from a socket by a deadline, for who asks a server without a client.

Standard library only.
"""

from __future__ import annotations

import socket
import time


def receive(connection: socket.socket, size: int, until: float) -> bytes:
    """Read so many bytes.

    Args:
        connection: An open connection.
        size: How many.
        until: The deadline, by ``time.monotonic``.

    Raises:
        TimeoutError: They did not come by then.
        ValueError: The connection was closed before.
    """
    received = b""
    while len(received) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(size - len(received))
        if not part:
            raise ValueError("it closed the connection")
        received += part
    return received
