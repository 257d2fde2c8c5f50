"""Where a request was sent and no answer can be taken in, the outcome is unknown, and nobody asks twice."""

import asyncio
import gzip
from contextlib import suppress

import pytest

from adapters.contract import HttpRequest
from gateway.outbound.client import ExchangeFailed, ExchangeFault
from gateway.outbound.deadline import Deadline
from tests.gateway.outbound.calling import CLOSE, ENOUGH, SOON, client, exchange, failure
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

SOONER_THAN_IDLE = 5.0
"""Seconds: a connection that nobody needs would be closed later."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX-Be", HEAD, HEAD + b"{"])
async def test_no_answer_in_time_is_a_time_out_after_sending(begun: bytes) -> None:
    """Whatever part of an answer came, without the rest the outcome is unknown when the deadline passes."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c, seconds=SOON)
        assert (failed.fault, failed.sent) == (ExchangeFault.TIMEOUT, True)
        assert len(provided.requests) == 1


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\nX-Drip: ", HEAD])
async def test_an_answer_that_drips_is_cut(begun: bytes) -> None:
    """A header or a body that never stops coming does not outlive the deadline."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        while not peer.reader.at_eof():
            await peer.send(b"x")
            with suppress(TimeoutError):
                await asyncio.wait_for(peer.reader.read(1), 0.01)

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c, seconds=SOON)
    assert (failed.fault, failed.sent) == (ExchangeFault.TIMEOUT, True)


async def test_an_extended_deadline_lets_the_answer_arrive() -> None:
    """A second caller's later deadline keeps the exchange of the first alive."""
    extended = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await extended.wait()
        await peer.send(answer(b"late"))

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        at = loop.time() + SOON
        deadline = Deadline(at)
        call = loop.create_task(c.send(CLOSE, deadline))
        deadline.extend(at + ENOUGH)
        loop.call_at(at + SOON, extended.set)
        assert (await call).body == b"late"
    assert not deadline.watchers


async def test_a_deadline_that_is_moved_earlier_cuts_what_is_under_way() -> None:
    """A gateway that stops does not wait for the deadline that a call began with."""
    asked = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        deadline = Deadline.after(ENOUGH)
        call = asyncio.get_running_loop().create_task(c.send(CLOSE, deadline))
        await asked.wait()
        deadline.cap(asyncio.get_running_loop().time())
        with pytest.raises(ExchangeFailed, match="in time") as failed:
            await asyncio.wait_for(call, SOONER_THAN_IDLE)
        assert (failed.value.fault, failed.value.sent) == (ExchangeFault.TIMEOUT, True)


@pytest.mark.parametrize(("first", "second"), [(ENOUGH, SOON), (SOON, ENOUGH)], ids=["shorter", "longer"])
async def test_each_exchange_on_a_connection_has_its_own_deadline(first: float, second: float) -> None:
    """What was waited for on a connection before neither lengthens the next wait nor cuts it."""
    loop = asyncio.get_running_loop()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"first"))
        await peer.request()
        if second > first:
            late = asyncio.Event()
            loop.call_later(2 * SOON, late.set)
            await late.wait()
            await peer.send(answer(b"second"))
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        assert (await exchange(c, seconds=first)).body == b"first"
        if second > first:
            assert (await exchange(c, seconds=second)).body == b"second"
        else:
            failed = await asyncio.wait_for(failure(c, seconds=second), SOONER_THAN_IDLE)
            assert failed.fault is ExchangeFault.TIMEOUT
        assert provided.connections == 1


async def test_a_deadline_that_passes_between_two_exchanges_is_nobodys() -> None:
    """An exchange after it is bounded by its own."""
    passed = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"first"))
        await peer.request()
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        deadline = Deadline.after(SOON)
        assert (await c.send(CLOSE, deadline)).body == b"first"
        asyncio.get_running_loop().call_at(deadline.at + 0.01, passed.set)
        await passed.wait()
        failed = await asyncio.wait_for(failure(c, seconds=SOON), SOONER_THAN_IDLE)
        assert (failed.fault, provided.connections) == (ExchangeFault.TIMEOUT, 1)


BEGUN = [
    *((begun, reset) for begun in (b"", b"HTTP/1.1 200 OK\r\nX-Be", HEAD, HEAD + b"{") for reset in (False, True)),
    (b"HTTP/1.1 200 OK\r\n\r\n{", True),  # without a length: in order, its end would complete it
]


