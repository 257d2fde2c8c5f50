"""SIGHUP: a valid configuration is applied in one step, and calls in flight finish as they began."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1.session_service_pb2 import OUTCOME_CLOSED, ListProvidersRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import callback_key, family_table
from tests.support.process import connections_to
from tests.support.provider import ScriptedProvider, answering, answering_after, hanging, scripted_provider
from tests.support.reloadable import Reloadable, reloadable
from tests.support.results import result_body

LOG = "[log]\nlevel = {}\n"


@pytest.fixture
async def first() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture
async def second() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


def table(provider: ScriptedProvider, name: str = "lucky", **more: str) -> str:
    return family_table(name, "luckymonaco", provider.base_url, **more)


async def serving_status(gateway: Reloadable, provider: str) -> int:
    """The status of a provider in the gRPC health service."""
    stub = health_pb2_grpc.HealthStub(gateway.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=provider), timeout=30)
    return int(answer.status)


async def listed(gateway: Reloadable) -> list[str]:
    answer = await SessionServiceStub(gateway.channel).ListProviders(ListProvidersRequest(), timeout=30)
    return [provider.name for provider in answer.providers]


async def until_no_connections_to(provider: ScriptedProvider) -> None:
    """Wait until no socket of the gateway is connected to a provider."""
    async with asyncio.timeout(60):
        while connections_to(provider.base_url):  # noqa: ASYNC110 - sockets of another process
            await asyncio.sleep(0.01)


async def test_a_base_url_changes_during_a_call(
    tmp_path: Path, first: ScriptedProvider, second: ScriptedProvider
) -> None:
    """A call in flight finishes at the old address, the next goes to the new one, and no old connection is left."""
    release = asyncio.Event()
    async with reloadable(tmp_path, table(first)) as gateway:
        await gateway.close()
        first.behaviour = answering_after(release)
        first.arrived.clear()
        in_flight = asyncio.create_task(gateway.close())
        await first.arrived.wait()
        line = await gateway.reload(table(second))
        assert (line["added"], line["removed"], line["changed"]) == ([], [], ["providers.lucky.base_url"])
        assert (await gateway.close()).outcome == OUTCOME_CLOSED
        assert (len(first.received), len(second.received)) == (2, 1)
        release.set()
        assert (await in_flight).outcome == OUTCOME_CLOSED
        await until_no_connections_to(first)
        assert (await gateway.close()).outcome == OUTCOME_CLOSED
        assert (len(first.received), len(second.received)) == (2, 2)
        await gateway.serving.stop()


async def test_providers_are_added_and_removed(
    tmp_path: Path, first: ScriptedProvider, second: ScriptedProvider
) -> None:
    """An added provider is called and sends callbacks; of a removed one only the call in flight finishes. ListProviders
    and the health service show the change.
    """
    release = asyncio.Event()
    async with reloadable(tmp_path, table(first)) as gateway, aiohttp.ClientSession() as http:
        first.behaviour = answering_after(release)
        in_flight = asyncio.create_task(gateway.close())
        await first.arrived.wait()
        line = await gateway.reload(table(second, "other"))
        assert (line["added"], line["removed"], line["changed"]) == (["other"], ["lucky"], [])
        assert (await gateway.close_failure()).reason == "PROVIDER_UNKNOWN"
        assert (await gateway.close("other")).outcome == OUTCOME_CLOSED
        assert await listed(gateway) == ["other"]
        assert await serving_status(gateway, "lucky") == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        assert await serving_status(gateway, "other") == health_pb2.HealthCheckResponse.SERVING
        assert [await callback_status(gateway, http, name) for name in ("lucky", "other")] == [404, 200]
        release.set()
        assert (await in_flight).outcome == OUTCOME_CLOSED
        await until_no_connections_to(first)
        line = await gateway.reload(table(second, "other"), table(first))
        assert (line["added"], line["removed"]) == (["lucky"], [])
        assert (await gateway.close()).outcome == OUTCOME_CLOSED
        assert await serving_status(gateway, "lucky") == health_pb2.HealthCheckResponse.SERVING


async def callback_status(gateway: Reloadable, http: aiohttp.ClientSession, name: str) -> int:
    """The status of a callback with a provider's key."""
    url = f"http://{gateway.serving.ready_message['callbacks']}/callbacks/{name}/{callback_key(name)}/V4/Result"
    async with http.post(url, data=result_body()) as response:
        return response.status


async def test_a_provider_added_by_a_reload_can_only_be_retired(tmp_path: Path, first: ScriptedProvider) -> None:
    """A provider that was added by a reload and has credited can be retired, but not removed."""
    async with reloadable(tmp_path, table(first)) as gateway, aiohttp.ClientSession() as http:
        await gateway.serving.open_account()
        await gateway.reload(table(first), table(first, "later"))
        assert await callback_status(gateway, http, "later") == 200
        line = await gateway.reload(table(first))
        assert [problem["path"] for problem in line["problems"]] == ["providers.later"]
        line = await gateway.reload(table(first), "[providers.later]\nretired = true\n")
        assert (line["event"], line["removed"]) == ("configuration reloaded", ["later"])


