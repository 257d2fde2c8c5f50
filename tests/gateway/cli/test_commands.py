"""The commands, as processes: what they print, how they end, and what survives their end."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from gateway.v1 import session_service_pb2 as sessions
from gateway.v1 import wallet_service_pb2 as wallet
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import callback_key, configuration, family_table, provider_table, running_gateway
from tests.support.process import Serving, run, run_here, serving
from tests.support.provider import ScriptedProvider, answering_after, scripted_provider
from tests.support.results import result_body

RESULT = result_body()


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


async def deliver(gateway: Serving) -> Any:
    """Deliver the Result once, over a connection of its own, and answer what the gateway says."""
    async with aiohttp.ClientSession() as http:
        return await gateway.deliver(http, RESULT)


async def test_killed_between_two_deliveries_it_pays_once(tmp_path: Path, provider: ScriptedProvider) -> None:
    """Killed with SIGKILL after acknowledging a Result, and started again, the gateway answers it and pays nothing."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
    async with serving(config) as gateway:
        await gateway.open_account()
        first = await deliver(gateway)
        gateway.process.kill()
        assert await gateway.process.wait() == -signal.SIGKILL
    async with serving(config) as gateway:
        assert await gateway.cash() == 11
        assert await deliver(gateway) == first
        assert await gateway.cash() == 11


async def test_killed_before_it_answers_it_pays_once(tmp_path: Path, provider: ScriptedProvider) -> None:
    """Killed at any moment of a burst of deliveries, the gateway has paid what it acknowledged, and never twice."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
    async with serving(config) as gateway:
        await gateway.open_account()
        deliveries = [asyncio.ensure_future(deliver(gateway)) for _ in range(20)]
        await asyncio.wait(deliveries, return_when=asyncio.FIRST_COMPLETED)
        gateway.process.kill()
        await asyncio.wait(deliveries)
        answered = [done.result() for done in deliveries if not done.exception()]
    async with serving(config) as gateway:
        last = await deliver(gateway)
        assert await gateway.cash() == 11
        assert answered
        assert {answer["transactionId"] for answer in answered} == {last["transactionId"]}


async def test_sigterm_finishes_what_is_in_flight_and_exits_0(tmp_path: Path, provider: ScriptedProvider) -> None:
    """Told to stop, the gateway answers the calls that it has taken, ends its streams, and exits 0."""
    release = asyncio.Event()
    provider.behaviour = answering_after(release)
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
    async with serving(config) as gateway, grpc.aio.insecure_channel(gateway.said["grpc"]) as channel:
        stub = SessionServiceStub(channel)
        watch = stub.WatchEvents(sessions.WatchEventsRequest())
        await watch.initial_metadata()
        closing = asyncio.ensure_future(
            stub.CloseSession(sessions.CloseSessionRequest(provider="lucky", user_id="u"), timeout=8)
        )
        await provider.arrived.wait()
        gateway.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await watch.read()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        async with aiohttp.ClientSession() as http, http.get(f"http://{gateway.said['admin']}/readyz") as response:
            assert response.status == 503
            assert "stopping" in await response.text()
        release.set()
        assert (await closing).outcome == sessions.OUTCOME_CLOSED
        assert await asyncio.wait_for(gateway.process.wait(), 10) == 0


async def test_no_secret_reaches_the_log(tmp_path: Path, provider: ScriptedProvider) -> None:
    """Neither a token nor a callback key is in what the gateway writes, whatever it is asked."""
    table = family_table("lucky", "luckymonaco", provider.base_url)
    config = configuration(tmp_path, table)
    config.write_text(config.read_text() + '[log]\nlevel = "debug"\n')
    async with serving(config) as gateway, grpc.aio.insecure_channel(gateway.said["grpc"]) as channel:
        stub = SessionServiceStub(channel)
        await stub.CloseSession(
            sessions.CloseSessionRequest(provider="lucky", user_id="u", token="callers-token"), timeout=5
        )
        await deliver(gateway)
        gateway.process.terminate()
        assert await gateway.process.wait() == 0
    written = config.with_suffix(".log").read_text()
    assert "CloseSession" in written
    for secret in ("callers-token", "configured-token", callback_key("lucky")):
        assert secret not in written


async def test_check_accepts_a_good_file(tmp_path: Path, provider: ScriptedProvider) -> None:
    """`check` exits 0 for a configuration that can be served, and makes no database."""
    config = configuration(
        tmp_path,
        family_table("lucky", "luckymonaco", provider.base_url),
        provider_table("eliab", "eliab", provider.base_url, callback_keys='["a-key-that-opens-nothing"]'),
    )
    ended = await run_here("check", "--config", str(config))
    assert ended.code == 0, ended.err
    assert not (tmp_path / "gateway.db").exists()


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('adapter = "luckymonaco"', 'adapter = "luckymonako"', "providers.lucky.adapter"),
        ('secure_login = "partner-1"', "", "providers.lucky.secure_login"),
        ('secure_login = "partner-1"', "secure_login = 5", "providers.lucky.secure_login"),
        ('secure_login = "partner-1"', 'secure_login = "p"\nfancy = 1', "providers.lucky.fancy"),
        ('secure_login = "partner-1"', 'secure_login = ""', "providers.lucky.secure_login"),
        ('token = "configured-token"', 'token = { env = "NO_SUCH_VARIABLE" }', "providers.lucky.token"),
        ("allow_plain_http = true", "", "providers.lucky.base_url"),
        ("[callbacks]", "[callback]", "callback"),
    ],
)
async def test_check_names_the_key_that_is_wrong(
    tmp_path: Path, provider: ScriptedProvider, old: str, new: str, path: str
) -> None:
    """`check` refuses a configuration that cannot be served, and prints the path of the key."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    ended = await run_here("check", "--config", str(config))
    assert ended.code != 0
    assert f"{path}:" in ended.err
    assert "Traceback" not in ended.err


