"""Accepts TCP connections, a few in each turn of the event loop.

The libraries of event loops accept all that wait, and report a connection after its TLS handshake. Here a connection
is known from its accept on, and connections that were accepted before are read before many more are accepted.
"""

import asyncio
import errno
import select
import socket
from collections.abc import Callable

BACKLOG = 4096
"""Connections that the system keeps until they are accepted; its own limit may be lower
(`net.core.somaxconn`). A caller beyond that tries again after a second.
"""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_SHORTAGE_PAUSE_S = 0.1

Accepted = Callable[[socket.socket, str], None]
"""Takes a new connection, and the address of its other end."""


class Listener:
    """Listening sockets. `on_shortage` is called when the host has no file or memory for another connection."""

    def __init__(
        self,
        sockets: list[socket.socket],
        accepted: Accepted,
        per_turn: Callable[[], int],
        on_shortage: Callable[[], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._accepted = accepted
        self._per_turn = per_turn
        self._on_shortage = on_shortage
        for listening in sockets:
            self._resume(listening)

    @property
    def is_open(self) -> bool:
        """Whether it accepts connections."""
        return bool(self._sockets)

    def close(self) -> None:
        """Accept what waits, and close the sockets."""
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            self._loop.remove_reader(listening)
            self._accept(listening, BACKLOG)
            listening.close()

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._on_readable, listening)

    def _on_readable(self, listening: socket.socket) -> None:
        self._accept(listening, self._per_turn())

    def _accept(self, listening: socket.socket, most: int) -> None:
        for _ in range(most):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    raise
                if not _has_waiting(listening):  # Linux looks for a file before it looks for a connection
                    return
                self._loop.remove_reader(listening)
                self._loop.call_later(_SHORTAGE_PAUSE_S, self._resume, listening)
                self._on_shortage()
                return
            connection.setblocking(False)
            self._accepted(connection, str(address[0]))


def _has_waiting(listening: socket.socket) -> bool:
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    return bool(poll.poll(0))
