"""SIGHUP: read the configuration, validate it as `check` does, and apply it in one step, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import structlog

from gateway.config import ConfigInvalid, Problem, Settings, changes, insecurities, requires_restart
from gateway.server.file_limits import log_too_few_files
from gateway.server.gateway import Gateway
from gateway.server.validation import store_conflicts, validate
from gateway.store.base import StoreUnavailable
from gateway.telemetry import logs
from gateway.telemetry.errors import log_unexpected_error

log = structlog.get_logger(__name__)

ValueT = TypeVar("ValueT")


async def reload(gateway: Gateway, read: Callable[[], Settings]) -> None:
    """Apply the settings that `read` returns. Logs what changed, or why nothing changed, and raises nothing."""

    async def apply() -> Settings:
        settings = await asyncio.to_thread(read)  # it reads files
        found = await gateway.reload(settings)
        logs.set_level("info")  # the result is logged at any configured level
        log.info("configuration reloaded", added=found.added, removed=found.removed, changed=found.changed)
        await asyncio.to_thread(log_insecurities, settings)  # it reads the modes of files
        log_too_few_files(settings)
        return settings

    settings = await log_reload_failure(apply())
    gateway.count_reload(succeeded=settings is not None)
    if settings is not None:
        logs.set_level(settings.log.level)


def log_insecurities(settings: Settings, config: Path | None = None) -> None:
    """Log what `check` would refuse as insecure, and what is served all the same."""
    for problem in insecurities(settings, config):
        log.warning("configuration insecure: check refuses it", path=problem.path, message=problem.message)


async def validate_reload(before: Settings, read: Callable[[], Settings]) -> Settings:
    """The settings that `read` returns, if gateways that run with `before` can apply them. Raises ConfigInvalid."""
    settings = await asyncio.to_thread(read)
    conflicts = (*requires_restart(changes(before, settings)), *await store_conflicts(settings))
    await asyncio.to_thread(validate, settings, None, conflicts)
    return settings


async def log_reload_failure(reloading: Awaitable[ValueT]) -> ValueT | None:
    """The result; None where it raises, after logging why nothing was reloaded."""
    try:
        return await reloading
    except ConfigInvalid as invalid:
        problems = invalid.problems
    except StoreUnavailable as error:
        problems = (Problem("store.url", f"{error}; send SIGHUP again when it answers"),)
    except Exception as bug:  # noqa: BLE001 - a bug of an adapter or of ours: the gateway serves on
        problems = (Problem("", f"the gateway failed, error id {log_unexpected_error(bug)}"),)
    log.error(
        "configuration not reloaded: nothing has changed",
        problems=[{"path": problem.path, "message": problem.message} for problem in problems],
    )
    return None
