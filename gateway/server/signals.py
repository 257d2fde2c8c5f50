"""SIGHUP makes a server reload its configuration. Its default action would end a process that has no handler yet.

So SIGHUP is blocked and ignored from the first line of a server's process on, and blocked in the processes that it
starts. One that arrives before there is a handler is delivered once there is; one that arrives after the handler is
removed is ignored. Both are needed: a signal mask belongs to a thread, and a library's threads may not have it.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Never

_SIGHUP = {signal.SIGHUP}


@contextmanager
def block_sighup() -> Iterator[None]:
    """Block SIGHUP in this thread, and in processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGHUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handle_sighup(callback: Callable[[], None]) -> Iterator[None]:
    """Call back on the running loop at SIGHUP, also for one that is pending already.

    The loop must handle some other signal itself: only then does a signal wake it.
    """
    loop = asyncio.get_running_loop()
    # Not loop.add_signal_handler: removing that one restores the default action, which ends the process.
    previous = signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(callback))
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGHUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, previous)


def handle_stop_signals(callback: Callable[[], None]) -> None:
    """Call back on the running loop at SIGTERM and SIGINT."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, callback)


async def run_on_event(event: asyncio.Event, action: Callable[[], Awaitable[None]]) -> Never:
    """Run the action each time the event is set, never two at once; events set while it runs lead to one more run."""
    while True:
        await event.wait()
        event.clear()
        await action()
