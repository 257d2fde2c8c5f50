"""Callers without a key, and a provider with too many callbacks, take no place of the others."""

import asyncio
import json
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import trustme

from gateway.callbacks import server
from gateway.callbacks.places import PlaceLimits
from gateway.callbacks.server import ConnectionLimits
from gateway.telemetry.metrics import Metrics
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    CallbackHarness,
    HarnessOptions,
    open_harness,
)
from tests.gateway.callbacks.test_rejections import counted
from tests.support.gateway import callback_key, family_table, running_gateway
from tests.support.waiting import until

KEYLESS = b"POST /callbacks/monaco/wrong/V4/Result HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
LIMITS = ConnectionLimits(PlaceLimits(connections=40, per_source=20))


async def besieged(harness: CallbackHarness, sent: bytes) -> None:
    """Deliver while fifty callers connect, send this, and connect again when they are closed."""

    async def attack() -> None:
        while True:
            try:
                async with harness.connect() as (reader, writer):
                    writer.write(sent)
                    await reader.read()
            except OSError:
                await asyncio.sleep(0)

    attackers = [asyncio.create_task(attack()) for _ in range(50)]
    try:
        await until(lambda: harness.server.connections)
        for _ in range(5):
            async with aiohttp.ClientSession() as client:
                url = f"http://127.0.0.1:{harness.port}{MONACO.path('SessionExpired')}"
                async with client.post(url, json=dict(EXPIRED)) as reply:
                    assert await reply.json(content_type=None) == SUCCESS
            assert len(harness.server.connections) <= 2 * LIMITS.places.connections
    finally:
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)


@pytest.mark.parametrize("sent", [KEYLESS, b"", KEYLESS[:-2]], ids=["keyless", "silent", "half a head"])
async def test_a_siege_locks_nobody_out(tmp_path: Path, sent: bytes) -> None:
    """Each delivery on a new connection, from the attackers' own address, is answered."""
    async with open_harness(tmp_path, HarnessOptions(limits=LIMITS)) as harness, asyncio.timeout(60):
        await besieged(harness, sent)


async def test_tls_handshakes_count_from_their_accept(tmp_path: Path) -> None:
    """Handshakes that stall have places, are evicted for a new connection, and are counted as such."""
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    caller_tls = ssl.create_default_context()
    authority.configure_trust(caller_tls)
    metrics = Metrics()
    limits = ConnectionLimits(PlaceLimits(connections=5))
    options = HarnessOptions(limits=limits, ssl=server_tls, metrics=metrics)
    async with open_harness(tmp_path, options) as harness, AsyncExitStack() as stack, asyncio.timeout(60):
        stalled = [(await stack.enter_async_context(harness.connect()))[0] for _ in range(5)]
        await until(lambda: len(harness.server.connections) == 5)
        url = f"https://127.0.0.1:{harness.port}{MONACO.path('SessionExpired')}"
        async with harness.client.post(url, json=dict(EXPIRED), ssl=caller_tls) as reply:
            assert await reply.json(content_type=None) == SUCCESS
        assert await stalled[0].read() == b""
        assert counted(metrics)["evicted"] == 1
        await until(lambda: len(harness.server.connections) == 5)
        assert not any(reader.at_eof() for reader in stalled[1:])


async def test_a_provider_has_a_share_of_the_callbacks_in_flight(tmp_path: Path) -> None:
    """Above it a callback is answered at once that it must be sent again, and another provider is served."""
    tables = [
        family_table(name, "luckymonaco", "http://127.0.0.1:9", limits=f"{{ max_concurrent_callbacks = {share} }}")
        for name, share in (("one", 2), ("two", 500))
    ]
    async with running_gateway(tmp_path, *tables) as gateway, AsyncExitStack() as stack, asyncio.timeout(60):
        host, _, port = gateway.listening.callbacks.rpartition(":")
        head = f"POST /callbacks/one/{callback_key('one')}/V4/SessionExpired HTTP/1.1\r\nHost: x\r\n"
        for _ in range(2):
            reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            writer.write(f"{head}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode())
            assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(EXPIRED).encode()
        assert json.loads((await gateway.callback("one", "V4/SessionExpired", body))[1]) == SEND_AGAIN
        assert json.loads((await gateway.callback("two", "V4/SessionExpired", body))[1]) == SUCCESS
        assert counted(gateway.gateway._metrics)["provider_share"] == 1


async def test_an_authenticated_request_in_flight_keeps_its_connection(tmp_path: Path) -> None:
    """Silent connections beyond all limits do not evict it, and its body is processed."""
    body = json.dumps(EXPIRED).encode()
    options = HarnessOptions(limits=ConnectionLimits(PlaceLimits(connections=2, per_source=1)))
    async with open_harness(tmp_path, options) as harness, harness.connect() as (reader, writer), asyncio.timeout(60):
        head = f"POST {MONACO.path('SessionExpired')} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        async with harness.connect() as (first, _), harness.connect():
            assert await first.read() == b""
            writer.write(body)
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")


async def test_an_evicted_connection_is_closed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller would connect again at once. Nothing is read of it, and there are no more of them than places."""
    monkeypatch.setattr(server, "EVICTED_S", 3600.0)
    options = HarnessOptions(limits=ConnectionLimits(PlaceLimits(connections=2, per_source=1)))
    async with open_harness(tmp_path, options) as harness, AsyncExitStack() as stack, asyncio.timeout(30):
        first, *evicted, last = [await stack.enter_async_context(harness.connect()) for _ in range(4)]
        assert await first[0].read() == b""
        body = json.dumps(EXPIRED).encode()
        head = f"POST {MONACO.path('SessionExpired')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        for _, writer in (*evicted, last):
            writer.write(head.encode() + body)
        assert b" 200 OK" in await last[0].readuntil(b"\r\n\r\n")
        assert len(harness.server.connections) == 3
        assert not any(reader.at_eof() for reader, _ in evicted)
        assert len(await harness.journal()) == 1
