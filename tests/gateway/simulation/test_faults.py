"""Each fault, as a person writes it and as a real HTTP client meets it."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulation import (
    DialectCode,
    Drip,
    Exchange,
    Fault,
    FaultUnknown,
    Garbage,
    Hang,
    Huge,
    Planned,
    Redirect,
    Reset,
    ResetPoint,
    SimulatorHost,
    Slow,
    Status,
    parse_fault,
)
from tests.gateway.simulation.plain import ACCOUNT, OTHER_SESSION, PLAIN, SESSION, State

WRITTEN: list[tuple[str, Planned]] = [
    ("hang", Planned(Hang())),
    ("hang*2", Planned(Hang(), 2)),
    ("reset", Planned(Reset(ResetPoint.AFTER))),
    ("reset:before", Planned(Reset(ResetPoint.BEFORE))),
    ("reset:midway*1", Planned(Reset(ResetPoint.MIDWAY), 1)),
    ("status:503", Planned(Status(503))),
    ("status:429*10", Planned(Status(429), 10)),
    ("garbage", Planned(Garbage())),
    ("garbage:wire", Planned(Garbage(on_wire=True))),
    ("huge", Planned(Huge())),
    ("huge:70000", Planned(Huge(70000))),
    ("redirect", Planned(Redirect())),
    ("redirect:http://127.0.0.1:9/x", Planned(Redirect("http://127.0.0.1:9/x"))),
    ("drip", Planned(Drip())),
    ("slow:1.5", Planned(Slow(1.5))),
    (" code:998 ", Planned(DialectCode("998"))),
]


@pytest.mark.parametrize(("written", "planned"), WRITTEN)
def test_a_fault_is_read_as_it_is_written(written: str, planned: Planned) -> None:
    """What a person writes becomes the typed fault, and the fault writes itself so that it reads the same."""
    assert parse_fault(written) == planned
    assert parse_fault(str(planned)) == planned


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "there are hang, reset"),
        ("hagn", "no fault 'hagn'"),
        ("hang:5", "no argument"),
        ("hang*", "number of requests"),
        ("hang*0", "number of requests"),
        ("hang*-1", "number of requests"),
        ("hang*\N{ARABIC-INDIC DIGIT TWO}", "number of requests"),
        ("reset:never", "reset:midway"),
        ("status", "status:503"),
        ("status:100", "status:503"),
        ("status:6e2", "status:503"),
        ("garbage:more", "garbage:wire"),
        ("huge:0", "huge:1000000"),
        ("redirect:a\nb", "printable"),
        ("drip:-1", "drip:0.1"),
        ("slow:nan", "slow:1.5"),
        ("code", "code:998"),
    ],
)
def test_what_is_no_fault_is_told(written: str, says: str) -> None:
    """A mistake is told with what could be written instead."""
    with pytest.raises(FaultUnknown) as caught:
        parse_fault(written)
    assert says in str(caught.value)


@given(st.text() | st.builds("{}:{}*{}".format, st.sampled_from(["huge", "slow", "status"]), st.text(), st.text()))
def test_no_text_breaks_the_reading(written: str) -> None:
    """Whatever is written is a fault or FaultUnknown."""
    try:
        planned = parse_fault(written)
    except FaultUnknown:
        return
    assert parse_fault(str(planned)) == planned


@pytest_asyncio.fixture
async def host() -> AsyncIterator[SimulatorHost[State]]:
    """A plain simulator with two open sessions."""
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION, OTHER_SESSION])
    await host.start()
    yield host
    await host.stop()


async def close(host: SimulatorHost[State], *, session_id: str = "s1", timeout_s: float = 5.0) -> tuple[int, str]:
    """Close a session as a client does: the status and the body, or aiohttp's error."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as client,
        client.post(f"{host.base_url}/close", data=f"close {session_id}", allow_redirects=False) as answer,
    ):
        return answer.status, await answer.text(errors="replace")


def only(host: SimulatorHost[State]) -> Exchange:
    """The one exchange that was received."""
    (exchange,) = host.received
    return exchange


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Reset(ResetPoint.BEFORE), aiohttp.ClientOSError),
        (Reset(ResetPoint.AFTER), aiohttp.ClientOSError),
        (Reset(ResetPoint.MIDWAY), aiohttp.ClientPayloadError),
        (Garbage(on_wire=True), aiohttp.ClientResponseError),
    ],
)
async def test_a_connection_is_lost(host: SimulatorHost[State], fault: Fault, error: type[Exception]) -> None:
    """The client meets a lost connection; the exchange is kept without an answer, named for its fault."""
    host.plan(Planned(fault))
    with pytest.raises(error):
        await close(host)
    assert (only(host).reply, only(host).note) == (None, str(fault))


@pytest.mark.parametrize(
    ("fault", "carried_out"),
    [(Reset(ResetPoint.BEFORE), False), (Reset(ResetPoint.AFTER), True), (Reset(ResetPoint.MIDWAY), True)],
)
async def test_a_lost_connection_says_nothing_of_the_effect(
    host: SimulatorHost[State], fault: Fault, *, carried_out: bool
) -> None:
    """Lost before it was read, a request did nothing; lost later, it did all it asked for."""
    host.plan(Planned(fault))
    with pytest.raises(aiohttp.ClientError):
        await close(host)
    assert (SESSION not in host.sessions) is carried_out
    assert only(host).request.body == (b"close s1" if carried_out else b"")


