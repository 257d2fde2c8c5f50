"""Each fault, as it is written and as an HTTP client sees it."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulation import SimulatorHost
from gateway.simulation.delivery import Exchange
from gateway.simulation.faults import (
    DialectCode,
    Drip,
    Fault,
    FaultUnknown,
    Garbage,
    Hang,
    Huge,
    Planned,
    Redirect,
    Reset,
    ResetPoint,
    Slow,
    Status,
    parse_fault,
)
from tests.gateway.simulation.plain_dialect import ACCOUNT, OTHER_SESSION, PLAIN, SESSION, State

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
def test_a_fault_is_parsed(written: str, planned: Planned) -> None:
    """The text becomes the typed fault, and the fault's own text parses to the same fault."""
    assert parse_fault(written) == planned
    assert parse_fault(str(planned)) == planned


@pytest.mark.parametrize(
    ("written", "message"),
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
def test_an_invalid_fault_is_rejected(written: str, message: str) -> None:
    """The message says what can be written instead."""
    with pytest.raises(FaultUnknown) as caught:
        parse_fault(written)
    assert message in str(caught.value)


@given(st.text() | st.builds("{}:{}*{}".format, st.sampled_from(["huge", "slow", "status"]), st.text(), st.text()))
def test_any_text_is_a_fault_or_fault_unknown(written: str) -> None:
    """No text raises another error, and a parsed fault's text parses to the same fault."""
    try:
        planned = parse_fault(written)
    except FaultUnknown:
        return
    assert parse_fault(str(planned)) == planned


@pytest.fixture
async def host() -> AsyncIterator[SimulatorHost[State]]:
    """A simulator with two open sessions."""
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION, OTHER_SESSION])
    await host.start()
    yield host
    await host.stop()


async def close(host: SimulatorHost[State], *, session_id: str = "s1") -> tuple[int, str]:
    """Close a session as a client does. Returns status and body, or raises aiohttp's error."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as client,
        client.post(f"{host.base_url}/close", data=f"close {session_id}", allow_redirects=False) as answer,
    ):
        return answer.status, await answer.text(errors="replace")


def only(host: SimulatorHost[State]) -> Exchange:
    """The one exchange that was received."""
    (exchange,) = host.received
    return exchange


async def close_and_disconnect(host: SimulatorHost[State]) -> set[asyncio.Task[object]]:
    """Close a session, and disconnect once the request is received. Returns the server's tasks for it."""
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(close(host))
    await host.wait_received(len(host.received) + 1)
    handlers = asyncio.all_tasks() - before - {waiting}
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})
    return handlers


async def stop_under_request(host: SimulatorHost[State], session_id: str = "s1") -> None:
    """Stop the server while it answers a request. The client's connection must be closed."""
    waiting = asyncio.create_task(close(host, session_id=session_id))
    await host.wait_received(len(host.received) + 1)
    async with asyncio.timeout(60):
        await host.stop()
    with pytest.raises(aiohttp.ClientError):
        await waiting


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Reset(ResetPoint.BEFORE), aiohttp.ClientOSError),
        (Reset(ResetPoint.AFTER), aiohttp.ClientOSError),
        (Reset(ResetPoint.MIDWAY), aiohttp.ClientPayloadError),
        (Garbage(on_wire=True), aiohttp.ClientResponseError),
    ],
)
async def test_a_connection_breaks(host: SimulatorHost[State], fault: Fault, error: type[Exception]) -> None:
    """The client gets an error, and the exchange is kept without an answer, with the fault's name."""
    host.plan(Planned(fault))
    with pytest.raises(error):
        await close(host)
    assert (only(host).reply, only(host).note) == (None, str(fault))


@pytest.mark.parametrize(
    ("fault", "executed"),
    [(Reset(ResetPoint.BEFORE), False), (Reset(ResetPoint.AFTER), True), (Reset(ResetPoint.MIDWAY), True)],
)
async def test_a_reset_request_may_have_an_effect(host: SimulatorHost[State], fault: Fault, *, executed: bool) -> None:
    """A reset before the request is read prevents its effect; a later one does not."""
    host.plan(Planned(fault))
    with pytest.raises(aiohttp.ClientError):
        await close(host)
    assert (SESSION not in host.sessions) is executed
    assert only(host).request.body == (b"close s1" if executed else b"")


