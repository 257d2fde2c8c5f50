"""`serve --workers N`: several gateway processes on one host, which share their ports and a PostgreSQL database.

The system spreads connections over the processes that listen on a port. A worker that ends is started again; the
supervisor itself serves nothing and holds nothing.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import structlog
from msgspec import structs

from gateway.config import Listen, Settings, load
from gateway.server.reload import log_reload_failure, validate_reload
from gateway.server.signals import block_sighup, handle_sighup, run_on_event
from gateway.telemetry import logs

log = structlog.get_logger(__name__)

ENDING_S = 1.0
"""Seconds that a worker has to end by itself, once it has closed its output without a word."""

STOPPING_S = 15.0
"""A worker that is told to stop has as long as a gateway's own grace, and some."""

RESTART_AFTER_S = 1.0
"""Seconds before a worker that ended is started again."""


class WorkerFailed(Exception):
    """A worker did not start. What it said stands on standard error; a signal that ended it is a negative code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a worker exited {code} before it served: see what it says above")
        self.code = code


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one worker: the first two are shared, each has an admin port of its own."""

    grpc: int
    callbacks: int
    admin: int

    def applied_to(self, settings: Settings) -> Settings:
        """The settings of the worker that listens there."""
        return structs.replace(
            settings,
            grpc=structs.replace(settings.grpc, listen=structs.replace(settings.grpc.listen, port=self.grpc)),
            callbacks=structs.replace(
                settings.callbacks, listen=structs.replace(settings.callbacks.listen, port=self.callbacks)
            ),
            admin=structs.replace(settings.admin, listen=structs.replace(settings.admin.listen, port=self.admin)),
        )

    def as_option(self) -> str:
        """As `--worker` takes them."""
        return f"{self.grpc},{self.callbacks},{self.admin}"

    @classmethod
    def from_option(cls, text: str) -> "Ports":
        """What `as_option` wrote. Raises ValueError."""
        grpc, callbacks, admin = map(int, text.split(","))
        return cls(grpc, callbacks, admin)


class _ReadyMessage(msgspec.Struct, frozen=True):
    """A worker's first line."""

    admin: str


