"""SIGHUP: the configuration is read anew, judged as `check` judges it, and taken on in one step, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import structlog

from gateway.config import ConfigInvalid, Problem, Settings, changes, takes_restart
from gateway.server.fitting import validate
from gateway.server.validation import store_conflicts
from gateway.store.base import StoreUnavailable
from gateway.telemetry import logs
from gateway.telemetry.errors import log_unexpected_error

if TYPE_CHECKING:
    from gateway.server.gateway import Gateway  # a supervisor of workers reloads none

log = structlog.get_logger(__name__)

ValueT = TypeVar("ValueT")


async def reload(gateway: "Gateway", read: Callable[[], Settings]) -> None:
    """Have a gateway take on what `read` answers. Logs what changed, or why nothing did; raises neither."""

    async def taken_on() -> Settings:
        settings = await asyncio.to_thread(read)  # it reads files
        found = await gateway.reload(settings)
        logs.set_level("info")  # whoever asked for it is answered at any level
        log.info("configuration reloaded", added=found.added, removed=found.removed, changed=found.changed)
        return settings

    if settings := await log_reload_failure(taken_on()):
        logs.set_level(settings.log.level)


async def validate_reload(before: Settings, read: Callable[[], Settings]) -> Settings:
    """What `read` answers, if gateways that serve by `before` can take it on. Raises ConfigInvalid."""
    settings = await asyncio.to_thread(read)
    impossible = (*takes_restart(changes(before, settings)), *await store_conflicts(settings))
    await asyncio.to_thread(validate, settings, None, impossible)
    return settings


async def log_reload_failure(reloaded: Awaitable[ValueT]) -> ValueT | None:
    """What it answers; None where it raises, and why nothing was reloaded is logged then."""
    try:
        return await reloaded
    except ConfigInvalid as invalid:
        problems = invalid.problems
    except StoreUnavailable as error:
        problems = (Problem("store.url", f"{error}; send SIGHUP again when it answers"),)
    except Exception as bug:  # noqa: BLE001 - an adapter's, or ours: what serves goes on
        problems = (Problem("", f"the gateway failed, error id {log_unexpected_error(bug)}"),)
    log.error(
        "configuration not reloaded: nothing has changed",
        problems=[{"path": problem.path, "message": problem.message} for problem in problems],
    )
    return None
