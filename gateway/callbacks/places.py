"""Places of connections: who gets one when it is accepted, and whose connection is evicted for it.

Every step takes the same time, however many connections there are.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto, unique

from gateway.callbacks.sources import NetworkSet
from gateway.telemetry.metrics import CallbackRejection
from gateway.telemetry.sources import parse_address, source_of

_OTHERS_PART = 2
"""Unknown sources can have one in this number of places, where some sources are known."""

_NEW_PART = 4
"""Unauthenticated connections are evicted before idle ones, if they have more than one in this number of places."""


@dataclass(frozen=True, slots=True)
class PlaceLimits:
    """How many connections are open at once."""

    connections: int = 1000
    """In all."""
    per_source: int = 500
    """From one source (see `source_of`), without those that have sent an authenticated request."""
    trusted_proxies: NetworkSet = field(default_factory=NetworkSet)
    """Sources without a limit of their own, because all callers come through them."""
    known_sources: NetworkSet = field(default_factory=NetworkSet)
    """Sources that providers send from. Where there are any, all other sources together have half of the places."""

    @property
    def others(self) -> int:
        """The number of places for sources that are neither known nor trusted proxies."""
        if not self.known_sources and not self.trusted_proxies:
            return self.connections
        return max(1, self.connections // _OTHERS_PART)

    @property
    def new(self) -> int:
        """The number of places that unauthenticated connections keep while idle ones can be evicted."""
        return max(1, self.others // _NEW_PART)


@unique
class Standing(Enum):
    """What a connection has shown so far."""

    UNAUTHENTICATED = auto()
    """No authenticated request yet: in a TLS handshake, silent, or in the middle of a head."""
    IDLE = auto()
    """It sent authenticated requests, and all of them are answered."""
    ENDING = auto()
    """Its last request is answered. It waits for the end of that request only."""
    BUSY = auto()
    """An authenticated request is in flight. It is never evicted."""


_EVICTABLE = (Standing.ENDING, Standing.UNAUTHENTICATED, Standing.IDLE)


@dataclass(slots=True, eq=False)
class Place:
    """The place of one connection."""

    source: str
    is_known: bool
    has_share: bool
    """Whether the limit of one source counts it."""
    evict: Callable[[CallbackRejection], None] = lambda _: None
    """Closes the connection. Called after the place is free, with the limit that it was in the way of."""
    standing: Standing = Standing.UNAUTHENTICATED


class _Group:
    """Places that a limit counts together, by standing, the oldest first."""

    __slots__ = ("by_standing", "number")

    def __init__(self) -> None:
        self.number = 0
        self.by_standing: dict[Standing, OrderedDict[Place, None]] = {
            standing: OrderedDict() for standing in _EVICTABLE
        }

    def list(self, place: Place) -> None:
        """Make it a candidate for eviction, the last one of its standing."""
        if place.standing in self.by_standing:
            self.by_standing[place.standing][place] = None

    def unlist(self, place: Place) -> None:
        """Make it no candidate."""
        if place.standing in self.by_standing:
            self.by_standing[place.standing].pop(place, None)


class Places:
    """The places of one listener."""

    def __init__(self) -> None:
        self._known = _Group()
        self._others = _Group()
        self._sources: dict[str, OrderedDict[Place, None]] = {}
        """The unauthenticated ones of each source, the oldest first."""
        self._taken: set[Place] = set()

    def __len__(self) -> int:
        """The number of places that are taken."""
        return len(self._taken)

    def take(self, peer: str, limits: PlaceLimits) -> Place | CallbackRejection:
        """A place for a new connection from this address, or the reason why there is none.

        Where a limit is reached, another connection is evicted: the oldest one that is ending; else the oldest
        unauthenticated one, if there are many; else the oldest idle one; else the oldest unauthenticated one. Only if
        all are busy, the new one gets no place. Where a source has its share, its own oldest unauthenticated one is
        evicted.
        """
        address = parse_address(peer)
        is_proxy = address in limits.trusted_proxies
        place = Place(source_of(peer), is_proxy or address in limits.known_sources, has_share=not is_proxy)
        while place.has_share and len(of_source := self._sources.get(place.source, ())) >= limits.per_source:
            self._evict(next(iter(of_source)), CallbackRejection.SOURCE_SHARE)
        while not place.is_known and self._others.number >= limits.others:
            if not self._evict_from((self._others,), limits):
                return CallbackRejection.TOO_MANY_CONNECTIONS
        while len(self._taken) >= limits.connections:
            if not self.evict_one(limits):
                return CallbackRejection.TOO_MANY_CONNECTIONS
        self._taken.add(place)
        group = self._group(place)
        group.number += 1
        group.list(place)
        if place.has_share:
            self._sources.setdefault(place.source, OrderedDict())[place] = None
        return place

    def free(self, place: Place) -> None:
        """The connection has ended. Does nothing if it was evicted."""
        if place not in self._taken:
            return
        self._taken.remove(place)
        group = self._group(place)
        group.number -= 1
        group.unlist(place)
        self._leave_source(place)

    def mark(self, place: Place, standing: Standing) -> None:
        """Set what the connection has shown. Does nothing if it was evicted."""
        if place not in self._taken or place.standing is standing:
            return
        group = self._group(place)
        group.unlist(place)
        place.standing = standing
        group.list(place)
        if standing is not Standing.UNAUTHENTICATED:
            self._leave_source(place)

    def evict_one(self, limits: PlaceLimits) -> bool:
        """Evict the connection that a new one would be accepted for. Returns whether there was one."""
        return self._evict_from((self._others, self._known), limits)

    def _evict_from(self, groups: Sequence[_Group], limits: PlaceLimits) -> bool:
        order = [*_EVICTABLE]
        if sum(len(group.by_standing[Standing.UNAUTHENTICATED]) for group in groups) <= limits.new:
            # Those that have just been accepted have had no time to authenticate.
            order.append(order.pop(order.index(Standing.UNAUTHENTICATED)))
        for standing in order:
            for group in groups:
                if candidates := group.by_standing[standing]:
                    self._evict(next(iter(candidates)), CallbackRejection.EVICTED)
                    return True
        return False

    def _evict(self, place: Place, reason: CallbackRejection) -> None:
        self.free(place)
        place.evict(reason)

    def _group(self, place: Place) -> _Group:
        return self._known if place.is_known else self._others

    def _leave_source(self, place: Place) -> None:
        if (of_source := self._sources.get(place.source)) is not None:
            of_source.pop(place, None)
            if not of_source:
                del self._sources[place.source]