class Supervisor:
    """Starts the workers, keeps them running, and ends them. Used once."""

    def __init__(self, config: Path, settings: Settings, number: int) -> None:
        self._config = config
        self._settings = settings
        self._number = number
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._admins: dict[int, str] = {}
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._spawning = asyncio.Lock()

    def reload(self) -> None:
        """Have all take on what the configuration says by now, once they serve, if it is good."""
        self._changed.set()

    def stop(self) -> None:
        """Tell all to finish what is in flight."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises WorkerFailed where one does not start at first, and OSError for a taken port."""
        with (
            _reserved(self._settings.grpc.listen) as grpc,
            _reserved(self._settings.callbacks.listen) as callbacks,
        ):
            ports = [Ports(grpc.port, callbacks.port, self._admin_port(index)) for index in range(self._number)]
            try:
                if await self._all_serve(ports):
                    self._tell(grpc, callbacks)
                    await self._keep_running(ports)
            finally:
                await self._end()

    async def _all_serve(self, ports: Sequence[Ports]) -> bool:
        """Start all; False where it is told to stop meanwhile. Raises WorkerFailed.

        It takes as long as it takes: the database may have to be migrated, here or by a gateway elsewhere.
        """
        starting = asyncio.create_task(self._start_all(ports))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._stopping.is_set():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        await starting
        return True

    async def _start_all(self, ports: Sequence[Ports]) -> None:
        # The first alone, so that one worker migrates, and a wrong configuration is told once.
        await self._start(0, ports[0])
        await asyncio.gather(*(self._start(index, ports[index]) for index in range(1, self._number)))

    def _admin_port(self, index: int) -> int:
        first = self._settings.admin.listen.port
        return first + index if first else 0

    def _tell(self, grpc: Listen, callbacks: Listen) -> None:
        said = {
            "event": "serving",
            "grpc": str(grpc),
            "callbacks": str(callbacks),
            "admin": self._admins[0],
            "workers": [
                {"pid": self._running[index].pid, "admin": self._admins[index]} for index in range(self._number)
            ],
        }
        print(msgspec.json.encode(said).decode(), flush=True)  # noqa: T201 - a line for programs

    async def _start(self, index: int, ports: Ports) -> None:
        async with self._spawning:
            with block_sighup():
                process = await self._spawned(ports)
        self._running[index] = process
        assert process.stdout is not None  # noqa: S101 - it was asked for
        line = await process.stdout.readline()
        try:
            self._admins[index] = msgspec.json.decode(line, type=_ReadyMessage).admin
        except msgspec.MsgspecError:
            # Not killed at once: its own exit code, which tells why, would be lost.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ENDING_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            raise WorkerFailed(await process.wait()) from None

    async def _spawned(self, ports: Ports) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing of the working folder is taken for a module
            "-m",
            "gateway",
            "serve",
            "--config",
            str(self._config),
            "--worker",
            ports.as_option(),
            stdin=asyncio.subprocess.PIPE,  # it ends with us, also where we are killed
            stdout=asyncio.subprocess.PIPE,
        )

    async def _keep_running(self, ports: Sequence[Ports]) -> None:
        keepers = [asyncio.create_task(self._keep(index, ports[index])) for index in range(self._number)]
        keepers.append(asyncio.create_task(run_on_event(self._changed, self._reload)))
        await self._stopping.wait()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    async def _reload(self) -> None:
        """Judge the file first, so that one that is bad is told once; each worker judges it for itself all the same."""
        settings = await log_reload_failure(validate_reload(self._settings, partial(load, self._config, os.environ)))
        if settings is None:
            return
        self._settings = settings
        logs.set_level(settings.log.level)
        # One that is being started has it waiting until it serves.
        running = [process for process in self._running.values() if process.returncode is None]
        for process in running:
            process.send_signal(signal.SIGHUP)
        log.info("configuration good: workers reload it", workers=[process.pid for process in running])

    async def _keep(self, index: int, ports: Ports) -> None:
        while True:
            code = await self._running[index].wait()
            log.error("worker ended: it is started again", worker=index, code=code, seconds=RESTART_AFTER_S)
            await asyncio.sleep(RESTART_AFTER_S)
            try:
                await self._start(index, ports)
            except (WorkerFailed, OSError) as error:
                log.warning("worker did not start: it is tried again", worker=index, detail=str(error))
            else:
                log.info("worker serves again", worker=index, pid=self._running[index].pid, admin=self._admins[index])

    async def _end(self) -> None:
        running = [process for process in self._running.values() if process.returncode is None]
        for process in running:
            process.terminate()
        if not running:
            return
        _, late = await asyncio.wait([asyncio.create_task(process.wait()) for process in running], timeout=STOPPING_S)
        if late:
            log.error("workers did not stop in time and are killed", count=len(late), seconds=STOPPING_S)
            for process in running:
                if process.returncode is None:
                    process.kill()
            await asyncio.wait(late)


async def orphaned(stop: asyncio.Event) -> None:
    """Set the event when the supervisor is gone: it holds the other end of our standard input."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(sys.stdin.fileno(), "rb", closefd=False)
    )
    await reader.read()
    stop.set()


@contextlib.contextmanager
def _reserved(at: Listen) -> Iterator[Listen]:
    """Hold a port without listening on it, so that the workers can share it and nobody else takes it."""
    with socket.socket(socket.AF_INET6 if ":" in at.host else socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind((at.host, at.port))
        except OSError as error:
            raise OSError(f"cannot listen on {at}: {error.strerror}") from error
        yield structs.replace(at, port=held.getsockname()[1])


def supervise(config: Path, settings: Settings, number: int) -> None:
    """Run so many workers until SIGTERM or SIGINT. Raises WorkerFailed and OSError."""

    async def run() -> None:
        workers = Supervisor(config, settings, number)
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signalled, workers.stop)
        with handle_sighup(workers.reload):
            await workers.run()

    asyncio.run(run())
