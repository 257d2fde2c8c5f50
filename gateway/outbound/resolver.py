"""Resolves names so that a DNS server that hangs for one name delays no other.

The loop's own getaddrinfo shares a few threads, and a query that hangs cannot be cancelled.
"""

import asyncio
import socket
import threading
from contextlib import suppress

from aiohttp.abc import AbstractResolver, ResolveResult

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
_READ = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolver(AbstractResolver):
    """Each query has its own daemon thread, which the end of the process does not wait for. The caller limits their
    number: a provider has one query at a time.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError for an unknown name, UnicodeError for an invalid one."""
        loop = asyncio.get_running_loop()
        query: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def set_result(found: list[ResolveResult] | Exception) -> None:
            if query.done():  # cancelled
                return
            if isinstance(found, Exception):
                query.set_exception(found)
            else:
                query.set_result(found)

        def resolve() -> None:
            try:
                found: list[ResolveResult] | Exception = _addresses(host, port, family)
            except Exception as error:  # noqa: BLE001 - raised to the caller
                found = error
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(set_result, found)

        threading.Thread(target=resolve, name=f"resolve {host}", daemon=True).start()
        return await query

    async def close(self) -> None:
        """Nothing to close."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    return [
        ResolveResult(
            hostname=host,
            host=socket.getnameinfo(address, _NUMERIC)[0],  # with its scope, where it is link-local
            port=port,
            family=found,
            proto=proto,
            flags=_READ,
        )
        for found, _, proto, _, address in socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
        )
    ]
