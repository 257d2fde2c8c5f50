"""A proxy between a store and its server, which breaks what lies between them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes bytes on. `freeze` it, `cut` all its connections, or have it cut one instead of answering a COMMIT."""

    def __init__(self, server: Path) -> None:
        self._server = server / SOCKET
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.commits_to_lose = 0

    def lead_to(self, server: Path) -> None:
        """Lead new connections to another server; those that there are stay."""
        self._server = server / SOCKET

    def freeze(self) -> None:
        """Pass nothing on any more; new connections are taken and get no answer."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on again, what came meanwhile first."""
        self._flowing.set()

    def cut(self) -> None:
        """End all connections, as a broken network does."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, to_server = await asyncio.open_unix_connection(str(self._server))
        self._writers |= {writer, to_server}
        losing = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._to_server(reader, to_server, losing))
                group.create_task(self._to_client(there, writer, losing))
        except* OSError:
            pass
        finally:
            self._writers -= {writer, to_server}
            for each in (writer, to_server):
                each.close()

    async def _to_server(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while said := await reader.read(65536):
            if b"COMMIT\0" in said and self.commits_to_lose:
                self.commits_to_lose -= 1
                losing.set()
            await self._flowing.wait()
            writer.write(said)
            await writer.drain()
        writer.close()

    async def _to_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while said := await reader.read(65536):
            await self._flowing.wait()
            if losing.is_set():
                break  # the server has committed, and its answer is dropped
            writer.write(said)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(server: Path, folder: Path) -> AsyncIterator[Proxy]:
    """A proxy for the server whose socket is in one folder, with a socket in another."""
    proxy = Proxy(server)
    listening = await asyncio.start_unix_server(proxy.serve, str(folder / SOCKET))
    try:
        yield proxy
    finally:
        listening.close()
        proxy.thaw()
        proxy.cut()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await listening.wait_closed()
