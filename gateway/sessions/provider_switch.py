"""Switching a provider off and on while the gateway runs: kept in the store, the same for all gateways on it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from gateway.store.base import ProviderSwitchStore, StoreUnavailable
from gateway.store.models import ProviderState, ProviderStateChange
from gateway.telemetry.errors import log_unexpected_error

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.5
"""Seconds between two looks at what other gateways have switched: each is to hold here within one second."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """Who switched a provider off, why, and since when it is off."""

    actor: str
    reason: str
    since: datetime


@dataclass(slots=True)
class EnabledState:
    """Whether a provider may be asked. `off` says who switched it off, and is None where it is on."""

    disabled: Disabled | None = None
    listeners: list[Callable[[], None]] = field(default_factory=list)
    """Called after each change."""
    _number: int = 0

    def apply(self, switch: ProviderStateChange) -> None:
        """Be as a switch says, unless a newer one was told before: what was read may have been overtaken meanwhile."""
        if switch.number <= self._number:
            return
        self._number = switch.number
        self.disabled = (
            Disabled(switch.actor, switch.reason, switch.at) if switch.state is ProviderState.DISABLED else None
        )
        for listener in self.listeners:
            listener()


class ProviderSwitches:
    """The switch of each provider, by its name. Started and stopped once."""

    def __init__(
        self, book: ProviderSwitchStore, clock: Callable[[], datetime], *, every_s: float = POLL_INTERVAL_S
    ) -> None:
        self._book = book
        self._clock = clock
        self._every_s = every_s
        self._switches: dict[str, EnabledState] = {}
        self._task: asyncio.Task[None] | None = None

    def of(self, provider: str) -> EnabledState:
        """A provider's switch: the same one whenever it is asked for, and as it stands in the store once started."""
        return self._switches.setdefault(provider, EnabledState())

    async def start(self) -> None:
        """Read how all stand, and go on to look at what other gateways switch. Raises StoreUnavailable."""
        await self._poll()
        self._task = asyncio.get_running_loop().create_task(self._poll_loop())

    async def stop(self) -> None:
        """Look no more. Harmless when not started."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def change(
        self, provider: str, to: ProviderState, by: str, why: str
    ) -> tuple[ProviderStateChange | None, bool]:
        """Switch a provider: the switch that stands, and whether this call made it. It holds here at once.

        None where it was never switched, and is on. Raises StoreUnavailable.
        """
        standing, made = await self._book.change_provider_state(provider, to, by, why, self._clock())
        if standing is not None:
            self._apply(standing)
        return standing, made

    async def _poll_loop(self) -> None:
        answers = True
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._poll()
                answers = True
            except StoreUnavailable as error:
                if answers:  # said once, and not at each look
                    log.warning(
                        "what other gateways switch off or on is not known: it is tried again", detail=str(error)
                    )
                answers = False
            except Exception as bug:  # noqa: BLE001 - the looks go on, and so does the gateway's way down
                log_unexpected_error(bug)

    async def _poll(self) -> None:
        for standing in await self._book.current_provider_states():
            self._apply(standing)

    def _apply(self, standing: ProviderStateChange) -> None:
        switch = self.of(standing.provider)
        before = switch.disabled
        switch.apply(standing)
        if switch.disabled is before:
            return
        log.warning(
            "provider switched",
            provider=standing.provider,
            to=standing.state,
            by=standing.actor,
            why=standing.reason,
            since=standing.at.isoformat(),
        )