async def test_a_hang_lasts_until_the_caller_leaves(host: SimulatorHost[State]) -> None:
    """Nothing is answered and nothing is done, however long the caller waits."""
    host.plan(Planned(Hang()))
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(close(host, timeout_s=0.2))
    await host.arrived(1)
    handlers = asyncio.all_tasks() - before - {waiting}
    with pytest.raises(TimeoutError):
        await waiting
    assert (await asyncio.wait(handlers, timeout=1))[1] == set()
    assert (only(host).request.body, only(host).reply) == (b"close s1", None)
    assert SESSION in host.sessions


async def test_a_hang_ends_with_the_server(host: SimulatorHost[State]) -> None:
    """Stopping does not wait for a caller who waits for us."""
    host.plan(Planned(Hang()))
    waiting = asyncio.create_task(close(host))
    await host.arrived(1)
    async with asyncio.timeout(1):
        await host.stop()
    with pytest.raises(aiohttp.ClientError):
        await waiting


async def test_a_status_has_no_words_of_the_dialect(host: SimulatorHost[State]) -> None:
    """An HTTP failure comes from something in front of the provider: no effect, no body of the dialect."""
    host.plan(Planned(Status(503)))
    assert await close(host) == (503, "simulated HTTP status 503")
    assert SESSION in host.sessions
    assert only(host).reply is not None


async def test_garbage_is_a_success_that_means_nothing(host: SimulatorHost[State]) -> None:
    """HTTP says 200 and the body is not readable in any dialect."""
    host.plan(Planned(Garbage()))
    status, body = await close(host)
    assert (status, "closed" in body, SESSION in host.sessions) == (200, False, True)


async def test_a_huge_answer_is_as_long_as_it_says_and_not_announced(host: SimulatorHost[State]) -> None:
    """Only who counts what it reads is safe: the length is in no header."""
    host.plan(Planned(Huge(200_001)))
    async with aiohttp.ClientSession() as client, client.post(f"{host.base_url}/close", data="close s1") as answer:
        assert answer.content_length is None
        assert len(await answer.read()) == 200_001


async def test_who_leaves_a_huge_answer_is_not_followed(host: SimulatorHost[State]) -> None:
    """A client that stops reading leaves the server whole: the next request is answered."""
    host.plan(Planned(Huge(2**40), 1))
    async with aiohttp.ClientSession() as client, client.post(f"{host.base_url}/close", data="close s1") as answer:
        assert await answer.content.readexactly(10) == b" " * 10
        answer.close()
    assert await close(host) == (200, "closed")


async def test_a_redirect_points_back_at_the_simulator(host: SimulatorHost[State]) -> None:
    """Who follows a redirect is seen: its second request is among those received."""
    host.plan(Planned(Redirect(), 1))
    async with aiohttp.ClientSession() as client, client.post(f"{host.base_url}/close", data="close s1") as answer:
        assert await answer.text() == "closed"
    assert [exchange.request.path for exchange in host.received] == ["/close", "/redirected"]


async def test_a_drip_never_lets_a_read_time_out(host: SimulatorHost[State]) -> None:
    """The body comes byte by byte, so that a limit on each read passes and only one on the whole holds."""
    host.plan(Planned(Drip(0.02)))
    async with aiohttp.ClientSession() as client, client.post(f"{host.base_url}/close", data="close s1") as answer:
        pieces = [piece async for piece in answer.content.iter_any()]
    assert b"".join(pieces) == b"closed"
    assert len(pieces) > 1


async def test_a_drip_ends_when_the_caller_leaves_and_with_the_server(host: SimulatorHost[State]) -> None:
    """A body that takes an hour holds up neither its caller's time-out nor the stopping of the server."""
    host.plan(Planned(Drip(600)))
    with pytest.raises(TimeoutError):
        await close(host, timeout_s=0.2)
    waiting = asyncio.create_task(close(host, session_id="s2"))
    await host.arrived(2)
    async with asyncio.timeout(1):
        await host.stop()
    with pytest.raises(aiohttp.ClientError):
        await waiting


async def test_a_slow_answer_comes_late_and_its_effect_does_not(host: SimulatorHost[State]) -> None:
    """The caller gives up, and the session is closed all the same."""
    host.plan(Planned(Slow(600), 1), Planned(Slow(0.01), 1))
    with pytest.raises(TimeoutError):
        await close(host, timeout_s=0.2)
    assert SESSION not in host.sessions
    assert await close(host) == (200, "none")


async def test_a_code_is_the_dialects_own(host: SimulatorHost[State]) -> None:
    """The simulator itself answers with its code, and as before once the fault is over."""
    host.plan(Planned(DialectCode("998"), 1))
    assert await close(host) == (200, "code 998")
    assert await close(host) == (200, "closed")


async def test_faults_befall_in_order_and_so_often(host: SimulatorHost[State]) -> None:
    """A plan is worked off request by request; one without a number lasts until the plan is changed."""
    host.plan(Planned(Status(500), 2), Planned(Status(429), 1), Planned(Status(503)))
    assert [(await close(host))[0] for _ in range(5)] == [500, 500, 429, 503, 503]
    host.plan()
    assert await close(host) == (200, "closed")
    assert [exchange.note for exchange in host.received][-2:] == ["status:503", ""]
