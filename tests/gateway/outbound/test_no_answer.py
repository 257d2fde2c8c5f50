"""A request that was sent and has no valid answer has an unknown outcome, and is not sent again."""

import asyncio
import gzip
from contextlib import suppress

import pytest

from adapters.contract import HttpRequest
from gateway.outbound import connection_pool
from gateway.outbound.client import ExchangeFailed, ExchangeFault
from gateway.outbound.deadline import Deadline
from tests.gateway.outbound.harness import CLOSE, LONG, SHORT, client, exchange, failure, failure_at, run_loop
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

HANG_LIMIT_S = 60.0
"""Shorter than LONG: a wait that lasts until such a deadline fails."""

FIRST_S = 1.5
"""Seconds until a deadline that an exchange must meet, and that passes before the next exchange ends."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture(autouse=True)
def no_idle_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is not closed for being idle."""
    monkeypatch.setattr(connection_pool, "_MAX_IDLE_S", LONG)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX-Be", HEAD, HEAD + b"{"])
async def test_an_incomplete_answer_at_the_deadline_is_a_timeout(begun: bytes) -> None:
    """The outcome is unknown, whatever part of an answer was received."""
    answered = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        answered.set()
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure_at(c, answered)
        assert (failed.fault, failed.sent) == (ExchangeFault.TIMEOUT, True)
        assert len(provided.requests) == 1


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\nX-Slow: ", HEAD])
async def test_a_slow_answer_ends_at_the_deadline(begun: bytes) -> None:
    """A header or a body that arrives byte by byte does not extend the deadline."""
    sending = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        while not peer.reader.at_eof():
            await peer.send(b"x")
            sending.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(peer.reader.read(1), 0.01)

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure_at(c, sending)
    assert (failed.fault, failed.sent) == (ExchangeFault.TIMEOUT, True)


async def test_an_extended_deadline_extends_the_exchange() -> None:
    """The answer is received after the first deadline."""
    extended = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await extended.wait()
        await peer.send(answer(b"late"))

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        at = loop.time() + SHORT
        deadline = Deadline(at)
        call = loop.create_task(c.send(CLOSE, deadline))
        deadline.extend(at + LONG)
        loop.call_at(at + SHORT, extended.set)
        assert (await call).body == b"late"
    assert not deadline.watchers


async def test_a_capped_deadline_ends_an_exchange_in_progress() -> None:
    """A gateway that stops does not wait for the deadline that a call began with."""
    received = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        received.set()
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        deadline = Deadline.after(LONG)
        call = asyncio.get_running_loop().create_task(c.send(CLOSE, deadline))
        await received.wait()
        deadline.cap(asyncio.get_running_loop().time())
        with pytest.raises(ExchangeFailed, match="in time") as failed:
            await asyncio.wait_for(call, HANG_LIMIT_S)
        assert (failed.value.fault, failed.value.sent) == (ExchangeFault.TIMEOUT, True)


@pytest.mark.parametrize(("first", "second"), [(LONG, SHORT), (FIRST_S, LONG)], ids=["shorter", "longer"])
async def test_each_exchange_on_a_connection_has_its_own_deadline(first: float, second: float) -> None:
    """The deadline of the previous exchange neither extends nor shortens it."""
    loop = asyncio.get_running_loop()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"first"))
        await peer.request()
        if second > first:
            late = asyncio.Event()
            loop.call_later(FIRST_S, late.set)
            await late.wait()
            await peer.send(answer(b"second"))
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        assert (await exchange(c, seconds=first)).body == b"first"
        if second > first:
            assert (await exchange(c, seconds=second)).body == b"second"
        else:
            failed = await asyncio.wait_for(failure(c, seconds=second), HANG_LIMIT_S)
            assert failed.fault is ExchangeFault.TIMEOUT
        assert provided.connections == 1


async def test_a_deadline_that_passes_between_two_exchanges_has_no_effect() -> None:
    """The next exchange ends at its own deadline."""
    passed = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"first"))
        await peer.request()
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        deadline = Deadline.after(FIRST_S)
        assert (await c.send(CLOSE, deadline)).body == b"first"
        asyncio.get_running_loop().call_at(deadline.at + 0.01, passed.set)
        await passed.wait()
        failed = await asyncio.wait_for(failure(c, seconds=SHORT), HANG_LIMIT_S)
        assert (failed.fault, provided.connections) == (ExchangeFault.TIMEOUT, 1)


