"""One exchange: exact about what was sent, bounded in time and size, and without anything that aiohttp adds."""

import asyncio
import gzip
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from adapters.contract import HttpReply, HttpRequest
from gateway.outbound.client import Endpoint, ExchangeFailed, ExchangeFault, ProviderClient
from gateway.outbound.deadline import Deadline
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

ENOUGH = 30.0
"""Seconds that no test gets to."""
SOON = 0.3
"""Seconds until a deadline that is meant to pass."""
SECRET = "c951985e404309115"
CLOSE = HttpRequest(
    "POST",
    "/v1/CloseSession",
    query=(("token", SECRET),),
    headers=(("Authorization", f"Basic {SECRET}"), ("Content-Type", "application/json")),
    body=b'{"requestContent":{}}',
)


@asynccontextmanager
async def client(base_url: str, **bounds: float) -> AsyncIterator[ProviderClient]:
    made = ProviderClient(
        Endpoint(
            "acme",
            base_url,
            allow_private_addresses=True,
            connect_timeout_s=bounds.get("connect_timeout_s", ENOUGH),
            max_answer_bytes=int(bounds.get("max_answer_bytes", 65536)),
            connections=int(bounds.get("connections", 100)),
        )
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def exchange(client: ProviderClient, request: HttpRequest = CLOSE, seconds: float = ENOUGH) -> HttpReply:
    return await client.exchange(request, Deadline.after(seconds))


async def failure(client: ProviderClient, request: HttpRequest = CLOSE, seconds: float = ENOUGH) -> ExchangeFailed:
    """The failure of an exchange; its words name the place, and hold no secret."""
    with pytest.raises(ExchangeFailed) as failed:
        await exchange(client, request, seconds)
    assert SECRET not in "".join(traceback.format_exception(failed.value))
    return failed.value


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


# --- What goes out, what comes back -----------------------------------------------------------------------------------


async def test_what_travels_is_what_was_given() -> None:
    """The provider receives the request byte for byte, with nothing of aiohttp's own but what frames the message."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b'{"error":0}', b"HTTP/1.1 201 Created\r\nX-Odd: \xe9\r\n"))

    async with raw_provider(provider) as provided, client(provided.base_url + "/base/") as c:
        reply = await exchange(c)
        assert provided.requests == [
            b"POST /base/v1/CloseSession?token=c951985e404309115 HTTP/1.1\r\n"
            b"Host: 127.0.0.1:%d\r\n"
            b"Authorization: Basic c951985e404309115\r\n"
            b"Content-Type: application/json\r\n"
            b"Accept-Encoding: identity\r\n"
            b"Content-Length: 21\r\n\r\n"
            b'{"requestContent":{}}' % provided.port
        ]
        assert (reply.status, reply.body) == (201, b'{"error":0}')
        assert reply.headers == (("X-Odd", "é"), ("Content-Length", "11"))


async def test_a_get_has_no_body_and_no_type() -> None:
    """A request without a body is sent without a length and without a type."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await exchange(c, HttpRequest("GET", "/x"))
        assert provided.requests[0].lower().count(b"content-") == 0


async def test_a_real_server_is_understood_over_one_connection() -> None:
    """Exchanges one after the other share a connection, chunked answers and cookies notwithstanding."""
    peers, cookies = set(), []

    async def handle(request: web.Request) -> web.StreamResponse:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        cookies.append(request.headers.get("Cookie"))
        response = web.StreamResponse(status=400, headers={"Set-Cookie": "a=b"})
        await response.prepare(request)
        await response.write(b"one ")
        await response.write(await request.read())
        return response

    app = web.Application()
    app.router.add_post("/x", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with client(f"http://localhost:{port}") as c:
            for _ in range(3):
                reply = await exchange(c, HttpRequest("POST", "/x", body=b"two"))
                assert (reply.status, reply.body) == (400, b"one two")
        assert len(peers) == 1
        assert cookies == [None] * 3
    finally:
        await runner.cleanup()


async def test_a_redirect_is_an_answer() -> None:
    """A redirect comes back as it is, and nobody goes where it points to."""

    async def trap(peer: Peer) -> None:
        await peer.hang()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"", b"HTTP/1.1 307 Moved\r\nLocation: %s/x\r\n" % trapped.base_url.encode()))

    async with raw_provider(trap) as trapped, raw_provider(provider) as provided, client(provided.base_url) as c:
        reply = await exchange(c)
        assert reply.status == 307
        assert reply.header("location") == trapped.base_url + "/x"
        assert trapped.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and its like change nothing: credentials never pass through a stranger."""

    async def trap(peer: Peer) -> None:
        await peer.hang()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(trap) as proxy, raw_provider(provider) as provided:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base_url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with client(provided.base_url) as c:
            await exchange(c)
        assert (proxy.connections, len(provided.requests)) == (0, 1)


# --- Nothing was sent -------------------------------------------------------------------------------------------------


async def test_a_closed_port_is_unreachable() -> None:
    """Where nobody listens nothing was sent, and the error names the place and what to do."""
    port = free_port()
    async with client(f"http://127.0.0.1:{port}") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert f"127.0.0.1:{port}" in failed.detail
    assert "check base_url" in failed.detail


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    """A name that nobody knows is as good as a closed port."""
    async with client("http://provider.invalid") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port where connecting takes for ever: it listens, its backlog is full and it never accepts."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        pending = []
        for filler in fillers:
            filler.setblocking(False)
            pending.append(loop.create_task(loop.sock_connect(filler, listening.getsockname())))
        await asyncio.wait(pending, timeout=SOON)
        try:
            yield listening.getsockname()[1]
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for filler in fillers:
                filler.close()


async def test_connecting_has_a_time_limit_of_its_own() -> None:
    """A connection that does not come about is given up after the connect time-out, long before the deadline."""
    async with full_backlog() as port, client(f"http://127.0.0.1:{port}", connect_timeout_s=SOON) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert "0.3 s" in failed.detail


async def test_a_deadline_while_connecting_means_that_nothing_was_sent() -> None:
    """A deadline that passes before there is a connection is no time-out of the provider."""
    async with full_backlog() as port, client(f"http://127.0.0.1:{port}") as c:
        failed = await failure(c, seconds=SOON)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


@pytest.mark.parametrize("connect_timeout_s", [SOON, ENOUGH])
async def test_a_tls_handshake_that_never_comes_means_that_nothing_was_sent(connect_timeout_s: float) -> None:
    """Until TLS stands not one byte of the request leaves, whichever of the two limits ends the wait."""
    received = bytearray()

    async def provider(peer: Peer) -> None:
        while data := await peer.reader.read(4096):
            received.extend(data)

    async with raw_provider(provider) as provided:
        async with client(f"https://127.0.0.1:{provided.port}", connect_timeout_s=connect_timeout_s) as c:
            failed = await failure(c, seconds=ENOUGH if connect_timeout_s == SOON else SOON)
        assert received, "the handshake was begun"
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert SECRET.encode() not in received


async def test_a_provider_that_speaks_no_tls_is_unreachable() -> None:
    """A handshake that fails means that nothing was sent."""

    async def provider(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(answer())

    async with raw_provider(provider) as provided, client(f"https://127.0.0.1:{provided.port}") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


async def test_waiting_for_a_free_connection_counts_as_connecting() -> None:
    """A call that gets no connection out of the pool in time was not sent."""
    asked = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.hang()

    async with raw_provider(provider) as provided:
        async with client(provided.base_url, connections=1, connect_timeout_s=SOON) as c:
            first = asyncio.get_running_loop().create_task(exchange(c))
            await asked.wait()
            failed = await failure(c)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
        assert "1 included" in failed.detail
        assert len(provided.requests) == 1


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    """With no time left nothing is sent, even where a connection is at hand."""

    async def provider(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await exchange(c)
        failed = await failure(c, seconds=0)
        assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
        assert len(provided.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "localhost"])
async def test_private_addresses_are_refused(host: str) -> None:
    """A literal and a name that resolve to this machine are refused before anything connects, saying what to set."""

    async def provider(peer: Peer) -> None:
        await peer.hang()

    async with raw_provider(provider) as provided:
        c = ProviderClient(Endpoint("acme", f"http://{host}:{provided.port}"))
        await c.start()
        try:
            failed = await failure(c)
        finally:
            await c.close()
        assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
        assert "allow_private_addresses = true" in failed.detail
        assert provided.connections == 0


async def test_a_request_that_http_cannot_carry_is_an_error_of_ours() -> None:
    """A header with a line break is refused as a bug, before anything connects."""
    async with client(f"http://127.0.0.1:{free_port()}") as c:
        with pytest.raises(ValueError, match="header 'X'"):
            await exchange(c, HttpRequest("POST", "/x", headers=(("X", "a\r\nb"),)))


async def test_a_client_that_was_not_started_says_so() -> None:
    """Using a client before start is a bug, and is told as one."""
    with pytest.raises(RuntimeError, match="acme"):
        await ProviderClient(Endpoint("acme", "https://p.example")).exchange(CLOSE, Deadline.after(ENOUGH))


# --- It was sent, and there is no answer ------------------------------------------------------------------------------

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
        call = loop.create_task(c.exchange(CLOSE, deadline))
        deadline.extend(at + ENOUGH)
        loop.call_at(at + SOON, extended.set)
        assert (await call).body == b"late"


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX-Be", HEAD, HEAD + b"{"])
@pytest.mark.parametrize("reset", [False, True])
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
        await hung_up.wait()
        assert (await exchange(c)).body == b"second"


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
