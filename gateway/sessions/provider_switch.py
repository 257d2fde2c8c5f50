"""Disabling and enabling providers while the gateway runs: kept in the store, the same for all gateways that use it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from gateway.store.base import ProviderSwitchStore, StoreUnavailable
from gateway.store.models import Actor, ProviderState, ProviderStateChange
from gateway.telemetry.errors import log_unexpected_error

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.5
"""Seconds between two reads of what other gateways changed: each change must apply here within one second."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """Who disabled a provider, why, and since when."""

    actor: Actor
    reason: str
    since: datetime


@dataclass(slots=True)
class EnabledState:
    """Whether a provider may be called. `disabled` is None where it is enabled."""

    disabled: Disabled | None = None
    listeners: list[Callable[[], None]] = field(default_factory=list)
    """Called after each change."""
    _number: int = 0

    def apply(self, change: ProviderStateChange) -> None:
        """Apply a change, unless a newer one was applied before it: a read of the store may be outdated."""
        if change.number <= self._number:
            return
        self._number = change.number
        self.disabled = (
            Disabled(change.actor, change.reason, change.at) if change.state is ProviderState.DISABLED else None
        )
        for listener in self.listeners:
            listener()


class ProviderSwitches:
    """The enabled state of each provider, by its name. Started and stopped once."""

    def __init__(
        self, store: ProviderSwitchStore, clock: Callable[[], datetime], *, poll_interval_s: float = POLL_INTERVAL_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._poll_interval_s = poll_interval_s
        self._states: dict[str, EnabledState] = {}
        self._task: asyncio.Task[None] | None = None

    def of(self, provider: str) -> EnabledState:
        """A provider's state: always the same object, up to date once started."""
        return self._states.setdefault(provider, EnabledState())

    async def start(self) -> None:
        """Read all states, and start to poll for changes by other gateways. Raises StoreUnavailable."""
        await self._poll()
        self._task = asyncio.get_running_loop().create_task(self._poll_loop())

    async def stop(self) -> None:
        """Stop polling. No effect where it is not started."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def change(
        self, provider: str, to: ProviderState, actor: Actor, reason: str
    ) -> tuple[ProviderStateChange | None, bool]:
        """Disable or enable a provider, here at once. Returns the stored change, and whether this call made it.

        The change is None where the provider was never disabled. Raises StoreUnavailable.
        """
        change, changed = await self._store.change_provider_state(provider, to, actor, reason, self._clock())
        if change is not None:
            self._apply(change)
        return change, changed

    async def _poll_loop(self) -> None:
        available = True
        while True:
            await asyncio.sleep(self._poll_interval_s)
            try:
                await self._poll()
                available = True
            except StoreUnavailable as error:
                if available:  # logged once an outage
                    log.warning("provider switch refresh failed, will retry", error=str(error))
                available = False
            except Exception as bug:  # noqa: BLE001 - polling goes on after a bug
                log_unexpected_error(bug)

    async def _poll(self) -> None:
        for change in await self._store.current_provider_states():
            self._apply(change)

    def _apply(self, change: ProviderStateChange) -> None:
        state = self.of(change.provider)
        before = state.disabled
        state.apply(change)
        if state.disabled is before:
            return
        log.warning(
            "provider state changed",
            provider=change.provider,
            state=change.state.name.lower(),
            actor=change.actor.caller,
            on_behalf_of=change.actor.on_behalf_of,
            reason=change.reason,
            since=change.at.isoformat(),
        )
