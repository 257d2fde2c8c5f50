"""A hosted simulator: a provider on a real socket that keeps what was said and tells what happens."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest
import pytest_asyncio

from adapters.contract import HttpReply
from adapters.simulation import Expire, PlayerSession, Win
from gateway.simulation import Hang, NowhereToDeliver, Planned, Redirect, SimulatorHost
from tests.gateway.simulation.harness import Ear, listening
from tests.gateway.simulation.plain import ACCOUNT, PLAIN, SESSION, State

WIN = Win("s1", "r1", "ref-1", "EUR", Decimal("12.50"))


@pytest_asyncio.fixture
async def ear() -> AsyncIterator[Ear]:
    """Where the callbacks go."""
    async with listening() as ear:
        yield ear


@pytest_asyncio.fixture
async def host(ear: Ear) -> AsyncIterator[SimulatorHost[State]]:
    """A plain simulator with one open session that tells the ear."""
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], ear.url)
    await host.start()
    yield host
    await host.stop()


async def test_the_simulator_sees_the_request_as_it_was_on_the_wire(host: SimulatorHost[State]) -> None:
    """Method, path, query, headers and body reach the simulator unchanged, and are kept beside its answer."""
    async with (
        aiohttp.ClientSession() as client,
        client.put(
            f"{host.base_url}/V4/Cl%C3%B6se?a=1&a=&b=%20", data=b"close s1\xc3\xb6", headers={"X-oDD": "v"}
        ) as answer,
    ):
        assert (answer.status, await answer.read(), answer.headers["Content-Type"]) == (200, b"none", "text/plain")
    (exchange,) = host.received
    assert (exchange.request.method, exchange.request.path) == ("PUT", "/V4/Cl%C3%B6se")
    assert exchange.request.query == (("a", "1"), ("a", ""), ("b", " "))
    assert ("X-oDD", "v") in exchange.request.headers
    assert exchange.request.body == b"close s1\xc3\xb6"
    assert exchange.reply == HttpReply(200, (("Content-Type", "text/plain"),), b"none")


async def test_the_length_is_counted_and_not_believed(host: SimulatorHost[State]) -> None:
    """A simulator that writes a Content-Length of its own cannot leave the caller waiting for the rest."""
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as client,
        client.post(f"{host.base_url}/", data="open s1") as answer,
    ):
        assert (answer.status, answer.content_length, await answer.text()) == (400, 5, "what?")


async def test_state_goes_from_request_to_request(host: SimulatorHost[State]) -> None:
    """Of many who close one session at once exactly one closes it."""
    async with aiohttp.ClientSession() as client:

        async def close() -> str:
            async with client.post(f"{host.base_url}/", data="close s1") as answer:
                return await answer.text()

        assert sorted(await asyncio.gather(*(close() for _ in range(8)))) == ["closed"] + ["none"] * 7
    assert host.sessions == ()


async def test_a_callback_is_delivered_as_the_simulator_wrote_it(host: SimulatorHost[State], ear: Ear) -> None:
    """It goes to the callback URL and the dialect's path, with the dialect's headers and no other content type."""
    happened = await host.emit(WIN)
    assert host.due == happened
    (exchange,) = await host.deliver()
    assert exchange.reply is not None
    assert (exchange.reply.status, exchange.reply.body) == (200, b"ok")
    (path, body, headers), *others = ear.heard
    assert (path, body, others) == ("/callbacks/plain/secret-key/Tell?n=1", b"won 12.50 EUR", [])
    assert headers.keys() == {"Host", "Content-Type", "Content-Length", "Connection"}
    assert headers["Content-Type"] == "text/plain"
    assert (host.due, host.sent) == ((), (exchange,))


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_win_can_be_sent_five_times(host: SimulatorHost[State], ear: Ear, *, at_once: bool) -> None:
    """The very same request, byte for byte, as a provider repeats it; each reply is answered, and it is settled."""
    happened = await host.emit(WIN)
    exchanges = await host.deliver(happened, times=5, at_once=at_once)
    assert [exchange.reply and exchange.reply.body for exchange in exchanges] == [b"ok"] * 5
    assert len(ear.heard) == 5
    assert len({(path, body) for path, body, _ in ear.heard}) == 1
    assert host.due == ()


async def test_what_was_settled_can_be_sent_again(host: SimulatorHost[State], ear: Ear) -> None:
    """A provider may repeat what was acknowledged long ago; the simulator's state is not disturbed by it."""
    happened = await host.emit(WIN)
    await host.deliver()
    ear.replies.append(b"not now")
    assert len(await host.deliver(happened)) == 1
    assert (len(ear.heard), host.due) == (2, ())


