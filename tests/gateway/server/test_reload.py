"""SIGHUP: a good configuration is taken on in one step, and what is under way goes on as it began."""

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
async def here() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture
async def there() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


def table(provider: ScriptedProvider, name: str = "lucky", **more: str) -> str:
    return family_table(name, "luckymonaco", provider.base_url, **more)


async def serving_status(gateway: Reloadable, provider: str) -> int:
    """What gRPC's health service says of a provider."""
    stub = health_pb2_grpc.HealthStub(gateway.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=provider), timeout=5)
    return int(answer.status)


async def listed(gateway: Reloadable) -> list[str]:
    answer = await SessionServiceStub(gateway.channel).ListProviders(ListProvidersRequest(), timeout=5)
    return [provider.name for provider in answer.providers]


async def until_no_connections_to(provider: ScriptedProvider) -> None:
    """Wait until nobody is connected to a provider: a socket of another process wakes nobody here."""
    async with asyncio.timeout(10):
        while connections_to(provider.base_url):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_provider_moves_while_it_is_asked(
    tmp_path: Path, here: ScriptedProvider, there: ScriptedProvider
) -> None:
    """The call under way is answered by whom it was sent to, the next one goes to the other; then no socket is left."""
    release = asyncio.Event()
    async with reloadable(tmp_path, table(here)) as gateway:
        await gateway.close()
        here.behaviour = answering_after(release)
        here.arrived.clear()
        under_way = asyncio.create_task(gateway.close())
        await here.arrived.wait()
        line = await gateway.reload(table(there))
        assert (line["added"], line["removed"], line["changed"]) == ([], [], ["providers.lucky.base_url"])
        assert (await gateway.close()).outcome == OUTCOME_CLOSED
        assert (len(here.received), len(there.received)) == (2, 1)
        release.set()
        assert (await under_way).outcome == OUTCOME_CLOSED
        await until_no_connections_to(here)
        assert (await gateway.close()).outcome == OUTCOME_CLOSED
        assert (len(here.received), len(there.received)) == (2, 2)
        await gateway.serving.stop()


async def test_providers_come_and_go(tmp_path: Path, here: ScriptedProvider, there: ScriptedProvider) -> None:
    """Who is added can be asked, and may call; of who is removed only the call under way is finished. Everything that
    tells of providers tells of those.
    """
    release = asyncio.Event()
    async with reloadable(tmp_path, table(here)) as gateway, aiohttp.ClientSession() as http:
        here.behaviour = answering_after(release)
        under_way = asyncio.create_task(gateway.close())
        await here.arrived.wait()
        line = await gateway.reload(table(there, "other"))
        assert (line["added"], line["removed"], line["changed"]) == (["other"], ["lucky"], [])
        assert (await gateway.refused()).reason == "PROVIDER_UNKNOWN"
        assert (await gateway.close("other")).outcome == OUTCOME_CLOSED
        assert await listed(gateway) == ["other"]
        assert await serving_status(gateway, "lucky") == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        assert await serving_status(gateway, "other") == health_pb2.HealthCheckResponse.SERVING
        assert [await door(gateway, http, name) for name in ("lucky", "other")] == [404, 200]
        release.set()
        assert (await under_way).outcome == OUTCOME_CLOSED
        await until_no_connections_to(here)
        line = await gateway.reload(table(there, "other"), table(here))
        assert (line["added"], line["removed"]) == (["lucky"], [])
        assert (await gateway.close()).outcome == OUTCOME_CLOSED
        assert await serving_status(gateway, "lucky") == health_pb2.HealthCheckResponse.SERVING


async def door(gateway: Reloadable, http: aiohttp.ClientSession, name: str) -> int:
    """What a callback with a provider's key is answered."""
    url = f"http://{gateway.serving.said['callbacks']}/callbacks/{name}/{callback_key(name)}/V4/Result"
    async with http.post(url, data=result_body()) as response:
        return response.status


async def test_who_came_by_a_reload_cannot_be_forgotten_either(tmp_path: Path, here: ScriptedProvider) -> None:
    """Once it has credited; and its name may be kept in place of all the rest."""
    async with reloadable(tmp_path, table(here)) as gateway, aiohttp.ClientSession() as http:
        await gateway.serving.open_account()
        await gateway.reload(table(here), table(here, "later"))
        assert await door(gateway, http, "later") == 200
        line = await gateway.reload(table(here))
        assert [problem["path"] for problem in line["problems"]] == ["providers.later"]
        line = await gateway.reload(table(here), "[providers.later]\nretired = true\n")
        assert (line["event"], line["removed"]) == ("configuration reloaded", ["later"])


async def test_a_retired_provider_is_not_served(tmp_path: Path, here: ScriptedProvider) -> None:
    """It is removed, and its name is kept; what it was served with need not be there any more."""
    async with reloadable(tmp_path, table(here)) as gateway:
        line = await gateway.reload(table(here, retired="true", token="{ env = 'GONE' }"))
        assert (line["removed"], line["changed"]) == (["lucky"], [])
        assert (await gateway.refused()).reason == "PROVIDER_UNKNOWN"


