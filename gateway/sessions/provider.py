"""A configured provider, wired: what the core holds of it, and how it fares."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, unique
from typing import Any

from adapters.contract import Account, Adapter
from gateway.masking.mask import Mask
from gateway.outbound.admission import AdmissionControl
from gateway.outbound.circuit_breaker import Circuit
from gateway.outbound.client import ProviderClient
from gateway.sessions.errors import GatewayError, Reason
from gateway.sessions.provider_switch import EnabledState


@unique
class HealthState(StrEnum):
    """How a provider fares. Names as in the proto's HealthState, without its prefix."""

    UNTRIED = "UNTRIED"
    ANSWERING = "ANSWERING"
    FAILING = "FAILING"


_PROVIDER_AT_FAULT = frozenset(
    {
        Reason.PROVIDER_UNREACHABLE,
        Reason.PROVIDER_TIMEOUT,
        Reason.PROVIDER_CONNECTION_LOST,
        Reason.PROVIDER_FAILED,
        Reason.PROVIDER_FAILED_FOR_GOOD,
        Reason.PROVIDER_ANSWER_MALFORMED,
    }
)


@dataclass(slots=True)
class Health:
    """A provider's health, from the calls that it was really sent. A refusal in its dialect is health too."""

    state: HealthState = HealthState.UNTRIED
    since: datetime | None = None
    last_failure: str = ""
    listeners: list[Callable[[HealthState], None]] = field(default_factory=list)

    def record(self, reason: Reason | None, now: datetime) -> None:
        """Take one call's end into account; `reason` is None for a success."""
        failing = reason in _PROVIDER_AT_FAULT
        state = HealthState.FAILING if failing else HealthState.ANSWERING
        self.last_failure = str(reason) if failing else ""
        if state is not self.state:
            self.state, self.since = state, now
            for listener in self.listeners:
                listener(state)


@dataclass(frozen=True, slots=True)
class Provider:
    """One configured account at a vendor: its dialect, its credentials, its way out."""

    name: str
    adapter: Adapter[Any]
    account: Account[Any]
    client: ProviderClient
    mask: Mask
    admission: AdmissionControl
    health: Health = field(default_factory=Health)
    enabled_state: EnabledState = field(default_factory=EnabledState)

    @property
    def healthy(self) -> bool:
        """Whether a caller may expect an answer of it. One that was not tried yet must be possible to try."""
        well = self.health.state is not HealthState.FAILING and self.admission.circuit is Circuit.CLOSED
        return well and self.enabled_state.disabled is None

    def ensure_enabled(self) -> None:
        """Raise Failure PROVIDER_DISABLED where a person switched it off. Asked before anything is sent."""
        off = self.enabled_state.disabled
        if off is None:
            return
        raise GatewayError(
            Reason.PROVIDER_DISABLED,
            f"{self.name} was switched off by {off.actor} at {off.since:%Y-%m-%d %H:%M:%SZ}, and nothing was sent: "
            f"`session-gateway provider enable {self.name}` or ProviderService enables it. The reason: {off.reason}",
            details=(("actor", off.actor), ("why", off.reason)),
        )

    def watch(self, changed: Callable[..., None]) -> None:
        """Have `changed` called after each change that may bear on `serving`; once, also where it is watched already by
        way of the provider that this one replaces.
        """
        for listeners in (self.health.listeners, self.admission.listeners, self.enabled_state.listeners):
            if changed not in listeners:
                listeners.append(changed)
