"""Resolves names so that a DNS server that hangs for one name delays no other.

The loop's own getaddrinfo shares a few threads, and a query that hangs cannot be cancelled.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohappyeyeballs import AddrInfoType

Resolve = Callable[[str, int], Awaitable[list[AddrInfoType]]]
"""The addresses of a host and a port, as socket.getaddrinfo returns them."""


async def resolve(host: str, port: int) -> list[AddrInfoType]:
    """The addresses of a name. Raises OSError for an unknown name, UnicodeError for an invalid one.

    Each query has its own daemon thread, which the end of the process does not wait for. The caller limits their
    number: a provider has one query at a time.
    """
    loop = asyncio.get_running_loop()
    query: asyncio.Future[list[AddrInfoType]] = loop.create_future()

    def set_result(found: list[AddrInfoType] | Exception) -> None:
        if query.done():  # cancelled
            return
        if isinstance(found, Exception):
            query.set_exception(found)
        else:
            query.set_result(found)

    def run_query() -> None:
        found: list[AddrInfoType] | Exception
        try:
            found = [*socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)]
        except Exception as error:  # noqa: BLE001 - raised to the caller
            found = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(set_result, found)

    threading.Thread(target=run_query, name=f"resolve {host}", daemon=True).start()
    return await query
