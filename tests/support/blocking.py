"""Blocking calls on an event loop: a call that waits for a disk, a lock or a peer stops all else on that loop."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from pathlib import Path
from types import FrameType
from typing import Any

from blockbuster import BlockBuster

import gateway

GATEWAY = str(Path(gateway.__file__).parent)
TESTS = str(Path(__file__).parents[1])

ALLOWED = (
    ("gateway/server/gateway.py", "__init__", "start-up reads certificates and metadata of packages"),
    ("gateway/server/gateway.py", "start", "the same: nothing is served yet"),
    ("gateway/wallet/remote.py", "start", "the same, of the operator's wallet"),
    ("gateway/rpc/server.py", "start", "pygrpc-native makes a temporary folder: nothing is served yet"),
    ("gateway/rpc/server.py", "start_on_socket", "the same, and a look at the socket's file"),
    ("gateway/rpc/native.py", "stop", "pygrpc-native removes that folder: nothing is served any more"),
    ("gateway/store/postgres/connection.py", "connect", "asyncpg looks for ~/.pgpass and ~/.postgresql: a few stats"),
    ("gateway/store/migration_files.py", "migrations", "the release's own files, before a store is open"),
    ("gateway/telemetry/metrics.py", "_build", "the release's number is read once in a process"),
    ("<frozen importlib._bootstrap>", "_find_and_load", "a module is imported once in a process"),
    ("prometheus_client/process_collector.py", "collect", "/proc is memory"),
)
"""The ends of files, functions in them, and why what they call may block."""

LOCKS = ("threading.Lock.acquire", "threading.Lock.acquire_lock")
"""Not checked: grpc's and the executor's threads hold theirs for microseconds, which a test meets by chance."""


@contextmanager
def blocking_calls_raise() -> Iterator[None]:
    """Raise blockbuster.BlockingError where code of the gateway blocks a running event loop."""
    blockbuster = BlockBuster("gateway")
    for name in LOCKS:
        del blockbuster.functions[name]
    for function in blockbuster.functions.values():
        for file, name, _ in ALLOWED:
            function.can_block_in(file, name)

        def may_block(*args: Any, _nonblocking: Any = function.can_block_predicate, **kwargs: Any) -> bool:
            return _nonblocking(*args, **kwargs) or _is_of_a_test(sys._getframe(1))

        function.can_block_predicate = may_block
    blockbuster.activate()
    try:
        yield
    finally:
        blockbuster.deactivate()


def _is_of_a_test(frame: FrameType | None) -> bool:
    """Whether a test's own code blocks: below what the gateway calls, or by a plain function of the gateway.

    A plain function that a test calls is run by a command or on a thread where it matters.
    """
    outermost: FrameType | None = None
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(TESTS) and file != __file__:
            return outermost is None or not outermost.f_code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)
        if file.startswith(GATEWAY):
            outermost = frame
        frame = frame.f_back
    return False
