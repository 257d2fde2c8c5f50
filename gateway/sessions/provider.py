"""The configured providers with what the gateway needs to call them, and their health."""

from collections.abc import Callable, Iterator, Mapping
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
from gateway.store.ceilings import Ceiling


@unique
class HealthState(StrEnum):
    """A provider's health. Names as in the proto's HealthState, without its prefix."""

    UNTRIED = "UNTRIED"
    ANSWERING = "ANSWERING"
    FAILING = "FAILING"


_PROVIDER_AT_FAULT = frozenset(
    {
        Reason.PROVIDER_UNREACHABLE,
        Reason.PROVIDER_TIMEOUT,
        Reason.PROVIDER_CONNECTION_LOST,
        Reason.PROVIDER_FAILED,
        Reason.PROVIDER_FAILED_PERMANENTLY,
        Reason.PROVIDER_ANSWER_MALFORMED,
    }
)


@dataclass(slots=True)
class Health:
    """A provider's health, from the calls that were sent to it. A refusal in its dialect counts as an answer."""

    state: HealthState = HealthState.UNTRIED
    since: datetime | None = None
    last_failure: str = ""
    listeners: list[Callable[[HealthState], None]] = field(default_factory=list)
    """Called after each change of `state`."""

    def record(self, reason: Reason | None, now: datetime) -> None:
        """Record how a call ended; `reason` is None for a success."""
        failing = reason in _PROVIDER_AT_FAULT
        state = HealthState.FAILING if failing else HealthState.ANSWERING
        self.last_failure = str(reason) if failing else ""
        if state is not self.state:
            self.state, self.since = state, now
            for listener in self.listeners:
                listener(state)


@dataclass(frozen=True, slots=True)
class Provider:
    """One configured account at a vendor: its adapter, its credentials, its HTTP client and its limits."""

    name: str
    adapter: Adapter[Any]
    account: Account[Any]
    client: ProviderClient
    mask: Mask
    admission: AdmissionControl
    health: Health = field(default_factory=Health)
    enabled_state: EnabledState = field(default_factory=EnabledState)
    ceilings: Mapping[str, Ceiling] = field(default_factory=dict)
    """What its callbacks may credit, by currency."""

    @property
    def healthy(self) -> bool:
        """Whether a caller may expect an answer from it. True also before the first call."""
        works = self.health.state is not HealthState.FAILING and self.admission.circuit is Circuit.CLOSED
        return works and self.enabled_state.disabled is None

    def ensure_enabled(self) -> None:
        """Raise GatewayError PROVIDER_DISABLED where an operator disabled it."""
        disabled = self.enabled_state.disabled
        if disabled is None:
            return
        raise GatewayError(
            Reason.PROVIDER_DISABLED,
            f"{self.name} was disabled by {disabled.actor} at {disabled.since:%Y-%m-%d %H:%M:%SZ}, and nothing was "
            f"sent. Reason: {disabled.reason}. To enable it: `session-gateway provider enable {self.name}` or "
            "ProviderService.EnableProvider",
            details=(
                ("actor", disabled.actor.caller),
                ("on_behalf_of", disabled.actor.on_behalf_of),
                ("reason", disabled.reason),
            ),
        )

    def watch(self, changed: Callable[..., None]) -> None:
        """Call `changed` after each change that may affect `healthy`. Adding it again has no effect: a provider that
        replaces another may share its parts.
        """
        for listeners in (self.health.listeners, self.admission.listeners, self.enabled_state.listeners):
            if changed not in listeners:
                listeners.append(changed)


class Providers(Mapping[str, Provider]):
    """The configured providers by name. A reload replaces all of them in one step.

    Look a provider up for each call and do not keep it. A call finishes with the provider that it started with.
    """

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)
        self.listeners: list[Callable[[Mapping[str, Provider]], None]] = []
        """Called after each replacement, with the providers before it."""

    def __getitem__(self, name: str) -> Provider:
        return self._providers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._providers)

    def __len__(self) -> int:
        return len(self._providers)

    def replace(self, providers: Mapping[str, Provider]) -> None:
        """Use these providers and no others from now on."""
        before, self._providers = self._providers, dict(providers)
        for listener in self.listeners:
            listener(before)
