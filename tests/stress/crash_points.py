"""A gateway, or a wallet, that kills itself: `python -m tests.stress.crash_points gateway|wallet --config FILE`.

It is the real one, built from its configuration, with traps at the named points. The line `start` on standard input
makes it serve: the next process can be loaded before that. `kill AT N` makes it end by SIGKILL at the N-th Result from
then on that passes that point, after a line on standard output.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Any, Protocol

import msgspec
import uvloop

from gateway.config import Settings, load
from gateway.server.gateway import Gateway
from gateway.server.validation import secrets_of
from gateway.server.wallet_server import WalletServer
from gateway.telemetry import logs

START = "start"


@unique
class Point(StrEnum):
    """Where a Result is when the process ends."""

    BEFORE_WALLET = "BEFORE_WALLET"
    """It is validated, the wallet is not called yet."""
    AFTER_WALLET = "AFTER_WALLET"
    """The wallet has committed, and has not answered yet."""
    AFTER_JOURNAL = "AFTER_JOURNAL"
    """All is durable, the answer is not written to the socket yet."""


@dataclass
class Trap:
    """Kills the process at the last of `left` passages through `at`."""

    at: str = ""
    left: int = 0

    def passing(self, point: Point) -> None:
        """Count a passage; the last one ends the process."""
        if self.at != point:
            return
        self.left -= 1
        if self.left <= 0:
            os.write(sys.stdout.fileno(), f"{point}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()  # nothing more happens on this thread

    def before(self, subject: object, name: str, point: Point) -> None:
        """Make calls of a method pass the point before they run."""
        inner: Callable[..., Awaitable[Any]] = getattr(subject, name)

        async def passing(*args: Any, **kwargs: Any) -> Any:
            self.passing(point)
            return await inner(*args, **kwargs)

        setattr(subject, name, passing)

    def after(self, subject: object, name: str, point: Point) -> None:
        """Make calls of a method pass the point after they ran."""
        inner: Callable[..., Awaitable[Any]] = getattr(subject, name)

        async def passing(*args: Any, **kwargs: Any) -> Any:
            answer = await inner(*args, **kwargs)
            self.passing(point)
            return answer

        setattr(subject, name, passing)


class Server(Protocol):
    """A server that can be started and stopped."""

    async def start(self) -> Any: ...

    async def stop(self) -> None: ...


def gateway_with(trap: Trap, settings: Settings) -> Server:
    """A gateway whose Results pass the trap at all three points."""
    gateway = Gateway(settings)
    trap.before(gateway.wallet, "credit", Point.BEFORE_WALLET)
    trap.after(gateway.store, "apply", Point.AFTER_WALLET)
    # The operator's wallet has answered before its credit is recorded here.
    trap.before(gateway.store, "record_outcome", Point.AFTER_WALLET)
    trap.after(gateway.callback_processor, "process", Point.AFTER_JOURNAL)
    return gateway


def wallet_with(trap: Trap, settings: Settings) -> Server:
    """A wallet: called and not committed yet, or committed and not answered yet."""
    wallet = WalletServer(settings)
    trap.before(wallet._store, "apply", Point.BEFORE_WALLET)
    trap.after(wallet._store, "apply", Point.AFTER_WALLET)
    return wallet


ROLES: Mapping[str, Callable[[Trap, Settings], Server]] = {"gateway": gateway_with, "wallet": wallet_with}


async def serve(server: Server, trap: Trap) -> None:
    """Serve as `session-gateway` does, and accept commands."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def command() -> None:
        line = os.read(sys.stdin.fileno(), 1000).decode()
        if not line:
            os._exit(1)  # the parent process has ended
        _, trap.at, left = line.split()
        trap.left = int(left)

    loop.add_reader(sys.stdin.fileno(), command)
    listening = await server.start()
    said = {"grpc": listening} if isinstance(listening, str) else listening
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await server.stop()


async def main(role: str, config: Path) -> None:
    """Wait for the start, and serve."""
    settings = load(config, os.environ)
    logs.configure(settings.log.level, secrets_of(settings))
    # Unbuffered: what follows the line belongs to `serve`.
    if os.read(sys.stdin.fileno(), len(START) + 1).decode() != f"{START}\n":
        return
    trap = Trap()
    await serve(ROLES[role](trap, settings), trap)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--config", type=Path, required=True)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(given.role, given.config))
