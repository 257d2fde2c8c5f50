"""Closes whose outcome nobody knows are items for a person, until somebody does."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from adapters.contract import Certainty
from gateway.store.models import Target
from gateway.v1 import reconciliation_service_pb2 as reconciliation
from gateway.v1 import session_service_pb2 as pb
from tests.support.gateway import Running, family_table, running_gateway
from tests.support.provider import Behaviour, ScriptedProvider, answering, hanging, resetting, scripted_provider


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture
async def gateway(tmp_path: Path, provider: ScriptedProvider, store_url: str) -> AsyncIterator[Running]:
    table = family_table("lucky", "luckymonaco", provider.base_url)
    async with running_gateway(tmp_path, table, store=store_url) as gateway:
        yield gateway


async def items(gateway: Running, *, resolved: bool = False) -> list[reconciliation.Item]:
    """What is listed, once all that failed is recorded too."""
    await gateway.gateway.close_service.drain()
    request = reconciliation.ListItemsRequest(resolved=resolved)
    return list((await gateway.reconciliation.ListItems(request)).items)


async def fails(gateway: Running, request_id: str, timeout_s: float = 5) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await close(gateway, request_id, timeout_s)


async def close(gateway: Running, request_id: str, timeout_s: float = 5) -> pb.CloseSessionResponse:
    request = pb.CloseSessionRequest(request_id=request_id, provider="lucky", user_id="u", token="callers-token")
    return await gateway.sessions.CloseSession(request, timeout=timeout_s)


@pytest.mark.parametrize("behaviour", [hanging, resetting, answering(500), answering(200, b"what?")])
async def test_an_unknown_outcome_is_an_item(
    gateway: Running, provider: ScriptedProvider, behaviour: Behaviour
) -> None:
    """No answer, a lost one, a failure and one that is not the dialect leave an item that says what to do."""
    request_id = str(uuid4())
    provider.behaviour = behaviour
    before = datetime.now(UTC)
    await fails(gateway, request_id, timeout_s=0.5 if behaviour is hanging else 5)
    (item,) = await items(gateway)
    assert (item.kind, item.fault) == (reconciliation.ITEM_KIND_CLOSE_UNKNOWN, "CLOSE_UNKNOWN")
    assert (item.provider, item.user_id, item.request_id, item.reference) == ("lucky", "u", request_id, "")
    assert before <= item.create_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert "lucky" in item.detail
    assert "repeat the call with the same request_id" in item.detail
    assert "callers-token" not in item.detail
    (line,) = await gateway.store.exchanges(request_id=request_id)
    assert (line.id, line.certainty) == (item.exchange_id, Certainty.UNKNOWN)
    shown = await gateway.reconciliation.GetItem(reconciliation.GetItemRequest(item_id=item.id))
    assert shown.item == item
    assert not shown.HasField("callback")


@pytest.mark.parametrize("behaviour", [answering(200, b'{"error":56}'), answering(403), answering(429)])
async def test_a_refusal_is_none(gateway: Running, provider: ScriptedProvider, behaviour: Behaviour) -> None:
    """What the provider refused it did not do: there is nothing for a person to find out."""
    provider.behaviour = behaviour
    await fails(gateway, str(uuid4()))
    assert await items(gateway) == []


async def test_what_was_not_sent_is_none(tmp_path: Path) -> None:
    """A provider that nothing was sent to has closed nothing."""
    async with running_gateway(tmp_path, family_table("lucky", "luckymonaco", "http://127.0.0.1:1")) as gateway:
        await fails(gateway, str(uuid4()))
        assert await items(gateway) == []


async def test_a_success_settles_it(gateway: Running, provider: ScriptedProvider) -> None:
    """Repeated attempts make one item; it stays open through a refusal, and a success resolves it by itself."""
    request_id = str(uuid4())
    for behaviour in (resetting, answering(500), answering(200, b'{"error":56}')):
        provider.behaviour = behaviour
        await fails(gateway, request_id)
        (item,) = await items(gateway)
        assert item.request_id == request_id
    provider.behaviour = answering()
    await close(gateway, request_id)
    assert await items(gateway) == []
    (settled,) = await items(gateway, resolved=True)
    assert (settled.id, settled.resolution.actor, settled.resolution.reason) == (item.id, "", "closed")


async def test_what_a_crash_left_unknown_is_an_item_too(gateway: Running, provider: ScriptedProvider) -> None:
    """An attempt that a crash cut off may have been carried out: a refusal of the next one does not settle that."""
    request_id = str(uuid4())
    await gateway.store.begin_close(request_id, Target("lucky", "u"), datetime.now(UTC))
    provider.behaviour = answering(200, b'{"error":56}')
    await fails(gateway, request_id)
    (item,) = await items(gateway)
    assert item.request_id == request_id


async def test_each_request_has_its_own(gateway: Running, provider: ScriptedProvider) -> None:
    """Two requests for one player are two items, and the success of one settles that one alone."""
    requests = [str(uuid4()), str(uuid4())]
    provider.behaviour = resetting
    for request_id in requests:
        await fails(gateway, request_id)
    assert [item.request_id for item in await items(gateway)] == requests
    provider.behaviour = answering()
    await close(gateway, requests[0])
    assert [item.request_id for item in await items(gateway)] == requests[1:]


async def test_what_a_person_settled_stays_so(gateway: Running, provider: ScriptedProvider) -> None:
    """Once a person has asked the provider and resolved the item, another unknown outcome does not open it again."""
    request_id = str(uuid4())
    provider.behaviour = resetting
    await fails(gateway, request_id)
    (item,) = await items(gateway)
    resolve = reconciliation.ResolveItemRequest(item_id=item.id, actor="ada", reason="lucky says: closed")
    await gateway.reconciliation.ResolveItem(resolve)
    await fails(gateway, request_id)
    assert await items(gateway) == []
    (settled,) = await items(gateway, resolved=True)
    assert settled.resolution.actor == "ada"