@pytest.mark.parametrize(("begun", "reset"), BEGUN)
async def test_a_connection_that_ends_before_the_answer_is_lost(begun: bytes, reset: bool) -> None:
    """A connection closed or reset after sending leaves the outcome unknown, and the request is not sent again."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        if reset:
            peer.reset()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c)
        assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)
        assert len(provided.requests) == 1


async def test_a_reset_in_the_middle_of_the_request_is_lost() -> None:
    """A provider that hangs up while the request is still being written may have acted on what it had."""

    async def provider(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reset()

    large = HttpRequest("PUT", "/x", body=b"x" * 1_000_000)
    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c, large)
        assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)
        assert provided.connections == 1


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
async def test_a_keep_alive_race_is_lost_and_never_sent_again(method: str) -> None:
    """A provider that closes an idle connection as we ask on it may have acted: no method is sent a second time."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        await peer.request()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await exchange(c)
        failed = await failure(c, HttpRequest(method, "/x"))
        assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)
        assert (provided.connections, len(provided.requests)) == (1, 2)


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    """What a provider says on an idle connection answers nothing: the next request goes out on another connection."""
    first_is_read = asyncio.Event()
    unasked_is_sent = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        if peer.provider.connections == 1:
            await peer.send(answer(b"first"))
            await first_is_read.wait()
            await peer.send(answer(b"unasked"))
            unasked_is_sent.set()
            await peer.hang()
        await peer.send(answer(b"second"))

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        assert (await exchange(c)).body == b"first"
        first_is_read.set()
        await unasked_is_sent.wait()
        for _ in range(10):
            await asyncio.sleep(0)  # loopback: what was sent is there to be read at the next turns of the loop
        assert (await exchange(c)).body == b"second"
        assert len(provided.requests) == 2


async def test_closing_the_client_ends_an_exchange_under_way() -> None:
    """Stopping the gateway does not leave a caller waiting: the exchange was sent and has no answer."""
    asked = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        under_way = asyncio.get_running_loop().create_task(failure(c))
        await asked.wait()
        await c.close()
        failed = await under_way
        assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)


async def test_a_cancelled_caller_is_cancelled() -> None:
    """Cancellation passes through, closes the connection, and the next exchange is not disturbed by the late answer."""
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        if len(peer.provider.requests) == 1:
            asked.set()
            await peer.hang()
            hung_up.set()
        else:
            await peer.send(answer(b"second"))

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        cancelled = asyncio.get_running_loop().create_task(exchange(c))
        await asked.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.wait_for(hung_up.wait(), SOONER_THAN_IDLE)
        assert (await exchange(c)).body == b"second"


@pytest.mark.parametrize("begun", [b"", HEAD, b"garbage", HEAD.replace(b"1000", b"9999999")])
async def test_whatever_fails_ends_its_connection(begun: bytes) -> None:
    """What may still come on the connection of a failure is heard by nobody, and the provider knows at once."""
    hung_up = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        await peer.hang()
        hung_up.set()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await failure(c, seconds=SOON)
        await asyncio.wait_for(hung_up.wait(), SOONER_THAN_IDLE)


# --- It answered, but not in a way that can be taken in ---------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"garbage\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
    ],
)
async def test_what_is_not_http_is_malformed(said: bytes) -> None:
    """Garbage, broken framing and oversized headers are no answer; whether the request was carried out is unknown."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.ANSWER_MALFORMED, True)


@pytest.mark.parametrize("framed", [True, False])
async def test_an_answer_is_read_up_to_the_limit_and_no_further(framed: bool) -> None:
    """An answer of the largest size is taken in; one byte more is refused without reading the rest."""
    limit = 100_000

    async def provider(peer: Peer) -> None:
        path = (await peer.request()).split()[1]
        length = b"Content-Length: %d\r\n" % limit if path == b"/fits" and framed else b""
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + length + b"\r\n" + b"x" * limit)
        while path == b"/endless":
            await peer.send(b"x" * limit)

    async with raw_provider(provider) as provided, client(provided.base_url, max_answer_bytes=limit) as c:
        assert len((await exchange(c, HttpRequest("POST", "/fits"))).body) == limit
        failed = await failure(c, HttpRequest("POST", "/endless"))
    assert (failed.fault, failed.sent) == (ExchangeFault.ANSWER_MALFORMED, True)
    assert str(limit) in failed.detail


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b"deflate", b"identity, gzip", b"br"])
async def test_an_encoded_answer_is_not_inflated(encoding: bytes) -> None:
    """A small answer that would be a huge one is refused for its encoding, before it is read."""
    bomb = gzip.compress(b"x" * 10_000_000)

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(bomb, b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n" % encoding))
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.ANSWER_MALFORMED, True)
    assert "Content-Encoding" in failed.detail
