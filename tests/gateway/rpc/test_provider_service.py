"""ProviderService: providers are disabled and enabled, and callers, health and history show it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.sessions.provider_switch import POLL_INTERVAL_S
from gateway.v1 import provider_service_pb2 as pb
from gateway.v1 import session_service_pb2 as sessions
from gateway.v1 import wallet_service_pb2 as wallet
from tests.gateway.rpc.harness import RpcHarness
from tests.gateway.rpc.switching import (
    NOT_SERVING,
    SERVING,
    health_of,
    history,
    is_serving,
    switch_off,
    switch_on,
)
from tests.support.gateway import RpcFailure, Running, failure_of, family_table, locked, running_gateway
from tests.support.results import result_body

NOBODY = "http://127.0.0.1:1"
LUCKY = family_table("lucky", "luckymonaco", NOBODY)
KYREN = family_table("kyren", "kyren", NOBODY)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path, LUCKY, KYREN) as gateway:
        yield gateway


async def refused(call: Awaitable[object]) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return failure_of(raised.value)


async def test_a_change_is_shown_everywhere(harness: RpcHarness) -> None:
    """The response, the list of providers and the history have the actor, the reason and the time of a change."""
    gateway = harness.gateway
    before = datetime.now(UTC)
    answer = await switch_off(gateway)
    off = answer.state_change
    assert answer.changed
    assert (off.provider, off.state, off.reason) == ("lucky", pb.PROVIDER_STATE_DISABLED, "repairs")
    assert (off.actor, off.on_behalf_of) == ("anonymous", "ada")
    assert before <= off.time.ToDatetime(UTC) <= datetime.now(UTC)
    shown = (await health_of(gateway)).disabled
    assert (shown.actor, shown.on_behalf_of) == ("anonymous", "ada")
    assert (shown.reason, shown.time) == ("repairs", off.time)
    assert not await is_serving(gateway)
    assert not (await health_of(gateway, "kyren")).HasField("disabled")
    assert await is_serving(gateway, "kyren")
    answer_on = await switch_on(gateway)
    on = answer_on.state_change
    assert answer_on.changed
    assert (on.state, on.actor, on.on_behalf_of) == (pb.PROVIDER_STATE_ENABLED, "anonymous", "bob")
    assert on.reason == "repaired"
    assert not (await health_of(gateway)).HasField("disabled")
    assert await is_serving(gateway)
    assert await history(gateway) == [on, off]


async def test_a_repeated_change_changes_nothing(harness: RpcHarness) -> None:
    """A change to the present state returns the change in force; a provider that was never changed has none."""
    never = await switch_on(harness.gateway)
    assert (never.HasField("state_change"), never.changed) == (False, False)
    first = await switch_off(harness.gateway)
    again = await switch_off(harness.gateway, by="eve", why="me too")
    assert (again.state_change, again.changed) == (first.state_change, False)
    assert await history(harness.gateway) == [first.state_change]


async def test_health_watchers_receive_a_change(harness: RpcHarness) -> None:
    """A watcher of a provider's health receives its changes, and no others."""
    health = health_pb2_grpc.HealthStub(harness.gateway.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="lucky"))
    async with asyncio.timeout(60):
        assert (await watch.read()).status == SERVING
        await switch_off(harness.gateway)
        assert (await watch.read()).status == NOT_SERVING
        await switch_on(harness.gateway)
        assert (await watch.read()).status == SERVING
        whole = await health.Check(health_pb2.HealthCheckRequest(service=""))
        async with harness.gateway.http.get(f"http://{harness.gateway.listening.admin}/readyz") as ready:
            assert (whole.status, ready.status) == (SERVING, 200)
    watch.cancel()


async def test_callbacks_of_a_disabled_provider_are_accepted(gateway: Running) -> None:
    """A Result of a disabled provider is credited."""
    await gateway.wallet.OpenAccount(wallet.OpenAccountRequest(user_id="421", currency="USD", opening_balance="1"))
    await switch_off(gateway)
    status, body = await gateway.callback("lucky", "V4/Result", result_body("r1"))
    assert (status, b'"error":0' in body) == (200, True)
    balance = await gateway.wallet.GetBalance(wallet.GetBalanceRequest(user_id="421", currency="USD"))
    assert balance.cash == "11"


@pytest.mark.parametrize("method", ["DisableProvider", "EnableProvider"])
@pytest.mark.parametrize(
    ("fields", "reason", "at_fault"),
    [
        ({"provider": ""}, "FIELD_INVALID", ("provider",)),
        ({"actor": " "}, "FIELD_INVALID", ("actor",)),
        ({"actor": ""}, "FIELD_INVALID", ("on_behalf_of",)),
        ({"on_behalf_of": "a" * 256}, "FIELD_INVALID", ("on_behalf_of",)),
        ({"on_behalf_of": "a\x1bb"}, "FIELD_INVALID", ("on_behalf_of",)),
        ({"actor": "a" * 256}, "FIELD_INVALID", ("actor",)),
        ({"reason": ""}, "FIELD_INVALID", ("reason",)),
        ({"reason": "a" * 1001, "actor": "a\x1bb"}, "FIELD_INVALID", ("actor", "reason")),
        ({"provider": "nobody"}, "PROVIDER_UNKNOWN", ()),
    ],
)
async def test_an_invalid_change_is_refused(
    harness: RpcHarness, method: str, fields: dict[str, str], reason: str, at_fault: tuple[str, ...]
) -> None:
    """A change without an actor, a reason or a configured provider is refused, and nothing is stored."""
    request = {"provider": "lucky", "actor": "ada", "reason": "repairs", **fields}
    call: Any = getattr(harness.gateway.providers, method)
    failed = await refused(call(getattr(pb, f"{method}Request")(**request)))
    assert (failed.reason, failed.fields, failed.certainty) == (reason, at_fault, "NOT_SENT")
    assert await history(harness.gateway) == []
    assert not (await health_of(harness.gateway)).HasField("disabled")


