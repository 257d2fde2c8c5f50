"""Networks of source addresses."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from gateway.telemetry.sources import Address

Network = IPv4Network | IPv6Network


class NetworkSet:
    """Networks with a look-up that does not depend on their number. Hundreds of providers have thousands."""

    __slots__ = ("_prefixes",)

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        """The networks' first bits, by IP version and the number of bits that are not theirs."""
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            known = self._prefixes.setdefault((network.version, shift), set())
            known.add(int(network.network_address) >> shift)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._prefixes)

    def __contains__(self, address: Address | None) -> bool:
        """Whether the address is in one of them."""
        return address is not None and any(
            version == address.version and int(address) >> shift in known
            for (version, shift), known in self._prefixes.items()
        )