async def test_a_retired_provider_is_not_served(tmp_path: Path, first: ScriptedProvider) -> None:
    """A retired provider is removed, and its other keys may be invalid."""
    async with reloadable(tmp_path, table(first)) as gateway:
        line = await gateway.reload(table(first, retired="true", token="{ env = 'GONE' }"))
        assert (line["removed"], line["changed"]) == (["lucky"], [])
        assert (await gateway.close_failure()).reason == "PROVIDER_UNKNOWN"


async def test_limits_change_during_calls(tmp_path: Path, first: ScriptedProvider) -> None:
    """A raised limit lets a second call through while the first hangs; a lowered one rejects the next."""

    def limited(calls: int) -> str:
        return table(first) + f"[providers.lucky.limits]\nmax_concurrent_calls = {calls}\nmax_queued_calls = 0\n"

    first.behaviour = hanging
    async with reloadable(tmp_path, limited(1)) as gateway:
        hanging_call = asyncio.create_task(gateway.close_failure(within=2))
        await first.arrived.wait()
        assert (await gateway.close_failure()).reason == "PROVIDER_BUSY"
        line = await gateway.reload(limited(2))
        assert line["changed"] == ["providers.lucky.limits.max_concurrent_calls"]
        first.behaviour = answering()
        assert (await gateway.close()).outcome == OUTCOME_CLOSED
        await gateway.reload(limited(1))
        assert (await gateway.close_failure()).reason == "PROVIDER_BUSY"
        assert (await hanging_call).reason == "PROVIDER_TIMEOUT"
        assert (await gateway.close()).outcome == OUTCOME_CLOSED


async def test_a_token_is_used_from_the_next_call_on(tmp_path: Path, first: ScriptedProvider) -> None:
    """A token is read again from its file. Neither the old one nor the new one is in the log or in an answer."""
    old, new = "the-previous-token", "the-present-token"
    (tmp_path / "token").write_text(old)
    async with reloadable(tmp_path, table(first, token='{ file = "token" }')) as gateway:
        await gateway.close()
        (tmp_path / "token").write_text(new)
        (line,) = await gateway.send_sighup()
        assert line["changed"] == ["providers.lucky.token"]
        first.behaviour = answering(body=f'{{"error":1,"description":"was {old}, is {new}"}}'.encode())
        refusal = await gateway.close_failure()
        assert "was ***, is ***" in refusal.message
        await gateway.serving.stop()
    assert [sorted({old, new} & {*words(each.body)}) for each in first.received] == [[old], [new]]
    log = (tmp_path / "gateway.log").read_text()
    assert "PROVIDER_REFUSED" in log
    assert old not in log
    assert new not in log


def words(body: bytes) -> list[str]:
    """The values of a request's body."""
    return body.decode().replace("=", '"').replace("&", '"').split('"')


async def test_a_secret_moves_from_a_variable_to_a_file(tmp_path: Path, first: ScriptedProvider) -> None:
    """A secret with the same value in another place is no change."""
    environ = {**os.environ, "LUCKY": "a-token"}
    async with reloadable(tmp_path, table(first, token='{ env = "LUCKY" }'), environ=environ) as gateway:
        (tmp_path / "token").write_text("a-token")
        line = await gateway.reload(table(first, token='{ file = "token" }'))
        assert (line["event"], line["changed"]) == ("configuration reloaded", [])
        assert (await gateway.close()).outcome == OUTCOME_CLOSED


async def test_the_default_deadline_is_reloaded(tmp_path: Path, first: ScriptedProvider) -> None:
    """A call without a deadline gets the new default."""
    first.behaviour = hanging
    async with reloadable(tmp_path, table(first), grpc="default_deadline_s = 3600") as gateway:
        line = await gateway.reload(table(first), grpc="default_deadline_s = 1.0")
        assert line["changed"] == ["grpc.default_deadline_s"]
        async with asyncio.timeout(60):
            assert (await gateway.close_failure(within=None)).code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_log_level_is_reloaded(tmp_path: Path, first: ScriptedProvider) -> None:
    """The new level applies to every logger; the line about the reload is logged at any level."""
    async with reloadable(tmp_path, table(first)) as gateway:
        await gateway.close()
        await gateway.logged("rpc")
        assert (await gateway.reload(table(first), LOG.format('"error"')))["changed"] == ["log.level"]
        await gateway.close()
        assert (await gateway.reload(table(first), LOG.format('"info"')))["changed"] == ["log.level"]
        await gateway.close()
        await gateway.logged("rpc", 2)
        events = [line["event"] for line in gateway.lines()]
        assert events == ["started", "rpc", "configuration reloaded", "configuration reloaded", "rpc"]


async def test_an_unchanged_file_changes_nothing(tmp_path: Path, first: ScriptedProvider) -> None:
    """The log says that nothing changed, and the connection to the provider stays."""
    async with reloadable(tmp_path, table(first)) as gateway:
        await gateway.close()
        before = connections_to(first.base_url)
        assert len(before) == 1
        (line,) = await gateway.send_sighup()
        assert (line["added"], line["removed"], line["changed"]) == ([], [], [])
        await gateway.close()
        assert connections_to(first.base_url) == before