async def test_serve_refuses_what_check_refuses(tmp_path: Path) -> None:
    """`serve` does not start with a configuration that `check` would refuse, and says the same."""
    config = configuration(tmp_path, family_table("lucky", "luckymonako", "http://127.0.0.1:1"))
    ended = await run("serve", "--config", str(config))
    assert ended.code != 0
    assert "providers.lucky.adapter:" in ended.err
    assert "Traceback" not in ended.err


async def test_a_name_whose_references_are_known_is_not_forgotten(tmp_path: Path, provider: ScriptedProvider) -> None:
    """A provider that the store holds references of cannot vanish from the configuration, unless marked retired."""
    lucky, kyren = (family_table(name, name, provider.base_url) for name in ("luckymonaco", "kyren"))
    async with running_gateway(tmp_path, lucky, kyren) as gateway:
        await gateway.wallet.OpenAccount(wallet.OpenAccountRequest(user_id="421", currency="USD"))
        _, body = await gateway.callback("luckymonaco", "V4/Result", RESULT)
        assert json.loads(body)["error"] == 0
    for sections, code in (((lucky, kyren), 0), ((kyren,), 2), ((kyren, "[providers.luckymonaco]\nretired = true"), 0)):
        config = configuration(tmp_path, *sections)
        ended = await run_here("check", "--config", str(config))
        assert ended.code == code, ended.err
        assert ("providers.luckymonaco:" in ended.err) is (code != 0)
    ended = await run("serve", "--config", str(configuration(tmp_path, kyren)))
    assert ended.code != 0
    assert "providers.luckymonaco:" in ended.err


async def test_the_demo_shows_the_main_job(tmp_path: Path) -> None:
    """The demo exits 0 when it has observed every step, and a close through each provider is among them."""
    ended = await run("demo", environ={**os.environ, "COLUMNS": "200"})
    assert ended.code == 0, ended.out + ended.err
    for shown in ("LuckyMonaco", "Kyren", "Eliab", "OUTCOME_CLOSED", "paid once", "SESSION_EXPIRED"):
        assert shown in ended.out


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        ("eliab:status:503", "a close through Eliab"),
        ("luckymonaco:code:17", "a close through LuckyMonaco"),  # the call succeeds, and has closed nothing
    ],
)
async def test_the_demo_fails_where_a_provider_does(fault: str, step: str) -> None:
    """With a fault in one simulator the demo exits 1 and names the step."""
    ended = await run("demo", environ={**os.environ, "DEMO_FAULT": fault})
    assert ended.code == 1
    assert "FAILED" in ended.out
    assert step in ended.out.replace("\n", " ")


@pytest.mark.parametrize("command", ["check", "serve", "wallet"])
@pytest.mark.parametrize("url", ["postgresql://u:5/hidden@h/db", "postgresql://u:a hidden@h/db", "postgresql://h/db?x"])
async def test_a_url_that_cannot_be_read_is_told_by_its_key(tmp_path: Path, command: str, url: str) -> None:
    """No traceback, and no part of the url: what to write instead."""
    ended = await run(command, "--config", str(configuration(tmp_path, store=url)))
    assert (ended.code, ended.out) == (2, "")
    assert "store.url: the postgresql url" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert "hidden" not in ended.err