async def test_a_hang_ends_when_the_client_disconnects(host: SimulatorHost[State]) -> None:
    """Nothing is answered and nothing is executed, and the handler ends with the connection."""
    host.plan(Planned(Hang()))
    handlers = await close_and_disconnect(host)
    assert (await asyncio.wait(handlers, timeout=60))[1] == set()
    assert (only(host).request.body, only(host).reply) == (b"close s1", None)
    assert SESSION in host.sessions


async def test_a_hang_ends_with_the_server(host: SimulatorHost[State]) -> None:
    """Stopping does not wait for the client."""
    host.plan(Planned(Hang()))
    await stop_under_request(host)


async def test_a_status_has_no_body_of_the_dialect(host: SimulatorHost[State]) -> None:
    """An HTTP failure has no effect and no body of the dialect."""
    host.plan(Planned(Status(503)))
    assert await close(host) == (503, "simulated HTTP status 503")
    assert SESSION in host.sessions
    assert only(host).reply is not None


async def test_garbage_is_a_200_with_an_unreadable_body(host: SimulatorHost[State]) -> None:
    """The status is 200, the body is of no dialect, and nothing is executed."""
    host.plan(Planned(Garbage()))
    status, body = await close(host)
    assert (status, "closed" in body, SESSION in host.sessions) == (200, False, True)


async def test_a_huge_answer_has_its_size_and_no_content_length(host: SimulatorHost[State]) -> None:
    """The client can know the length only by counting."""
    host.plan(Planned(Huge(200_001)))
    async with aiohttp.ClientSession() as client, client.post(f"{host.base_url}/close", data="close s1") as answer:
        assert answer.content_length is None
        assert len(await answer.read()) == 200_001


async def test_a_client_can_leave_a_huge_answer(host: SimulatorHost[State]) -> None:
    """After a client closed the connection early, the next request is answered."""
    host.plan(Planned(Huge(2**40), 1))
    async with aiohttp.ClientSession() as client, client.post(f"{host.base_url}/close", data="close s1") as answer:
        assert await answer.content.readexactly(10) == b" " * 10
        answer.close()
    assert await close(host) == (200, "closed")


async def test_a_redirect_points_back_at_the_simulator(host: SimulatorHost[State]) -> None:
    """A client that follows the redirect sends its second request to the simulator."""
    host.plan(Planned(Redirect(), 1))
    async with aiohttp.ClientSession() as client, client.post(f"{host.base_url}/close", data="close s1") as answer:
        assert await answer.text() == "closed"
    assert [exchange.request.path for exchange in host.received] == ["/close", "/redirected"]


async def test_a_drip_sends_byte_by_byte(host: SimulatorHost[State]) -> None:
    """The body comes in several pieces, so a timeout per read does not fire."""
    host.plan(Planned(Drip(0.02)))
    async with aiohttp.ClientSession() as client, client.post(f"{host.base_url}/close", data="close s1") as answer:
        pieces = [piece async for piece in answer.content.iter_any()]
    assert b"".join(pieces) == b"closed"
    assert len(pieces) > 1


async def test_a_drip_ends_with_the_client_and_with_the_server(host: SimulatorHost[State]) -> None:
    """A body that takes an hour delays neither its client's disconnect nor the stop of the server."""
    host.plan(Planned(Drip(600)))
    handlers = await close_and_disconnect(host)
    assert (await asyncio.wait(handlers, timeout=60))[1] == set()
    await stop_under_request(host, "s2")


async def test_a_slow_answer_is_executed_at_once(host: SimulatorHost[State]) -> None:
    """The session is closed although the client disconnects before the answer."""
    host.plan(Planned(Slow(600), 1), Planned(Slow(0.01), 1))
    await close_and_disconnect(host)
    assert SESSION not in host.sessions
    assert await close(host) == (200, "none")


async def test_a_code_is_answered_in_the_dialect(host: SimulatorHost[State]) -> None:
    """The simulator answers with the code, and as usual after the fault."""
    host.plan(Planned(DialectCode("998"), 1))
    assert await close(host) == (200, "code 998")
    assert await close(host) == (200, "closed")


async def test_faults_apply_in_order(host: SimulatorHost[State]) -> None:
    """Each fault applies to its number of requests; one without a number lasts until the plan is changed."""
    host.plan(Planned(Status(500), 2), Planned(Status(429), 1), Planned(Status(503)))
    assert [(await close(host))[0] for _ in range(5)] == [500, 500, 429, 503, 503]
    host.plan()
    assert await close(host) == (200, "closed")
    assert [exchange.note for exchange in host.received][-2:] == ["status:503", ""]
