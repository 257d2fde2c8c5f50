"""The five documents, end to end: their examples as the goldens hold them, through the real servers on both sides."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters import eliab, golden, kyren, luckymonaco
from adapters.contract import Account, Adapter, Secret
from adapters.eliab.simulator import SIMULATOR as ELIAB
from adapters.golden import CallbackGolden, CallGolden
from adapters.kyren.simulator import SIMULATOR as KYREN
from adapters.luckymonaco.simulator import SIMULATOR as LUCKYMONACO
from adapters.simulation import PlayerSession, Simulator
from gateway.simulation import SimulatorHost
from gateway.v1 import session_service_pb2 as pb
from gateway.v1 import wallet_service_pb2 as wallet
from tests.support.gateway import Running, callback_key, provider_table, running_gateway

ADAPTERS: dict[str, Adapter[Any]] = {"luckymonaco": luckymonaco.ADAPTER, "kyren": kyren.ADAPTER, "eliab": eliab.ADAPTER}
SIMULATORS: dict[str, Simulator[Any]] = {"luckymonaco": LUCKYMONACO, "kyren": KYREN, "eliab": ELIAB}
UUID = re.compile(rb"[0-9a-f]{32}")
SECURE_LOGIN = {"secure_login": '"<partnerId>"'}


def the_golden(adapter: str, file: str) -> golden.Golden:
    return golden.parse(file, golden.files_of(f"adapters.{adapter}")[file], ADAPTERS[adapter])


@asynccontextmanager
async def simulated(adapter: str, example: CallGolden) -> AsyncIterator[SimulatorHost[Any]]:
    """The provider's side, on a real socket, with the example's session open."""
    call, token = example.call, example.account.token
    account = Account(adapter, example.account.settings, token and Secret(token.reveal()))
    session = PlayerSession(call.session_id or "any", call.user_id, call.game_id or "any")
    host = SimulatorHost(SIMULATORS[adapter], account, [session])
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


@pytest.mark.parametrize(
    ("adapter", "file"),
    [("luckymonaco", "close-one-game.toml"), ("kyren", "close-one-game.toml"), ("eliab", "close-session.toml")],
)
async def test_a_documents_close_is_what_the_simulator_receives(tmp_path: Path, adapter: str, file: str) -> None:
    """The simulated provider receives the document's request, and its answer is the document's; the caller has it."""
    example = the_golden(adapter, file)
    assert isinstance(example, CallGolden)
    assert example.account.token is not None
    settings = {"token": json.dumps(example.account.token.reveal()), **({} if adapter == "eliab" else SECURE_LOGIN)}
    async with simulated(adapter, example) as host:
        table = provider_table(adapter, adapter, host.base_url, **settings)
        async with running_gateway(tmp_path, table) as gateway:
            answer = await gateway.sessions.CloseSession(
                pb.CloseSessionRequest(
                    provider=adapter,
                    user_id=example.call.user_id,
                    session_id=example.call.session_id,
                    game_id=example.call.game_id,
                    device=pb.Device(os=example.call.device.os, app_version=example.call.device.app_version),
                )
            )
    (exchange,) = host.received
    assert (exchange.request.method, exchange.request.path) == (example.request.method, example.request.path)
    assert UUID.sub(b"<uuid>", exchange.request.body) == example.request.body
    assert example.printed is not None
    assert json.loads(example.printed) == json.loads(example.request.body)
    received = dict(exchange.request.headers)
    for name, value in example.request.headers:
        assert received[name] == value
    assert set(received) - {name for name, _ in example.request.headers} == {
        "Host",
        "Accept-Encoding",
        *(["Content-Length"] if example.request.body else []),
    }
    assert exchange.reply is not None
    assert exchange.reply.body.split() == example.reply.body.split()
    assert answer.outcome == pb.OUTCOME_CLOSED
    assert answer.provider_answer.description


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    keys = {"callback_keys": f'["{callback_key("luckymonaco")}"]', **SECURE_LOGIN, "token": '"<token>"'}
    table = provider_table("luckymonaco", "luckymonaco", "http://127.0.0.1:1", **keys)
    async with running_gateway(tmp_path, table) as gateway:
        yield gateway


async def deliver(gateway: Running, example: CallbackGolden) -> tuple[int, str, bytes]:
    """Send a golden's request as it stands."""
    url = f"http://{gateway.listening.callbacks}/callbacks/luckymonaco/{callback_key('luckymonaco')}"
    request = example.request
    async with (
        aiohttp.ClientSession() as http,
        http.request(request.method, url + request.path, headers=request.headers, data=request.body) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.read()


@pytest.mark.parametrize("file", ["session-expired-as-printed.toml", "session-expired.toml"])
async def test_the_documents_session_expired_is_answered(gateway: Running, file: str) -> None:
    """As printed the example is not JSON, and is answered as malformed; with its commas it is accepted."""
    example = the_golden("luckymonaco", file)
    assert isinstance(example, CallbackGolden)
    status, content_type, body = await deliver(gateway, example)
    assert (status, content_type) == (200, "application/json")
    assert body == example.reply.body


async def test_the_documents_auto_closing_is_credited(gateway: Running) -> None:
    """The Auto Closing example is credited, and answered in the document's words to the last digit."""
    example = the_golden("luckymonaco", "result-auto-closing.toml")
    assert isinstance(example, CallbackGolden)
    await gateway.wallet.OpenAccount(
        wallet.OpenAccountRequest(user_id="421", currency="USD", opening_balance="99889.99")
    )
    status, content_type, body = await deliver(gateway, example)
    assert (status, content_type) == (200, "application/json")
    assert UUID.sub(b"<transactionId>", body) == example.reply.body
    assert example.printed is not None
    assert json.loads(example.printed) == json.loads(example.reply.body)
