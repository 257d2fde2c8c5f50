"""The providers that are served: they change while the gateway runs, all at once and between two steps of its loop."""

from collections.abc import Callable, Iterator, Mapping

from gateway.sessions.provider import Provider


class Providers(Mapping[str, Provider]):
    """By name. To be looked up for each call, and not kept; a call goes on with the provider that it began with."""

    def __init__(self, served: Mapping[str, Provider]) -> None:
        self._served = dict(served)
        self.listeners: list[Callable[[Mapping[str, Provider]], None]] = []
        """Told after each change, with those that were served before."""

    def __getitem__(self, name: str) -> Provider:
        return self._served[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._served)

    def __len__(self) -> int:
        return len(self._served)

    def replace(self, served: Mapping[str, Provider]) -> None:
        """Serve these, and no others, from the next look-up on."""
        before, self._served = self._served, dict(served)
        for listener in self.listeners:
            listener(before)