async def test_without_an_answer_it_stays_due(host: SimulatorHost[State], ear: Ear) -> None:
    """A lost connection, and an answer that does not settle, leave it for another try; no note shows the key."""
    await host.emit(Expire("s1"))
    ear.replies.extend([None, b"not now"])
    (lost,) = await host.deliver()
    assert (lost.reply, host.due[0].tries) == (None, 1)
    assert lost.note
    (refused,) = await host.deliver()
    assert (refused.reply is not None, host.due[0].tries) == (True, 2)
    host.callback_url = "http://127.0.0.1:1/callbacks/plain/secret-key"
    (unreachable,) = await host.deliver()
    assert unreachable.reply is None
    assert "secret-key" not in unreachable.note + lost.note
    host.callback_url = ear.url
    await host.deliver()
    assert host.due == ()


async def test_an_answer_that_takes_too_long_is_none() -> None:
    """A provider waits only so long, then counts the delivery as unanswered."""
    deaf = SimulatorHost(PLAIN, ACCOUNT, faults=[Planned(Hang())])
    await deaf.start()
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], deaf.base_url, reply_timeout_s=0.05)
    await host.start()
    await host.emit(WIN)
    (exchange,) = await host.deliver()
    assert (exchange.reply, exchange.note) == (None, "TimeoutError")
    assert len(host.due) == len(deaf.received) == 1
    await host.stop()
    await deaf.stop()


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    """The callback URL leads where it says, and nowhere else."""
    elsewhere = SimulatorHost(PLAIN, ACCOUNT, faults=[Planned(Redirect())])
    await elsewhere.start()
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], elsewhere.base_url)
    await host.start()
    await host.emit(WIN)
    (exchange,) = await host.deliver()
    assert exchange.reply is not None
    assert (exchange.reply.status, len(elsewhere.received)) == (307, 1)
    await host.stop()
    await elsewhere.stop()


async def test_it_is_delivered_again_until_it_is_settled(ear: Ear) -> None:
    """In the background it is tried again at the interval, and no more once it is settled."""
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], ear.url)
    await host.start(redeliver_every_s=0.01)
    ear.replies.extend([b"not now", None, b"not now"])
    await host.emit(WIN)
    async with asyncio.timeout(5):
        await host.settled()
    assert len(ear.heard) == 4
    await host.emit(Expire("s1"))
    async with asyncio.timeout(5):
        await host.settled()
    await host.stop()
    assert len(ear.heard) == 5


async def test_there_must_be_somewhere_to_deliver_to(host: SimulatorHost[State]) -> None:
    """Without a callback URL nothing is delivered, nothing is lost, and the reason is told."""
    host.callback_url = None
    await host.emit(WIN)
    with pytest.raises(NowhereToDeliver, match="callback URL"):
        await host.deliver()
    assert len(host.due) == 1
    with pytest.raises(ValueError, match="at least once"):
        await host.deliver(times=0)


async def test_a_session_can_be_opened(host: SimulatorHost[State]) -> None:
    """A new session is open beside the others, and what is still to be delivered is never forgotten for it."""
    new = PlayerSession("s9", "u9", "g9")
    host.open_session(new)
    host.open_session(new)
    assert host.sessions == (SESSION, new)
    await host.emit(Expire("s9"))
    due = host.due
    another = PlayerSession("s10", "u9", "g9")
    host.open_session(another)
    assert another in host.sessions
    assert host.due == due


async def test_it_listens_only_between_start_and_stop() -> None:
    """Before it there is no address; after it the port is free again; a taken port is an OSError."""
    host = SimulatorHost(PLAIN, ACCOUNT)
    with pytest.raises(RuntimeError, match="start"):
        _ = host.base_url
    port = await host.start()
    assert host.base_url == f"http://127.0.0.1:{port}"
    second = SimulatorHost(PLAIN, ACCOUNT)
    with pytest.raises(OSError, match="in use"):
        await second.start(port=port)
    await host.stop()
    await second.start(port=port)
    await second.stop()
