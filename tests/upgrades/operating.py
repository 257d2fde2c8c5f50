"""Gateways of this release and of the one before as processes, and what providers and operators do with them."""

import asyncio
import json
import os
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from gateway.v1 import session_service_pb2 as sessions
from gateway.v1 import wallet_service_pb2 as wallet
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.support.gateway import callback_key, configuration, family_table
from tests.support.process import Serving

RELEASE_BEFORE = Path(__file__).with_name("release_before.zip")
"""The packages of the release before, as `git archive` gives them: see README.md beside this file."""

_MAIN = """
import sys
import gateway.cli
assert gateway.cli.__file__.startswith(sys.argv.pop(1)), gateway.cli.__file__
gateway.cli.main()
"""

LONGEST_START_S = 20


def release_before(folder: Path) -> Path:
    """The release before, unpacked: where Python finds its packages."""
    with zipfile.ZipFile(RELEASE_BEFORE) as packed:
        packed.extractall(folder / "release_before")
    return folder / "release_before"


@asynccontextmanager
async def serving_before(release: Path, config: Path) -> AsyncIterator[Serving]:
    """`session-gateway serve` of the release before; whatever is left of it is killed in the end."""
    log = config.with_suffix(".before.log")
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", _MAIN, str(release), "serve", "--config", str(config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(release)},
            cwd=release,
        )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), LONGEST_START_S)
        assert line, log.read_text()
        yield Serving(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def stopped(gateway: Serving) -> None:
    """Ask it to stop, and see that it does."""
    gateway.process.terminate()
    assert await asyncio.wait_for(gateway.process.wait(), 15) == 0


def configured(folder: Path, *, base_url: str = "http://127.0.0.1:9", store: str = "") -> Path:
    """A configuration that both releases take, with one provider."""
    return configuration(folder, family_table("lucky", "luckymonaco", base_url), store=store)


def result(reference: str, *, user_id: str = "421", amount: str = "10") -> bytes:
    """A Result, as the provider writes it."""
    members = {
        "providerId": "luckymonaco",
        "userId": user_id,
        "currency": "USD",
        "amount": amount,
        "roundDetails": "spin",
        "roundId": "5103188801",
        "reference": reference,
        "gameId": "g",
        "gameName": "g",
        "uuid": "4a5d375ac1311b04fba2ea66d067b8e5",
        "timestamp": "1482429190374",
    }
    return json.dumps(members).encode()


async def deliver(http: aiohttp.ClientSession, gateway: Serving, body: bytes, path: str = "V4/Result") -> Any:
    """Deliver a callback, and answer what the gateway says."""
    url = f"http://{gateway.said['callbacks']}/callbacks/lucky/{callback_key('lucky')}/{path}"
    async with http.post(url, data=body) as response:
        assert response.status == 200
        return json.loads(await response.read())


async def open_account(gateway: Serving, user_id: str = "421") -> None:
    """An account with one dollar."""
    async with grpc.aio.insecure_channel(gateway.said["grpc"]) as channel:
        request = wallet.OpenAccountRequest(user_id=user_id, currency="USD", opening_balance="1")
        await WalletServiceStub(channel).OpenAccount(request)


async def cash(gateway: Serving, user_id: str = "421") -> Decimal:
    """What an account holds."""
    async with grpc.aio.insecure_channel(gateway.said["grpc"]) as channel:
        request = wallet.GetBalanceRequest(user_id=user_id, currency="USD")
        return Decimal((await WalletServiceStub(channel).GetBalance(request)).cash)


async def close_session(gateway: Serving, request_id: str) -> sessions.CloseSessionResponse:
    """End a player's sessions."""
    async with grpc.aio.insecure_channel(gateway.said["grpc"]) as channel:
        request = sessions.CloseSessionRequest(request_id=request_id, provider="lucky", user_id="421")
        return await SessionServiceStub(channel).CloseSession(request, timeout=8)


async def events(gateway: Serving, count: int) -> list[tuple[str, str]]:
    """So many events from the oldest kept, as (type, reference or request_id)."""
    async with grpc.aio.insecure_channel(gateway.said["grpc"]) as channel, asyncio.timeout(10):
        stream = SessionServiceStub(channel).WatchEvents(sessions.WatchEventsRequest())
        seen = []
        async for answer in stream:
            event = answer.event
            name = sessions.EventType.Name(event.type).removeprefix("EVENT_TYPE_")
            seen.append((name, event.reference or event.request_id))
            if len(seen) == count:
                break
        stream.cancel()
        return seen
