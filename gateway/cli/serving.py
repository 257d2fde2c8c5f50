"""The commands that serve until they are told to stop. What prints for people is not loaded here."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from gateway.app import running
from gateway.app.gateway import CannotStart, Gateway
from gateway.app.surroundings import secrets_of
from gateway.cli.telling import EXIT_CANNOT_START, refuse, settings_of, tell
from gateway.config import ConfigInvalid, Settings
from gateway.telemetry import logs


def serve(config: str, worker: str = "") -> None:
    """Serve the gateway; `worker` holds the ports of one worker, from its supervisor. Exits where it cannot."""
    settings = _begun(Path(config))
    if worker:
        from gateway.app.workers import Ports  # of no use to a gateway that is alone

        settings = Ports.from_option(worker).applied_to(settings)
    _run("gateway", Path(config), partial(Gateway, settings, shares_ports=bool(worker)), supervised=bool(worker))


def wallet(config: str) -> None:
    """Serve the built-in ledger alone. Exits where it cannot."""
    from gateway.app.wallet_server import WalletServer  # of no use to a gateway

    _run("wallet", Path(config), partial(WalletServer, _begun(Path(config))))


def _begun(config: Path) -> Settings:
    settings = settings_of(config)
    logs.configure(settings.log.level, secrets_of(settings))
    return settings


def _run(what: str, config: Path, made: Callable[[], running.Server], *, supervised: bool = False) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(running.run(made, supervised=supervised))
    except ConfigInvalid as invalid:
        refuse(config, invalid.problems)
    except CannotStart as error:
        tell(f"The {what} cannot start: {error}")
        raise SystemExit(EXIT_CANNOT_START) from None