BEGUN = [
    *((begun, reset) for begun in (b"", b"HTTP/1.1 200 OK\r\nX-Be", HEAD, HEAD + b"{") for reset in (False, True)),
    (b"HTTP/1.1 200 OK\r\n\r\n{", True),  # without a length, a regular end would complete it
]


@pytest.mark.parametrize(("begun", "reset"), BEGUN)
async def test_a_connection_that_ends_early_is_lost(begun: bytes, reset: bool) -> None:
    """The outcome is unknown, and the request is not sent again."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        if reset:
            peer.reset()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c)
        assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)
        assert len(provided.requests) == 1


async def test_a_reset_during_the_request_is_lost() -> None:
    """The outcome is unknown: the provider may have executed what it had received."""

    async def provider(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reset()

    large = HttpRequest("PUT", "/x", body=b"x" * 1_000_000)
    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c, large)
        assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)
        assert provided.connections == 1


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
async def test_a_keep_alive_race_is_lost(method: str) -> None:
    """A provider that closes an idle connection as a request arrives may have executed it: no method is sent again."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        await peer.request()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await exchange(c)
        failed = await failure(c, HttpRequest(method, "/x"))
        assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)
        assert (provided.connections, len(provided.requests)) == (1, 2)


async def test_an_unrequested_answer_is_ignored() -> None:
    """After bytes on an idle connection the next request uses another connection."""
    first_is_read = asyncio.Event()
    unrequested_is_sent = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        if peer.provider.connections == 1:
            await peer.send(answer(b"first"))
            await first_is_read.wait()
            await peer.send(answer(b"unrequested"))
            unrequested_is_sent.set()
            await peer.hang()
        await peer.send(answer(b"second"))

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        assert (await exchange(c)).body == b"first"
        first_is_read.set()
        await unrequested_is_sent.wait()
        await run_loop()
        assert (await exchange(c)).body == b"second"
        assert len(provided.requests) == 2


async def test_closing_the_client_ends_an_exchange_in_progress() -> None:
    """It was sent and has no answer."""
    received = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        received.set()
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        in_progress = asyncio.get_running_loop().create_task(failure(c))
        await received.wait()
        await c.close()
        failed = await in_progress
        assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)


async def test_a_cancelled_exchange_closes_its_connection() -> None:
    """Cancellation passes through, and a late answer does not affect the next exchange."""
    received, disconnected = asyncio.Event(), asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        if len(peer.provider.requests) == 1:
            received.set()
            await peer.hang()
            disconnected.set()
        else:
            await peer.send(answer(b"second"))

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        cancelled = asyncio.get_running_loop().create_task(exchange(c))
        await received.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.wait_for(disconnected.wait(), HANG_LIMIT_S)
        assert (await exchange(c)).body == b"second"


@pytest.mark.parametrize("begun", [b"", HEAD, b"garbage", HEAD.replace(b"1000", b"9999999")])
async def test_a_failure_closes_its_connection(begun: bytes) -> None:
    """Nothing more is read from it, and the provider notices at once."""
    answered, disconnected = asyncio.Event(), asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        answered.set()
        await peer.hang()
        disconnected.set()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await failure_at(c, answered)
        await asyncio.wait_for(disconnected.wait(), HANG_LIMIT_S)


# --- Invalid answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_malformed(sent: bytes) -> None:
    """Garbage, broken framing and oversized headers leave the outcome unknown."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.ANSWER_MALFORMED, True)


@pytest.mark.parametrize("framed", [True, False])
async def test_the_size_of_an_answer_is_limited(framed: bool) -> None:
    """An answer of the maximum size is accepted; one byte more is rejected without reading the rest."""
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
async def test_an_encoded_answer_is_rejected(encoding: bytes) -> None:
    """It is rejected before its body is read, which could be huge when decoded."""
    bomb = gzip.compress(b"x" * 10_000_000)

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(bomb, b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n" % encoding))
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.ANSWER_MALFORMED, True)
    assert "Content-Encoding" in failed.detail
