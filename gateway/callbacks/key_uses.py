"""Which callback keys the providers still use, so that an operator sees when an old one can be removed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from adapters.contract import Secret


@dataclass(slots=True)
class KeyUse:
    """The uses of one key since the process started, or since the key was configured."""

    number: int = 0
    last: datetime | None = None


class KeyUses:
    """The uses of all keys. A key that a reload moves to another position keeps its uses."""

    def __init__(self, keys: Mapping[str, tuple[Secret, ...]] | None = None) -> None:
        self._uses: dict[str, dict[Secret, KeyUse]] = {}
        self.replace(keys or {})

    def replace(self, keys: Mapping[str, tuple[Secret, ...]]) -> None:
        """Use these keys, by provider, in the order of the configuration."""
        before = self._uses
        self._uses = {
            provider: {key: before.get(provider, {}).get(key) or KeyUse() for key in configured}
            for provider, configured in keys.items()
        }

    def record(self, provider: str, position: int, at: datetime) -> None:
        """Count a use of the key at this position, from 1."""
        use = self.of(provider)[position - 1]
        use.number += 1
        use.last = at

    def of(self, provider: str) -> tuple[KeyUse, ...]:
        """The uses of a provider's keys, in their order."""
        return tuple(self._uses.get(provider, {}).values())

    def last_uses(self, provider: str) -> tuple[datetime | None, ...]:
        """When each of a provider's keys was last used, in their order; None for never."""
        return tuple(use.last for use in self.of(provider))

    def samples(self) -> Iterator[tuple[tuple[str, str], float]]:
        """Provider and position with the number of uses, for the metrics."""
        for provider in self._uses:
            for position, use in enumerate(self.of(provider), 1):
                yield (provider, str(position)), use.number
