"""Looking names up, so that a name whose servers do not answer holds up no other.

The loop's own look-ups share a few threads, and one that hangs cannot be cut short.
"""

import asyncio
import socket
import threading
from contextlib import suppress

from aiohttp.abc import AbstractResolver, ResolveResult

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
_READ = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolver(AbstractResolver):
    """Each look-up has a thread of its own, which nobody waits for as the gateway ends. Whoever asks bounds their
    number: a provider has one look-up at a time.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError where it is unknown, UnicodeError where it is none."""
        loop = asyncio.get_running_loop()
        looking: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def tell(found: list[ResolveResult] | Exception) -> None:
            if looking.done():  # nobody waits any more
                return
            if isinstance(found, Exception):
                looking.set_exception(found)
            else:
                looking.set_result(found)

        def look_up() -> None:
            try:
                found: list[ResolveResult] | Exception = _addresses(host, port, family)
            except Exception as error:  # noqa: BLE001 - it is for who asked
                found = error
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, found)

        threading.Thread(target=look_up, name=f"look-up of {host}", daemon=True).start()
        return await looking

    async def close(self) -> None:
        """Nothing is held."""


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
