"""Ports of this machine that stay a test's own while nobody listens there."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_HELD: Final[list[socket.socket]] = []


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that no other program is given. Whoever connects is refused, until a server that shares ports listens."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def held_port() -> int:
    """A port that no other program is given as long as this process runs, for a server that reuses addresses.

    Programs of others do, and share ports with nobody.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _HELD.append(holder)
    return int(holder.getsockname()[1])
