"""SIGHUP, which tells a server to read its configuration anew, and which ends a process that is not ready for it.

It is held back and ignored from the first line of a server's process on, and held back in the processes that it starts:
one that comes before there is somebody to tell waits until then, and one that comes in the end changes nothing. Both
are needed: to hold it back is a thread's own matter, and a library's threads may not.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Never

_SIGHUP = {signal.SIGHUP}


@contextmanager
def block_sighup() -> Iterator[None]:
    """Meanwhile SIGHUP waits. A process that is started meanwhile holds it back as well."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGHUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handle_sighup(told: Callable[[], None]) -> Iterator[None]:
    """Meanwhile SIGHUP calls `told` on the running loop, also where it came before.

    The loop must handle some other signal by itself: only then does one wake it.
    """
    loop = asyncio.get_running_loop()
    # Not the loop's own way: where it lets go of a signal, that would end the process from there on.
    ignored = signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(told))
    held = signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGHUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        signal.signal(signal.SIGHUP, ignored)


async def run_on_event(told: asyncio.Event, act: Callable[[], Awaitable[None]]) -> Never:
    """Act each time the event was set, one time after the other; however often it is set meanwhile, once more."""
    while True:
        await told.wait()
        told.clear()
        await act()
