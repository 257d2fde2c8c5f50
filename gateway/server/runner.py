"""A process that serves: it starts, says where it listens, and ends when it is told to, also while it still starts."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from gateway.server.signals import handle_sighup, run_on_event


class Server(Protocol):
    """What can be served. `start` answers its addresses, and leaves nothing open where it raises or is cancelled."""

    async def start(self) -> Any: ...

    async def stop(self) -> None: ...


ServerT = TypeVar("ServerT", bound=Server)


async def run(
    made: Callable[[], ServerT], *, reload: Callable[[ServerT], Awaitable[None]], supervised: bool = False
) -> None:
    """Serve what is made until SIGTERM or SIGINT, or until a supervisor is gone. Raises what it and its `start` raise.

    Once it takes calls it prints one line with its addresses, `{"event":"serving","grpc":"127.0.0.1:40001",...}`.
    From then on each SIGHUP has it reloaded; one that comes while it starts does so then.
    """
    stop, changed = asyncio.Event(), asyncio.Event()
    for signalled in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signalled, stop.set)
    with handle_sighup(changed.set):
        server = made()
        orphan = _orphaned(stop) if supervised else None
        try:
            if await _started(server, stop):
                try:
                    await _until(stop, run_on_event(changed, partial(reload, server)))
                finally:
                    await server.stop()
        finally:
            if orphan is not None:
                orphan.cancel()


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Let work go on until the event is set, and have it ended then."""
    working = asyncio.create_task(work)
    try:
        await stop.wait()
    finally:
        working.cancel()
        await asyncio.wait({working})


def _orphaned(stop: asyncio.Event) -> asyncio.Task[None]:
    from gateway.server.supervisor import orphaned  # noqa: PLC0415 - of no use to one that is alone

    return asyncio.create_task(orphaned(stop))


async def _started(server: Server, stop: asyncio.Event) -> bool:
    """Start it, and say so; False where it is told to stop meanwhile: a start may wait for another's migration."""
    starting, stopping = asyncio.create_task(server.start()), asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return False
    listening = msgspec.to_builtins(starting.result())
    print(msgspec.json.encode({"event": "serving", **listening}).decode(), flush=True)  # noqa: T201 - a line for programs
    return True
