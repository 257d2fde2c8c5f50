"""`serve --workers N`: several gateway processes on one host, which share their ports and a PostgreSQL database.

The kernel spreads connections over the processes that listen on a port. The supervisor restarts a worker that exits;
it accepts no calls and keeps no state.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import structlog

from gateway.config import Listen, Settings, load
from gateway.server.ports import Ports, admin_ports, reserve
from gateway.server.reload import log_reload_failure, validate_reload
from gateway.server.runner import background, print_addresses, run_unless
from gateway.server.signals import block_sighup, handle_sighup, handle_stop_signals, run_on_event
from gateway.telemetry import logs

log = structlog.get_logger(__name__)

EXIT_TIMEOUT_S = 1.0
"""Seconds for a worker to exit after it closed its output without a ready message; then it is killed."""

STOP_TIMEOUT_S = 15.0
"""Seconds for workers to exit after SIGTERM, more than a gateway's own grace; then they are killed."""

RESTART_DELAY_S = 1.0
"""Seconds before a worker that exited is started again."""


class WorkerFailed(Exception):
    """A worker exited before it served; it wrote why to standard error. For a signal that ended it `code` is < 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a worker exited with code {code} before it served: its reason is logged above")
        self.code = code


class _ReadyMessage(msgspec.Struct, frozen=True):
    """A worker's first line."""

    admin: str


@dataclass
class _Worker:
    """A worker that was started, and is started again with the same ports."""

    process: asyncio.subprocess.Process
    admin: str = ""


class Supervisor:
    """Starts the workers, restarts those that exit, and stops them. Used once."""

    def __init__(self, config: Path, settings: Settings, workers: int) -> None:
        self._config = config
        self._settings = settings
        self._count = workers
        self._workers: dict[int, _Worker] = {}
        self._stop_requested = asyncio.Event()
        self._reload_requested = asyncio.Event()
        self._spawning = asyncio.Lock()

    def reload(self) -> None:
        """Reload the configuration in all workers, once they serve, if it is valid."""
        self._reload_requested.set()

    def stop(self) -> None:
        """Stop all workers: they finish what is in flight."""
        self._stop_requested.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises WorkerFailed where a worker fails to start at first, OSError for a taken port."""
        with reserve(self._settings.grpc.listen) as grpc, reserve(self._settings.callbacks.listen) as callbacks:
            admin = admin_ports(self._settings.admin.listen.port, self._count)
            ports = [Ports(number, grpc.port, callbacks.port, port) for number, port in enumerate(admin)]
            try:
                # A start can take long: it waits for a migration of the database by another process.
                if await run_unless(self._stop_requested, self._start_all(ports)):
                    self._print_addresses(grpc, callbacks)
                    restarts = [self._restart_on_exit(index, each) for index, each in enumerate(ports)]
                    async with background(*restarts, run_on_event(self._reload_requested, self._reload)):
                        await self._stop_requested.wait()
            finally:
                await self._terminate_all()

    async def _start_all(self, ports: Sequence[Ports]) -> None:
        # The first one alone: one worker migrates, and a configuration that cannot be served is reported once.
        await self._start(0, ports[0])
        await asyncio.gather(*(self._start(index, ports[index]) for index in range(1, self._count)))

    async def _start(self, index: int, ports: Ports) -> None:
        """Start a worker, and wait until it serves. Raises WorkerFailed."""
        async with self._spawning:
            with block_sighup():
                worker = self._workers[index] = _Worker(await self._spawn(ports))
        assert worker.process.stdout is not None  # noqa: S101 - it is a pipe
        line = await worker.process.stdout.readline()
        try:
            worker.admin = msgspec.json.decode(line, type=_ReadyMessage).admin
        except msgspec.MsgspecError:
            # Not killed at once: that would replace its own exit code, which says why.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_TIMEOUT_S):
                    await worker.process.wait()
            if worker.process.returncode is None:
                worker.process.kill()
            raise WorkerFailed(await worker.process.wait()) from None

    async def _spawn(self, ports: Ports) -> asyncio.subprocess.Process:
        # -P: no module is imported from the working folder.
        command = (sys.executable, "-P", "-m", "gateway", "serve", "--config", str(self._config))
        return await asyncio.create_subprocess_exec(
            *command,
            "--worker",
            ports.as_option(),
            stdin=asyncio.subprocess.PIPE,  # it closes when we end, also where we are killed
            stdout=asyncio.subprocess.PIPE,
        )

    def _print_addresses(self, grpc: Listen, callbacks: Listen) -> None:
        workers = [self._workers[index] for index in range(self._count)]
        print_addresses(
            {
                "event": "serving",
                "grpc": str(grpc),
                "callbacks": str(callbacks),
                "admin": workers[0].admin,
                "workers": [{"pid": worker.process.pid, "admin": worker.admin} for worker in workers],
            }
        )

    async def _reload(self) -> None:
        """Validate the file, so that an invalid one is reported once; each worker validates it again."""
        settings = await log_reload_failure(validate_reload(self._settings, partial(load, self._config, os.environ)))
        if settings is None:
            return
        self._settings = settings
        logs.set_level(settings.log.level)
        alive = self._alive()
        for process in alive:
            process.send_signal(signal.SIGHUP)  # a worker that is starting handles it once it serves
        log.info("configuration valid, workers reload it", workers=[process.pid for process in alive])

    async def _restart_on_exit(self, index: int, ports: Ports) -> None:
        while True:
            code = await self._workers[index].process.wait()
            log.error("worker exited, will restart", worker=index, code=code, delay_s=RESTART_DELAY_S)
            await asyncio.sleep(RESTART_DELAY_S)
            try:
                await self._start(index, ports)
            except (WorkerFailed, OSError) as error:
                log.warning("worker did not start, will retry", worker=index, error=str(error))
            else:
                worker = self._workers[index]
                log.info("worker restarted", worker=index, pid=worker.process.pid, admin=worker.admin)

    def _alive(self) -> list[asyncio.subprocess.Process]:
        processes = (worker.process for worker in self._workers.values())
        return [process for process in processes if process.returncode is None]

    async def _terminate_all(self) -> None:
        alive = self._alive()
        for process in alive:
            process.terminate()
        if not alive:
            return
        _, late = await asyncio.wait([asyncio.create_task(process.wait()) for process in alive], timeout=STOP_TIMEOUT_S)
        if late:
            log.error("workers did not stop in time, killing them", count=len(late), timeout_s=STOP_TIMEOUT_S)
            for process in self._alive():
                process.kill()
            await asyncio.wait(late)


def supervise(config: Path, settings: Settings, workers: int) -> None:
    """Run workers until SIGTERM or SIGINT. Raises WorkerFailed and OSError."""

    async def run() -> None:
        supervisor = Supervisor(config, settings, workers)
        handle_stop_signals(supervisor.stop)
        with handle_sighup(supervisor.reload):
            await supervisor.run()

    asyncio.run(run())
