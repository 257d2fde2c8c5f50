"""A close with an unknown outcome opens a reconciliation item, until its outcome is known."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.contract import Certainty
from gateway.store.models import Target
from gateway.v1 import reconciliation_service_pb2 as reconciliation
from tests.gateway.sessions.harness import REFUSED, CloseHarness, close_harness, close_request
from tests.support.gateway import family_table, running_gateway
from tests.support.provider import Behaviour, answering, hanging, resetting, scripted_provider


@pytest.fixture
async def harness(tmp_path: Path, store_url: str) -> AsyncIterator[CloseHarness]:
    """A gateway on each of the two engines."""
    async with close_harness(tmp_path, store=store_url) as started:
        yield started


async def items(harness: CloseHarness, *, resolved: bool = False) -> list[reconciliation.Item]:
    """The listed items, once every failure is recorded."""
    await harness.service.drain()
    request = reconciliation.ListItemsRequest(resolved=resolved)
    return list((await harness.gateway.reconciliation.ListItems(request)).items)


@pytest.mark.parametrize("behaviour", [hanging, resetting, answering(500), answering(200, b"what?")])
async def test_an_unknown_outcome_opens_an_item(harness: CloseHarness, behaviour: Behaviour) -> None:
    """No answer, a lost connection, a failure and a malformed answer open an item that says what to do."""
    request = close_request(token="callers-token")
    request_id = request.request_id
    harness.provider.behaviour = behaviour
    before = datetime.now(UTC)
    if behaviour is hanging:
        await harness.fails_by(request, 1.0)
    else:
        await harness.fails(request)
    (item,) = await items(harness)
    assert (item.kind, item.fault) == (reconciliation.ITEM_KIND_CLOSE_UNKNOWN, "CLOSE_UNKNOWN")
    assert (item.provider, item.user_id, item.request_id, item.reference) == ("lucky", "u", request_id, "")
    assert before <= item.create_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert "lucky" in item.detail
    assert "repeat the call with the same request_id" in item.detail
    assert "callers-token" not in item.detail
    (line,) = await harness.store.exchanges(request_id=request_id)
    assert (line.id, line.certainty) == (item.exchange_id, Certainty.UNKNOWN)
    shown = await harness.gateway.reconciliation.GetItem(reconciliation.GetItemRequest(item_id=item.id))
    assert shown.item == item
    assert not shown.HasField("callback")


@pytest.mark.parametrize("behaviour", [answering(200, REFUSED), answering(403), answering(429)])
async def test_a_refusal_opens_no_item(harness: CloseHarness, behaviour: Behaviour) -> None:
    """A provider that refused has closed nothing."""
    harness.provider.behaviour = behaviour
    await harness.fails(close_request())
    assert await items(harness) == []


async def test_an_unsent_close_opens_no_item(tmp_path: Path) -> None:
    """A provider that was not reached has closed nothing."""
    section = family_table("lucky", "luckymonaco", "http://127.0.0.1:1")
    async with scripted_provider() as unused, running_gateway(tmp_path, section) as gateway:
        harness = CloseHarness(gateway, unused)
        await harness.fails(close_request())
        assert await items(harness) == []


async def test_a_success_resolves_the_item(harness: CloseHarness) -> None:
    """Repeated attempts open one item. It stays open through a refusal, and a success resolves it."""
    request = close_request()
    for behaviour in (resetting, answering(500), answering(200, REFUSED)):
        harness.provider.behaviour = behaviour
        await harness.fails(request)
        (item,) = await items(harness)
        assert item.request_id == request.request_id
    harness.provider.behaviour = answering()
    await harness.call(request)
    assert await items(harness) == []
    (resolved,) = await items(harness, resolved=True)
    assert (resolved.id, resolved.resolution.actor, resolved.resolution.reason) == (item.id, "", "closed")


async def test_an_attempt_cut_off_by_a_crash_opens_an_item(harness: CloseHarness) -> None:
    """A refusal of the next attempt does not prove that the first one had no effect."""
    request = close_request()
    await harness.store.begin_close(request.request_id, Target("lucky", "u"), datetime.now(UTC))
    harness.provider.behaviour = answering(200, REFUSED)
    await harness.fails(request)
    (item,) = await items(harness)
    assert item.request_id == request.request_id


async def test_each_request_has_its_own_item(harness: CloseHarness) -> None:
    """Two requests for one player are two items, and a success resolves one of them."""
    requests = [close_request(), close_request()]
    harness.provider.behaviour = resetting
    for request in requests:
        await harness.fails(request)
    assert [item.request_id for item in await items(harness)] == [request.request_id for request in requests]
    harness.provider.behaviour = answering()
    await harness.call(requests[0])
    assert [item.request_id for item in await items(harness)] == [requests[1].request_id]


async def test_an_item_resolved_by_an_operator_stays_resolved(harness: CloseHarness) -> None:
    """Another unknown outcome of the same request does not open it again."""
    request = close_request()
    harness.provider.behaviour = resetting
    await harness.fails(request)
    (item,) = await items(harness)
    resolve = reconciliation.ResolveItemRequest(item_id=item.id, actor="ada", reason="lucky says: closed")
    await harness.gateway.reconciliation.ResolveItem(resolve)
    await harness.fails(request)
    assert await items(harness) == []
    (resolved,) = await items(harness, resolved=True)
    assert (resolved.resolution.actor, resolved.resolution.on_behalf_of) == ("anonymous", "ada")
