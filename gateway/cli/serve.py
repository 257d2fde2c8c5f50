"""The commands that run a server until SIGTERM or SIGINT."""

import asyncio
import gc
import os
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
import typer
import uvloop

from gateway.cli.output import EXIT_FAILED, exit_with_problems, print_error
from gateway.config import ConfigInvalid, Settings, UnixSocket, load
from gateway.masking.by_value import KnownSecrets
from gateway.server import runner
from gateway.server.file_limits import log_too_few_files, raise_file_limit
from gateway.server.gateway import CannotStart, Gateway
from gateway.server.ports import NO_WORKERS, Ports
from gateway.server.reload import log_insecurities, reload
from gateway.server.supervisor import WorkerFailed, supervise
from gateway.server.validation import secrets_of
from gateway.server.wallet_server import WalletServer
from gateway.telemetry import logs

log = structlog.get_logger(__name__)

GC_THRESHOLD = 10_000
"""Allocated containers before a collection. The default of 700 is fewer than the calls in flight hold, so that most
survive, and full collections visit all modules again and again: a tenth of a call's processor time, measured.
"""


def serve_gateway(config: Path, worker: str = "") -> None:
    """Run one gateway process; `worker` holds the ports that its supervisor gave it. Exits if it cannot start."""
    with _exit_on_failure("gateway", config):
        settings, secrets = _prepare(config, worker)
        make = partial(Gateway, settings, shares_ports=bool(worker), secrets=secrets)
        reload_gateway = partial(reload, read=partial(_load, config, worker))
        _run(runner.run(make, reload=reload_gateway, supervised=bool(worker)))


def serve_workers(config: Path, workers: int) -> None:
    """Run several gateway processes on this host. Exits if one cannot start."""
    with _exit_on_failure("gateway", config):
        settings, _ = _prepare(config)
        if settings.store.is_sqlite:
            raise typer.BadParameter(
                "SQLite serves one process: set [store] url to a postgresql:// url, or omit --workers",
                param_hint="--workers",
            )
        if isinstance(settings.grpc.listen, UnixSocket):
            raise typer.BadParameter(NO_WORKERS, param_hint="--workers")
        try:
            supervise(config, settings, workers)
        except OSError as error:
            raise CannotStart(str(error)) from error


def serve_wallet(config: Path) -> None:
    """Run the built-in ledger alone. Exits if it cannot start."""
    with _exit_on_failure("wallet", config):
        settings, _ = _prepare(config)
        _run(runner.run(partial(WalletServer, settings), reload=_ignore_reload))


def _run(main: Coroutine[Any, Any, None]) -> None:
    gc.set_threshold(GC_THRESHOLD)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main)


def _load(config: Path, worker: str = "") -> Settings:
    """Read the file and apply a worker's ports. Raises ConfigInvalid."""
    settings = load(config, os.environ)
    return Ports.from_option(worker).applied_to(settings) if worker else settings


def _prepare(config: Path, worker: str = "") -> tuple[Settings, KnownSecrets]:
    """Raise the limit of open files, read the file and configure logging. Returns the settings, and the secrets that
    the log masks.

    Logs what is insecure or does not fit, but for a worker: its supervisor does.
    """
    raise_file_limit()
    settings = _load(config, worker)
    secrets = KnownSecrets(secrets_of(settings))
    logs.configure(settings.log.level, secrets, worker=Ports.from_option(worker).worker if worker else None)
    sys.excepthook = _log_crash
    if not worker:
        log_insecurities(settings, config)
        log_too_few_files(settings)
    return settings, secrets


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of Python's own, which waits for a reader of standard error, and masks nothing."""
    log.critical("the process ends: this is a bug, report it with this line", exc_info=(kind, error, trace))


async def _ignore_reload(wallet: runner.Server) -> None:
    log.warning("SIGHUP changes nothing: a wallet reads its configuration when it starts, so restart it")


@contextmanager
def _exit_on_failure(server: str, config: Path) -> Iterator[None]:
    """Print why a server cannot start, and exit."""
    try:
        yield
    except ConfigInvalid as invalid:
        exit_with_problems(config, invalid.problems)
    except (CannotStart, WorkerFailed) as error:
        print_error(f"The {server} cannot start: {error}")
        code = error.code if isinstance(error, WorkerFailed) else EXIT_FAILED
        raise SystemExit(max(code, EXIT_FAILED)) from None