async def test_limits_change_under_calls(tmp_path: Path, here: ScriptedProvider) -> None:
    """A place more lets the next call through while the first one hangs; a place less lets the next one wait."""

    def limited(calls: int) -> str:
        return table(here) + f"[providers.lucky.limits]\nmax_concurrent_calls = {calls}\nmax_queued_calls = 0\n"

    here.behaviour = hanging
    async with reloadable(tmp_path, limited(1)) as gateway:
        first = asyncio.create_task(gateway.refused(within=2))
        await here.arrived.wait()
        assert (await gateway.refused()).reason == "PROVIDER_BUSY"
        line = await gateway.reload(limited(2))
        assert line["changed"] == ["providers.lucky.limits.max_concurrent_calls"]
        here.behaviour = answering()
        assert (await gateway.close()).outcome == OUTCOME_CLOSED
        await gateway.reload(limited(1))
        assert (await gateway.refused()).reason == "PROVIDER_BUSY"
        assert (await first).reason == "PROVIDER_TIMEOUT"
        assert (await gateway.close()).outcome == OUTCOME_CLOSED


async def test_a_token_is_used_from_the_next_call_on(tmp_path: Path, here: ScriptedProvider) -> None:
    """It is read anew from its file. Whoever repeats the old one or the new one, neither stands in log or answer."""
    old, new = "the-token-of-before", "the-token-from-here-on"
    (tmp_path / "token").write_text(old)
    async with reloadable(tmp_path, table(here, token='{ file = "token" }')) as gateway:
        await gateway.close()
        (tmp_path / "token").write_text(new)
        (line,) = await gateway.hang_up()
        assert line["changed"] == ["providers.lucky.token"]
        here.behaviour = answering(body=f'{{"error":1,"description":"was {old}, is {new}"}}'.encode())
        refusal = await gateway.refused()
        assert "was ***, is ***" in refusal.message
        await gateway.serving.stop()
    assert [sorted({old, new} & {*words(each.body)}) for each in here.received] == [[old], [new]]
    log = (tmp_path / "gateway.log").read_text()
    assert "PROVIDER_REFUSED" in log
    assert old not in log
    assert new not in log


def words(body: bytes) -> list[str]:
    """The values of a request's body."""
    return body.decode().replace("=", '"').replace("&", '"').split('"')


async def test_an_unset_variable_becomes_a_file(tmp_path: Path, here: ScriptedProvider) -> None:
    """A variable is one of the process's start: a secret that moves into a file is taken on from there."""
    environ = {**os.environ, "LUCKY": "a-token"}
    async with reloadable(tmp_path, table(here, token='{ env = "LUCKY" }'), environ=environ) as gateway:
        (tmp_path / "token").write_text("a-token")
        line = await gateway.reload(table(here, token='{ file = "token" }'))
        assert (line["event"], line["changed"]) == ("configuration reloaded", [])
        assert (await gateway.close()).outcome == OUTCOME_CLOSED


async def test_what_a_caller_is_given_without_a_deadline(tmp_path: Path, here: ScriptedProvider) -> None:
    here.behaviour = hanging
    async with reloadable(tmp_path, table(here), grpc="default_deadline_s = 3600") as gateway:
        line = await gateway.reload(table(here), grpc="default_deadline_s = 0.2")
        assert line["changed"] == ["grpc.default_deadline_s"]
        async with asyncio.timeout(5):
            assert (await gateway.refused(within=None)).code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_log_has_its_new_level(tmp_path: Path, here: ScriptedProvider) -> None:
    """From the line on that says so, for every logger, and at a level that would not show that line either."""
    async with reloadable(tmp_path, table(here)) as gateway:
        await gateway.close()
        await gateway.logged("rpc")
        assert (await gateway.reload(table(here), LOG.format('"error"')))["changed"] == ["log.level"]
        await gateway.close()
        assert (await gateway.reload(table(here), LOG.format('"info"')))["changed"] == ["log.level"]
        await gateway.close()
        await gateway.logged("rpc", 2)
        told_of = [line["event"] for line in gateway.lines()]
        assert told_of == ["rpc", "configuration reloaded", "configuration reloaded", "rpc"]


async def test_the_same_file_changes_nothing(tmp_path: Path, here: ScriptedProvider) -> None:
    """It is said that nothing has changed, and the connection to the provider is the one of before."""
    async with reloadable(tmp_path, table(here)) as gateway:
        await gateway.close()
        before = connections_to(here.base_url)
        assert len(before) == 1
        (line,) = await gateway.hang_up()
        assert (line["added"], line["removed"], line["changed"]) == ([], [], [])
        await gateway.close()
        assert connections_to(here.base_url) == before
