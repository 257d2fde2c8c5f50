"""SIGTERM while providers hang and slow clients are connected: the gateway exits, and loses nothing.

How soon it exits is judged by the stress test of the same name, on a quiet machine.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import grpc
import pytest

from gateway.config import GrpcServerKind
from gateway.store.factory import open_store
from gateway.store.models import Balance, Direction
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import callback_key, configuration, failure_of, family_table
from tests.support.process import Serving, serving
from tests.support.provider import ScriptedProvider, hanging, scripted_provider
from tests.support.results import RESULT

CALLS = SLOW_CLIENTS = 50
CALL_TIMEOUT_S = 600.0
EXIT_LIMIT_S = 60.0
"""A gateway that waited for the calls' own deadlines would exit later than this."""

URL = f"/callbacks/lucky/{callback_key('lucky')}/V4/Result"
PREFIXES = [
    b"",
    b"POST /",
    f"POST {URL} HTTP/1.1\r\nHost: x\r\n".encode(),
    f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode(),
    f"POST {URL} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n".encode(),
]
"""What slow clients send at first; then they send single bytes."""


async def send_slowly(address: str, prefix: bytes) -> None:
    """Send bytes until the connection is closed."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(prefix)
    try:
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await reader.read(1000)
    finally:
        writer.close()


@asynccontextmanager
async def loaded(gateway: Serving, provider: ScriptedProvider) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Calls hang at the provider, and slow clients send callbacks. Yields the calls: each must fail as UNKNOWN."""
    at = gateway.ready_message["callbacks"]
    slow_clients = [
        asyncio.create_task(send_slowly(at, PREFIXES[number % len(PREFIXES)])) for number in range(SLOW_CLIENTS)
    ]
    async with grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
        stub = SessionServiceStub(channel)

        async def close(number: int) -> None:
            request = pb.CloseSessionRequest(provider="lucky", user_id=f"{number}")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.CloseSession(request, timeout=CALL_TIMEOUT_S)
            assert failure_of(raised.value).certainty == "UNKNOWN"

        calls = [asyncio.create_task(close(number)) for number in range(CALLS)]
        try:
            async with asyncio.timeout(60):
                while len(provider.received) < CALLS:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.02)
            yield calls
        finally:
            for task in slow_clients:
                task.cancel()
            await asyncio.gather(*calls, *slow_clients, return_exceptions=True)


@pytest.mark.parametrize("server", list(GrpcServerKind))
async def test_a_stop_does_not_wait_for_hanging_calls_and_slow_clients(tmp_path: Path, server: GrpcServerKind) -> None:
    """It exits 0, each caller learns that the outcome is unknown, and nothing acknowledged is lost."""
    async with scripted_provider() as provider:
        section = family_table("lucky", "luckymonaco", provider.base_url)
        config = configuration(tmp_path, section, grpc=f'server = "{server}"')
        async with serving(config) as gateway, aiohttp.ClientSession() as http:
            await gateway.open_account()
            provider.behaviour = hanging
            async with loaded(gateway, provider) as calls:
                answer = await gateway.deliver(http, json.dumps(RESULT).encode())
                assert answer["error"] == 0
                gateway.process.terminate()
                assert await asyncio.wait_for(gateway.process.wait(), EXIT_LIMIT_S) == 0
                await asyncio.gather(*calls)
        store = open_store(f"sqlite:///{tmp_path / 'gateway.db'}")
        await store.open()
        balance = await store.balance("421", "USD")
        exchanges = await store.exchanges(limit=1000)
        await store.close()
    assert isinstance(balance, Balance)
    assert balance.cash == answer["cash"]
    assert len({one.id for one in exchanges if one.direction is Direction.OUTBOUND}) >= CALLS
