"""The simulator's server: it answers the gateway, and delivers callbacks."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest

from adapters.contract import HttpReply
from adapters.simulation import Expire, PlayerSession, Win
from gateway.simulation.faults import Hang, Planned, Redirect
from gateway.simulation.server import CallbackUrlMissing, SimulatorHost
from tests.gateway.simulation.harness import CallbackReceiver
from tests.gateway.simulation.plain_dialect import ACCOUNT, PLAIN, SESSION, State

WIN = Win("s1", "r1", "ref-1", "EUR", Decimal("12.50"))


@pytest.fixture
async def host(receiver: CallbackReceiver) -> AsyncIterator[SimulatorHost[State]]:
    """A simulator with one open session that delivers to the receiver."""
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], receiver.url)
    await host.start()
    yield host
    await host.stop()


async def test_the_simulator_sees_the_request_as_it_was_on_the_wire(host: SimulatorHost[State]) -> None:
    """Method, path, query, headers and body reach the simulator unchanged, and are kept with its answer."""
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


async def test_the_content_length_is_computed(host: SimulatorHost[State]) -> None:
    """A wrong Content-Length of the simulator is replaced, so the client does not wait for more."""
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as client,
        client.post(f"{host.base_url}/", data="open s1") as answer,
    ):
        assert (answer.status, answer.content_length, await answer.text()) == (400, 5, "what?")


async def test_state_goes_from_request_to_request(host: SimulatorHost[State]) -> None:
    """Of several concurrent closes of one session, one closes it."""
    async with aiohttp.ClientSession() as client:

        async def close() -> str:
            async with client.post(f"{host.base_url}/", data="close s1") as answer:
                return await answer.text()

        assert sorted(await asyncio.gather(*(close() for _ in range(8)))) == ["closed"] + ["none"] * 7
    assert host.sessions == ()


async def test_a_callback_is_delivered_as_the_simulator_wrote_it(
    host: SimulatorHost[State], receiver: CallbackReceiver
) -> None:
    """It goes to the callback URL and the dialect's path, with the dialect's headers and no others."""
    deliveries = host.emit(WIN)
    assert host.pending == deliveries
    (exchange,) = await host.deliver()
    assert exchange.reply is not None
    assert (exchange.reply.status, exchange.reply.body) == (200, b"ok")
    (path, body, headers), *others = receiver.received
    assert (path, body, others) == ("/callbacks/plain/secret-key/Event?n=1", b"won 12.50 EUR", [])
    assert headers.keys() == {"Host", "Content-Type", "Content-Length", "Connection"}
    assert headers["Content-Type"] == "text/plain"
    assert (host.pending, host.sent) == ((), (exchange,))


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_win_can_be_delivered_five_times(
    host: SimulatorHost[State], receiver: CallbackReceiver, *, at_once: bool
) -> None:
    """The requests are the same byte for byte, each reply is returned, and the callback is settled."""
    deliveries = host.emit(WIN)
    exchanges = await host.deliver(deliveries, times=5, at_once=at_once)
    assert [exchange.reply and exchange.reply.body for exchange in exchanges] == [b"ok"] * 5
    assert len(receiver.received) == 5
    assert len({(path, body) for path, body, _ in receiver.received}) == 1
    assert host.pending == ()


async def test_a_settled_callback_can_be_delivered_again(
    host: SimulatorHost[State], receiver: CallbackReceiver
) -> None:
    """A provider may repeat an acknowledged callback; the simulator's state does not change."""
    deliveries = host.emit(WIN)
    await host.deliver()
    receiver.replies.append(b"not now")
    assert len(await host.deliver(deliveries)) == 1
    assert (len(receiver.received), host.pending) == (2, ())


async def test_a_callback_without_an_answer_stays_pending(
    host: SimulatorHost[State], receiver: CallbackReceiver
) -> None:
    """After a lost connection or a negative answer it is delivered again; no note holds the callback key."""
    host.emit(Expire("s1"))
    receiver.replies.extend([None, b"not now"])
    (lost,) = await host.deliver()
    assert (lost.reply, host.pending[0].tries) == (None, 1)
    assert lost.note
    (refused,) = await host.deliver()
    assert (refused.reply is not None, host.pending[0].tries) == (True, 2)
    host.callback_url = "http://127.0.0.1:1/callbacks/plain/secret-key"
    (unreachable,) = await host.deliver()
    assert unreachable.reply is None
    assert "secret-key" not in unreachable.note + lost.note
    host.callback_url = receiver.url
    await host.deliver()
    assert host.pending == ()


async def test_a_late_answer_counts_as_none() -> None:
    """After the reply timeout a delivery counts as unanswered."""
    silent = SimulatorHost(PLAIN, ACCOUNT, faults=[Planned(Hang())])
    await silent.start()
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], silent.base_url, reply_timeout_s=1.0)
    await host.start()
    host.emit(WIN)
    (exchange,) = await host.deliver()
    assert (exchange.reply, exchange.note) == (None, "TimeoutError")
    assert len(host.pending) == len(silent.received) == 1
    await host.stop()
    await silent.stop()


async def test_a_redirect_is_not_followed() -> None:
    """A redirect counts as the answer to a callback."""
    elsewhere = SimulatorHost(PLAIN, ACCOUNT, faults=[Planned(Redirect())])
    await elsewhere.start()
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], elsewhere.base_url)
    await host.start()
    host.emit(WIN)
    (exchange,) = await host.deliver()
    assert exchange.reply is not None
    assert (exchange.reply.status, len(elsewhere.received)) == (307, 1)
    await host.stop()
    await elsewhere.stop()


async def test_a_callback_is_delivered_again_until_it_is_settled(receiver: CallbackReceiver) -> None:
    """With redelivery on, a callback is delivered at the interval until it is settled, and then no more."""
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], receiver.url)
    await host.start(redeliver_every_s=0.01)
    receiver.replies.extend([b"not now", None, b"not now"])
    host.emit(WIN)
    async with asyncio.timeout(60):
        await host.wait_settled()
    assert len(receiver.received) == 4
    host.emit(Expire("s1"))
    async with asyncio.timeout(60):
        await host.wait_settled()
    await host.stop()
    assert len(receiver.received) == 5


async def test_a_delivery_needs_a_callback_url(host: SimulatorHost[State]) -> None:
    """Without a callback URL a delivery raises, and the callback stays pending."""
    host.callback_url = None
    host.emit(WIN)
    with pytest.raises(CallbackUrlMissing, match="callback URL"):
        await host.deliver()
    assert len(host.pending) == 1
    with pytest.raises(ValueError, match="at least once"):
        await host.deliver(times=0)


async def test_a_session_can_be_opened(host: SimulatorHost[State]) -> None:
    """A new session is added to the others, and pending callbacks are kept."""
    new = PlayerSession("s9", "u9", "g9")
    host.open_session(new)
    host.open_session(new)
    assert host.sessions == (SESSION, new)
    host.emit(Expire("s9"))
    pending = host.pending
    another = PlayerSession("s10", "u9", "g9")
    host.open_session(another)
    assert another in host.sessions
    assert host.pending == pending


async def test_it_listens_only_between_start_and_stop() -> None:
    """Before start there is no address, after stop the port is free, and a port in use raises OSError."""
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
