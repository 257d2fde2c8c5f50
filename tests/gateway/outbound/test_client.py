"""One exchange: request and answer travel unchanged."""

import pytest
from aiohttp import web

from adapters.contract import HttpRequest
from tests.gateway.outbound.harness import client, exchange
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider


async def test_request_and_answer_are_unchanged() -> None:
    """The provider receives the request byte for byte; only the headers that frame the message are added."""

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


async def test_a_get_has_no_content_headers() -> None:
    """A request without a body is sent without length and type."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await exchange(c, HttpRequest("GET", "/x"))
        assert provided.requests[0].lower().count(b"content-") == 0


async def test_exchanges_with_a_real_server_share_a_connection() -> None:
    """Chunked answers and cookies make no difference."""
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


async def test_a_redirect_is_not_followed() -> None:
    """It is returned as an answer."""

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
    """HTTP_PROXY and similar variables have no effect: credentials must not pass a third party."""

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
