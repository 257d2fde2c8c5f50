"""Ports that a test keeps while nothing listens on them: otherwise another test's server may get one meanwhile."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port(port: int = 0) -> Iterator[int]:
    """Keep a port, by default a free one, so that the system gives it to nobody else. Connections to it are refused."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may still be closing
        bound.bind(("127.0.0.1", port))
        held: int = bound.getsockname()[1]
        yield held
