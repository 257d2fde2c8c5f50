"""The commands that serve until they are told to stop. What prints for people is not loaded here."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog
import uvloop

from gateway.cli.output import EXIT_CANNOT_START, exit_with_problems, print_error
from gateway.config import ConfigInvalid, Settings, load
from gateway.masking.by_value import KnownSecrets
from gateway.server import runner
from gateway.server.gateway import CannotStart, Gateway
from gateway.server.reload import reload
from gateway.server.validation import secrets_of
from gateway.telemetry import logs

log = structlog.get_logger(__name__)


def serve(config: str, worker: str = "") -> None:
    """Serve the gateway; `worker` holds the ports of one worker, from its supervisor. Exits where it cannot."""
    with _explained("gateway", Path(config)):
        settings = _read(Path(config), worker)
        secrets = _logged(settings)
        made = partial(Gateway, settings, shares_ports=bool(worker), secrets=secrets)
        reloaded = partial(reload, read=partial(_read, Path(config), worker))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(runner.run(made, reload=reloaded, supervised=bool(worker)))


def wallet(config: str) -> None:
    """Serve the built-in ledger alone. Exits where it cannot."""
    from gateway.server.wallet_server import WalletServer  # of no use to a gateway

    with _explained("wallet", Path(config)):
        settings = _read(Path(config))
        _logged(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(runner.run(partial(WalletServer, settings), reload=_not_reloaded))


def _read(config: Path, worker: str = "") -> Settings:
    """What stands in the file, with the ports of a worker where it is one. Raises ConfigInvalid."""
    settings = load(config, os.environ)
    if not worker:
        return settings
    from gateway.server.ports import Ports  # not loaded by a gateway without workers

    return Ports.from_option(worker).applied_to(settings)


def _logged(settings: Settings) -> KnownSecrets:
    """Log as the settings say; answers what the log masks."""
    secrets = KnownSecrets(secrets_of(settings))
    logs.configure(settings.log.level, secrets)
    return secrets


async def _not_reloaded(wallet: runner.Server) -> None:
    log.warning("SIGHUP changes nothing: a wallet reads its configuration when it starts, so restart it")


@contextmanager
def _explained(what: str, config: Path) -> Iterator[None]:
    """Tell why a server cannot start, and exit."""
    try:
        yield
    except ConfigInvalid as invalid:
        exit_with_problems(config, invalid.problems)
    except CannotStart as error:
        print_error(f"The {what} cannot start: {error}")
        raise SystemExit(EXIT_CANNOT_START) from None
