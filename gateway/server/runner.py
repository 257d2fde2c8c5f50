"""The main coroutine of a server process: start, serve, reload on SIGHUP, stop on SIGTERM or SIGINT."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from gateway.server.signals import handle_sighup, handle_stop_signals, run_on_event
from gateway.telemetry.log_writer import write_or_drop
from gateway.telemetry.release import release

log = structlog.get_logger(__name__)


class Server(Protocol):
    """What can be served. `start` returns its addresses, and leaves nothing open where it raises or is cancelled."""

    async def start(self) -> Any: ...

    async def stop(self) -> None: ...


ServerT = TypeVar("ServerT", bound=Server)


async def run(
    create: Callable[[], ServerT], *, reload: Callable[[ServerT], Awaitable[None]], supervised: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT, or until a supervisor has ended. Raises what `create` and `start` raise.

    Once it accepts calls it prints one line with its addresses, `{"event":"serving","grpc":"127.0.0.1:40001",...}`.
    Each SIGHUP then reloads it; one that arrives during the start reloads it after the start.
    """
    stop, reload_requested = asyncio.Event(), asyncio.Event()
    handle_stop_signals(stop.set)
    with handle_sighup(reload_requested.set):
        server = create()
        async with background(_stop_when_orphaned(stop, supervised)):
            # A start can take long: it waits for a migration of the database by another process.
            if await run_unless(stop, _start(server)):
                try:
                    async with background(run_on_event(reload_requested, partial(reload, server))):
                        await stop.wait()
                finally:
                    await _stop(server)


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run coroutines as tasks inside the block, and cancel them at its end."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` and return True; cancel it and return False if `stop` is set first. Raises what `work` raises."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return not task.cancelled() and task.exception() is None
    await task
    return True


async def _start(server: Server) -> None:
    addresses = msgspec.to_builtins(await server.start())
    log.info("started", version=release(), **addresses)
    print_addresses({"event": "serving", **addresses})


async def _stop(server: Server) -> None:
    begun = monotonic()
    log.info("stopping: no more calls are accepted, and those in flight finish")
    await server.stop()
    log.info("stopped", seconds=round(monotonic() - begun, 3))


def print_addresses(message: Mapping[str, object]) -> None:
    """Print the line for programs that says where a server is. It is dropped where nothing reads it."""
    write_or_drop(sys.stdout, f"{msgspec.json.encode(message).decode()}\n")


async def _stop_when_orphaned(stop: asyncio.Event, supervised: bool) -> None:
    """Set the event when the supervisor has ended: it holds the other end of our standard input."""
    if not supervised:
        return
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(sys.stdin.fileno(), "rb", closefd=False)
    )
    await reader.read()
    stop.set()
