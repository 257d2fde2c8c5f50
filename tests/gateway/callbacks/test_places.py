"""Places of connections: the limits hold, and the right connection is evicted."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from gateway.callbacks.places import Place, PlaceLimits, Places, Standing
from gateway.callbacks.sources import NetworkSet
from gateway.telemetry.metrics import CallbackRejection

LIMITS = PlaceLimits(
    connections=8,
    per_source=3,
    trusted_proxies=NetworkSet([ip_network("10.0.0.0/24")]),
    known_sources=NetworkSet([ip_network("192.0.2.0/28"), ip_network("2001:db8::/48")]),
)
PEERS = ["10.0.0.1", "192.0.2.1", "::ffff:192.0.2.1", "198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db9::1"]


class Opened:
    """Places that were given, and what became of them."""

    def __init__(self, limits: PlaceLimits = LIMITS) -> None:
        self.places = Places()
        self.limits = limits
        self.held: list[Place] = []
        self.evicted: list[tuple[Place, CallbackRejection]] = []

    def open(self, peer: str) -> Place | CallbackRejection:
        place = self.places.take(peer, self.limits)
        if isinstance(place, Place):
            self.held.append(place)

            def evict(reason: CallbackRejection) -> None:
                self.held.remove(place)
                self.evicted.append((place, reason))

            place.evict = evict
        return place

    def place(self, peer: str) -> Place:
        place = self.open(peer)
        assert isinstance(place, Place)
        return place


steps = st.lists(
    st.tuples(st.sampled_from([*PEERS, "BUSY", "IDLE", "ENDING", "close"]), st.integers(0, 7)), max_size=60
)


@given(steps)
def test_the_limits_hold_and_busy_connections_stay(taken: list[tuple[str, int]]) -> None:
    """After each step no limit is exceeded, no busy connection is evicted, and none is refused while one can go."""
    opened = Opened()
    for step, index in taken:
        if step in PEERS:
            before = list(opened.held)
            if isinstance(opened.open(step), CallbackRejection):
                kind = [place for place in before if not place.is_known or len(before) == LIMITS.connections]
                assert {place.standing for place in kind} <= {Standing.BUSY}
        elif opened.held:
            place = opened.held[index % len(opened.held)]
            if step == "close":
                opened.held.remove(place)
                opened.places.free(place)
            else:
                opened.places.mark(place, Standing[step])
        assert len(opened.places) == len(opened.held) <= LIMITS.connections
        assert sum(not place.is_known for place in opened.held) <= LIMITS.others == 4
        unproven = [p.source for p in opened.held if p.has_share and p.standing is Standing.UNAUTHENTICATED]
        assert all(unproven.count(source) <= LIMITS.per_source for source in unproven)
    assert not [place for place, _ in opened.evicted if place.standing is Standing.BUSY]


def test_a_source_evicts_its_own_oldest_connection() -> None:
    """A source that has its share takes no place of another one, and a mapped or neighbouring address is the same."""
    opened = Opened()
    other, first = opened.place("192.0.2.2"), opened.place("192.0.2.1")
    for _ in range(3):
        opened.place("::ffff:192.0.2.1")
    assert opened.evicted == [(first, CallbackRejection.SOURCE_SHARE)]
    six = [opened.place(f"2001:db8:0:1:{number}::7") for number in range(4)]
    assert opened.evicted[1:] == [(six[0], CallbackRejection.SOURCE_SHARE)]
    assert other in opened.held


def test_unknown_sources_leave_places_for_known_ones() -> None:
    """They have half of the places, and evict each other for them."""
    opened = Opened()
    unknown = [opened.place(f"198.51.100.{number}") for number in range(9)]
    assert [place for place, _ in opened.evicted] == unknown[:5]
    proxied = [opened.place("10.0.0.1") for _ in range(4)]
    assert opened.held == [*unknown[5:], *proxied]
    opened.place("10.0.0.1")
    assert opened.evicted[-1] == (unknown[5], CallbackRejection.EVICTED)


def test_who_is_evicted_for_a_new_connection() -> None:
    """Those that are ending; the unauthenticated ones but for a quarter of all places; the idle ones; the quarter."""
    opened = Opened(PlaceLimits(connections=8))
    assert opened.limits.new == 2
    busy, idle, ending, *silent = (opened.place("192.0.2.1") for _ in range(8))
    opened.places.mark(busy, Standing.BUSY)
    for place, standing in ((ending, Standing.ENDING), (idle, Standing.IDLE)):
        opened.places.mark(place, Standing.BUSY)
        opened.places.mark(place, standing)
    for number, expected in enumerate((ending, silent[0], silent[1], silent[2], idle, silent[3], silent[4]), 1):
        opened.places.mark(opened.place("192.0.2.1"), Standing.BUSY)
        assert [place for place, _ in opened.evicted][-1] is expected, number
    assert opened.open("192.0.2.1") is CallbackRejection.TOO_MANY_CONNECTIONS
    assert busy in opened.held


@given(st.lists(st.sampled_from(PEERS)), st.sampled_from(PEERS))
def test_places_of_closed_connections_are_not_remembered(peers: list[str], last: str) -> None:
    """Nothing is kept of a source without a connection."""
    opened = Opened()
    for peer in (*peers, last):
        opened.open(peer)
    for place in list(opened.held):
        opened.places.free(place)
    assert len(opened.places) == 0
    assert not opened.places._sources