async def test_pages_of_changes_are_the_whole_list(gateway: Running) -> None:
    """Pages hold each change once, newest first; a page token is valid for its list and its provider only."""
    for _ in range(3):
        for provider in ("lucky", "kyren"):
            await switch_off(gateway, provider)
            await switch_on(gateway, provider)
    whole = await history(gateway)
    assert len(whole) == 12
    assert await history(gateway, "kyren") == [each for each in whole if each.provider == "kyren"]
    joined: list[pb.ProviderStateChange] = []
    token = ""
    while True:
        request = pb.ListProviderStateChangesRequest(page_size=5, page_token=token)
        page = await gateway.providers.ListProviderStateChanges(request)
        assert len(page.state_changes) <= 5
        joined += page.state_changes
        if not page.next_page_token:
            break
        token = page.next_page_token
    assert joined == whole
    other = pb.ListProviderStateChangesRequest(provider="lucky", page_token=token)
    failed = await refused(gateway.providers.ListProviderStateChanges(other))
    assert (failed.reason, failed.fields) == ("FIELD_INVALID", ("page_token",))


async def test_a_change_that_cannot_be_stored_is_not_made(gateway: Running) -> None:
    """While the store is down a change fails with STORE_UNAVAILABLE, and the provider keeps its state."""
    with locked(gateway.database):
        failed = await refused(switch_off(gateway))
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert await is_serving(gateway)
    assert await history(gateway) == []
    assert not (await health_of(gateway)).HasField("disabled")


async def test_a_change_survives_a_restart(tmp_path: Path, store_url: str) -> None:
    """A restarted gateway does not call a disabled provider."""
    async with running_gateway(tmp_path, LUCKY, KYREN, store=store_url) as gateway:
        off = (await switch_off(gateway)).state_change
    async with running_gateway(tmp_path, LUCKY, KYREN, store=store_url) as gateway:
        assert not await is_serving(gateway)
        shown = (await health_of(gateway)).disabled
        assert (shown.actor, shown.on_behalf_of) == ("anonymous", "ada")
        assert (shown.reason, shown.time) == (off.reason, off.time)
        assert (await switch_on(gateway)).changed
    async with running_gateway(tmp_path, LUCKY, KYREN, store=store_url) as gateway:
        assert await is_serving(gateway)
        assert not (await health_of(gateway)).HasField("disabled")


async def test_a_change_applies_to_every_gateway_on_the_database(tmp_path: Path, postgres_url: str) -> None:
    """A change at one gateway applies to another at its next poll, within a second, in both directions."""
    assert POLL_INTERVAL_S <= 0.5
    async with AsyncExitStack() as stack:
        gateways = []
        for name in ("one", "two"):
            (folder := tmp_path / name).mkdir()
            started = running_gateway(folder, LUCKY, KYREN, store=postgres_url)
            gateways.append(await stack.enter_async_context(started))
        here, there = gateways
        watch = health_pb2_grpc.HealthStub(there.channel).Watch(health_pb2.HealthCheckRequest(service="lucky"))
        assert (await watch.read()).status == SERVING
        off = (await switch_off(here)).state_change
        async with asyncio.timeout(60):
            assert (await watch.read()).status == NOT_SERVING
        assert (await health_of(there)).disabled.on_behalf_of == "ada"
        assert (await switch_off(there, by="eve")).state_change == off
        await switch_on(there, by="eve")
        assert await is_serving(there)
        async with asyncio.timeout(60):
            while not await is_serving(here):  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.02)
        assert not (await health_of(here)).HasField("disabled")
        assert await is_serving(here, "kyren")
        watch.cancel()


async def test_a_metric_shows_disabled_providers(gateway: Running) -> None:
    """The metric lets alerts ignore providers that an operator disabled."""
    await switch_off(gateway)
    async with gateway.http.get(f"http://{gateway.listening.admin}/metrics") as response:
        lines = (await response.text()).splitlines()
    assert 'session_gateway_provider_disabled{provider="lucky"} 1.0' in lines
    assert 'session_gateway_provider_disabled{provider="kyren"} 0.0' in lines


async def test_a_change_keeps_the_health_state(harness: RpcHarness) -> None:
    """The health state comes from calls: disabling and enabling does not change it."""
    await harness.gateway.sessions.CloseSession(sessions.CloseSessionRequest(provider="lucky", user_id="u"))
    await switch_off(harness.gateway)
    assert (await health_of(harness.gateway)).state == sessions.HEALTH_STATE_ANSWERING
