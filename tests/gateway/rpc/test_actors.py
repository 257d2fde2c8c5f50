"""Who acted: the caller of the RPC everywhere, and beside it the person on whose behalf it acted."""

from typing import Any
from uuid import uuid4

import grpc
import pytest

from gateway.store.models import THE_GATEWAY, Actor, Direction
from gateway.v1 import provider_service_pb2 as providers
from gateway.v1 import reconciliation_service_pb2 as reconciliation
from gateway.v1 import session_service_pb2 as sessions
from gateway.v1 import wallet_service_pb2 as wallet
from tests.gateway.rpc.harness import RpcHarness
from tests.gateway.rpc.switching import health_of, history
from tests.support.actors import called_by
from tests.support.gateway import failure_of
from tests.support.provider import answering
from tests.support.results import result_body


async def act(harness: RpcHarness, **who: str) -> dict[str, Actor]:
    """Disable and enable a provider, redeliver a callback, resolve its item: who did it, by where that is shown."""
    gateway = harness.gateway
    off = await gateway.providers.DisableProvider(
        providers.DisableProviderRequest(provider="lucky", reason="repairs", **who)
    )
    disabled = (await health_of(gateway)).disabled
    failure = await harness.fails()
    on = await gateway.providers.EnableProvider(
        providers.EnableProviderRequest(provider="lucky", reason="repaired", **who)
    )
    newest, oldest = await history(gateway)
    await gateway.callback("lucky", "V4/Result", result_body("ref-1"))
    (item,) = (await gateway.reconciliation.ListItems(reconciliation.ListItemsRequest())).items
    await gateway.reconciliation.RedeliverCallback(
        reconciliation.RedeliverCallbackRequest(exchange_id=item.exchange_id, reason="again", **who)
    )
    listed = await gateway.reconciliation.ListRefusedCallbacks(reconciliation.ListRefusedCallbacksRequest())
    resolve = reconciliation.ResolveItemRequest(item_id=item.id, reason="paid", **who)
    resolved = (await gateway.reconciliation.ResolveItem(resolve)).item.resolution
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.reconciliation.ResolveItem(resolve)
    shown: dict[str, Any] = {
        "DisableProvider": off.state_change,
        "ListProviders": disabled,
        "EnableProvider": on.state_change,
        "the newest change": newest,
        "the oldest change": oldest,
        "ListRefusedCallbacks": listed.callbacks[0].redelivery,
        "ResolveItem": resolved,
    }
    found = {place: Actor(each.actor, each.on_behalf_of) for place, each in shown.items()}
    for error in (failure, failure_of(raised.value)):
        found[error.reason] = Actor(error.metadata["actor"], error.metadata.get("on_behalf_of", ""))
    for line in await gateway.store.exchanges():
        if line.direction is Direction.OPERATOR or line.redelivery is not None:
            found[f"the line of {line.operation}"] = line.actor
    return found


PLACES = 12


async def test_an_open_gateway_shows_the_person_beside_anonymous(harness: RpcHarness) -> None:
    """In every answer, list, error and journal line."""
    found = await act(harness, on_behalf_of="anna")
    assert len(found) == PLACES
    assert set(found.values()) == {Actor("anonymous", "anna")}


@pytest.mark.parametrize(
    ("who", "person"),
    [
        ({"on_behalf_of": "the-ceo"}, "the-ceo"),
        ({"actor": "the-ceo"}, "the-ceo"),
        ({"on_behalf_of": "anna", "actor": "the-ceo"}, "anna"),
        ({}, ""),
    ],
)
async def test_a_named_caller_is_the_actor_whatever_the_request_says(
    harness: RpcHarness, who: dict[str, str], person: str
) -> None:
    """`actor` is the caller's name in every place, and a person is shown only as on_behalf_of; it may be absent."""
    with called_by("backoffice"):
        found = await act(harness, **who)
    assert len(found) == PLACES
    assert set(found.values()) == {Actor("backoffice", person)}


async def test_a_close_keeps_who_asked_for_it(harness: RpcHarness) -> None:
    """The intent keeps the first actor, each journal line the one that made its attempt, also the first of an open
    gateway without a person; no person makes it another request.
    """
    gateway, request_id = harness.gateway, str(uuid4())
    asked = sessions.CloseSessionRequest(request_id=request_id, provider="lucky", user_id="u", on_behalf_of=" anna ")
    harness.provider.behaviour = answering(500, b"{}")
    with called_by("launcher"), pytest.raises(grpc.aio.AioRpcError):
        await gateway.sessions.CloseSession(asked)
    await gateway.gateway.close_service.drain()
    harness.provider.behaviour = answering()
    asked.on_behalf_of = ""
    assert not (await gateway.sessions.CloseSession(asked)).replayed
    asked.on_behalf_of = "bert"
    assert (await gateway.sessions.CloseSession(asked)).replayed
    kept = await gateway.store.find_close(request_id)
    assert kept is not None
    assert kept.actor == Actor("launcher", "anna")
    lines = await gateway.store.exchanges(request_id=request_id)
    assert [line.actor for line in lines] == [Actor("launcher", "anna"), Actor("anonymous")]


async def test_a_person_in_a_close_is_validated(harness: RpcHarness) -> None:
    """At most 255 characters, without control characters."""
    for person in ("a" * 256, "a\x1bb"):
        assert (await harness.fails(on_behalf_of=person)).fields == ("on_behalf_of",)


async def test_credits_over_grpc_leave_a_line_with_their_caller(harness: RpcHarness) -> None:
    """An opening balance, a credit and a refusal, once however often it is repeated; a callback's has no caller."""
    gateway = harness.gateway
    opening = wallet.OpenAccountRequest(user_id="421", currency="USD", opening_balance="5")
    credit = wallet.ApplyResultRequest(
        provider="shop",
        reference="r",
        user_id="421",
        currency="USD",
        amount="1.50",
        promo_amount="2",
        promo_reference="p",
    )
    reused = wallet.ApplyResultRequest(provider="shop", reference="r", user_id="421", currency="USD", amount="9")
    with called_by("shop"):
        for _ in range(3):
            await gateway.wallet.OpenAccount(opening)
            await gateway.wallet.ApplyResult(credit)
            with pytest.raises(grpc.aio.AioRpcError):
                await gateway.wallet.ApplyResult(reused)
        await gateway.wallet.OpenAccount(wallet.OpenAccountRequest(user_id="422", currency="USD"))
    assert (await gateway.wallet.ApplyResult(credit)).replayed
    await gateway.callback("lucky", "V4/Result", result_body("ref-1"))
    *lines, delivered = await gateway.store.exchanges()
    assert [(line.direction, line.provider, line.operation, line.verdict) for line in lines] == [
        (Direction.CALLER, "", "open_account", "CREDITED"),
        (Direction.CALLER, "shop", "apply_result", "CREDITED"),
        (Direction.CALLER, "shop", "apply_result", "REFERENCE_REUSED"),
    ]
    assert {line.actor for line in lines} == {Actor("shop")}
    assert delivered.actor == THE_GATEWAY
    assert [line.detail.partition(": reference")[0] for line in lines] == [
        "opening balance 5 USD to 421",
        "reference r: 1.50 USD to 421, and prize p: 2 USD",
        "reference r: 9 USD to 421",
    ]
    assert not (await gateway.reconciliation.ListItems(reconciliation.ListItemsRequest())).items
    listed = await gateway.reconciliation.ListRefusedCallbacks(reconciliation.ListRefusedCallbacksRequest())
    assert not listed.callbacks
