"""ReconciliationService on each engine: items are listed and resolved, callbacks are redelivered."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.store.models import Actor
from gateway.v1 import reconciliation_service_pb2 as pb
from gateway.v1 import transaction_service_pb2 as transactions
from gateway.v1 import wallet_service_pb2 as wallet
from tests.support.gateway import RpcFailure, Running, callback_key, failure_of, family_table, running_gateway
from tests.support.results import result_body

NOBODY = "http://127.0.0.1:1"

on_sqlite = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
"""For tests that do not depend on the engine."""


@pytest.fixture
async def gateway(tmp_path: Path, store_url: str) -> AsyncIterator[Running]:
    sections = (family_table("lucky", "luckymonaco", NOBODY), family_table("kyren", "kyren", NOBODY))
    async with running_gateway(tmp_path, *sections, store=store_url) as gateway:
        yield gateway


def result(reference: str = "r", user_id: str = "u", **more: Any) -> bytes:
    return result_body(reference, userId=user_id, currency="EUR", amount="1.5", **more)


async def code_of(gateway: Running, provider: str, body: bytes) -> int:
    """Deliver a Result, and return the dialect's code."""
    _, answer = await gateway.callback(provider, f"{'V4' if provider == 'lucky' else 'v1'}/Result", body)
    code: int = json.loads(answer)["error"]
    return code


async def open_account(gateway: Running, user_id: str = "u") -> None:
    await gateway.wallet.OpenAccount(wallet.OpenAccountRequest(user_id=user_id, currency="EUR"))


async def cash(gateway: Running) -> str:
    return (await gateway.wallet.GetBalance(wallet.GetBalanceRequest(user_id="u", currency="EUR"))).cash


async def items(gateway: Running, **wanted: Any) -> list[pb.Item]:
    return list((await gateway.reconciliation.ListItems(pb.ListItemsRequest(**wanted))).items)


async def callbacks(gateway: Running, **wanted: Any) -> list[pb.RefusedCallback]:
    answer = await gateway.reconciliation.ListRefusedCallbacks(pb.ListRefusedCallbacksRequest(**wanted))
    return list(answer.callbacks)


async def refused(call: Awaitable[object]) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return failure_of(raised.value)


def resolve(gateway: Running, item_id: str, by: str = "ada", why: str = "paid by hand") -> Awaitable[Any]:
    return gateway.reconciliation.ResolveItem(pb.ResolveItemRequest(item_id=item_id, on_behalf_of=by, reason=why))


def redeliver(gateway: Running, exchange_id: str, by: str = "ada", why: str = "account opened") -> Awaitable[Any]:
    request = pb.RedeliverCallbackRequest(exchange_id=exchange_id, on_behalf_of=by, reason=why)
    return gateway.reconciliation.RedeliverCallback(request)


async def test_a_refused_result_is_an_item_with_its_callback(gateway: Running) -> None:
    """A Result that was refused permanently is listed with its details, and has its callback."""
    before = datetime.now(UTC)
    body = result()
    assert await code_of(gateway, "lucky", body) == 62
    (item,) = await items(gateway)
    assert (item.kind, item.provider, item.user_id, item.reference) == (
        pb.ITEM_KIND_RESULT_REFUSED,
        "lucky",
        "u",
        "r",
    )
    assert (item.fault, item.field, item.request_id) == ("ACCOUNT_UNKNOWN", "user_id", "")
    assert "open one" in item.detail
    assert before <= item.create_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert not item.HasField("resolution")
    shown = await gateway.reconciliation.GetItem(pb.GetItemRequest(item_id=item.id))
    assert shown.item == item
    callback = shown.callback
    assert (callback.exchange_id, callback.provider, callback.operation) == (item.exchange_id, "lucky", "V4/Result")
    assert (callback.verdict, callback.peer, callback.body) == ("ACCOUNT_UNKNOWN", "127.0.0.1", body.decode())
    assert (callback.redeliverable, callback.not_redeliverable_because) == (True, "")
    assert not callback.HasField("redelivery")
    assert await callbacks(gateway) == [callback]


async def test_a_redelivered_result_is_credited_and_its_item_resolved(gateway: Running) -> None:
    """Once the account is open the redelivered Result is credited once, and the gateway resolves its item."""
    await code_of(gateway, "lucky", result())
    (item,) = await items(gateway)
    await open_account(gateway)
    answers, codes = await asyncio.gather(
        asyncio.gather(*(redeliver(gateway, item.exchange_id) for _ in range(8))),
        asyncio.gather(*(code_of(gateway, "lucky", result()) for _ in range(8))),
    )
    assert {answer.verdict for answer in answers} == {"CREDITED"}
    assert set(codes) == {0}
    assert await cash(gateway) == "1.5"
    transaction = await gateway.transactions.GetTransaction(
        transactions.GetTransactionRequest(provider="lucky", reference="r")
    )
    for answer in answers:
        said = json.loads(answer.answer)
        assert (said["error"], said["transactionId"]) == (0, transaction.transaction.transaction_id)
        line = await gateway.store.exchange(answer.exchange_id)
        assert line is not None
        assert line.redelivery is not None
        assert (line.redelivery.exchange_id, line.redelivery.reason) == (item.exchange_id, "account opened")
        assert line.actor == Actor("anonymous", "ada")
    assert await items(gateway) == []
    (settled,) = await items(gateway, resolved=True)
    assert settled.id == item.id
    assert (settled.resolution.actor, settled.resolution.reason) == ("", "credited")


async def test_a_redelivery_that_is_refused_says_why(gateway: Running) -> None:
    """A redelivery that is refused again returns the fault, and is listed with its actor."""
    await code_of(gateway, "lucky", result())
    (original,) = await callbacks(gateway)
    answer = await redeliver(gateway, original.exchange_id)
    assert (answer.verdict, json.loads(answer.answer)["error"]) == ("ACCOUNT_UNKNOWN", 62)
    assert "open one" in answer.detail
    newest, oldest = await callbacks(gateway)
    assert oldest == original
    assert newest.exchange_id == answer.exchange_id
    assert newest.redelivery == pb.Redelivery(
        exchange_id=original.exchange_id, actor="anonymous", on_behalf_of="ada", reason="account opened"
    )


async def test_an_item_is_resolved_permanently(gateway: Running) -> None:
    """A resolved item has its actor and reason, and is not opened again by the same refusal."""
    await code_of(gateway, "lucky", result())
    (item,) = await items(gateway)
    why = "paid by hand".ljust(1000, ".")
    answer = await resolve(gateway, item.id, " ada ", why)
    resolution = answer.item.resolution
    assert (resolution.actor, resolution.on_behalf_of, resolution.reason) == ("anonymous", "ada", why)
    assert answer.item.resolution.time.ToDatetime(UTC) <= datetime.now(UTC)
    assert await items(gateway) == []
    assert await items(gateway, resolved=True) == [answer.item]
    failure = await refused(resolve(gateway, item.id, "eve", "me too"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ITEM_RESOLVED")
    assert (failure.metadata["actor"], failure.metadata["on_behalf_of"]) == ("anonymous", "ada")
    assert failure.metadata["reason"].startswith("paid by hand")
    assert "ada" in failure.message
    await code_of(gateway, "lucky", result())
    assert await items(gateway) == []
    assert await items(gateway, resolved=True) == [answer.item]


async def test_what_is_unknown_is_not_found(gateway: Running) -> None:
    """An unknown item and an unknown callback are NOT_FOUND, with ITEM_UNKNOWN and CALLBACK_UNKNOWN."""
    get = gateway.reconciliation.GetItem(pb.GetItemRequest(item_id="nothing"))
    for call, reason in (
        (get, "ITEM_UNKNOWN"),
        (resolve(gateway, "nothing"), "ITEM_UNKNOWN"),
        (redeliver(gateway, "nothing"), "CALLBACK_UNKNOWN"),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, reason)
        assert "nothing" in failure.message


async def test_what_cannot_be_redelivered_says_why(gateway: Running) -> None:
    """A callback that cannot be redelivered is listed with the reason, and RedeliverCallback fails with it."""
    assert await code_of(gateway, "lucky", b"\xff") == 57
    (callback,) = await callbacks(gateway)
    assert not callback.redeliverable
    failure = await refused(redeliver(gateway, callback.exchange_id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_REDELIVERABLE")
    assert failure.metadata["reason"] == callback.not_redeliverable_because
    assert callback.not_redeliverable_because in failure.message
    assert failure.metadata["provider"] == "lucky"


# --- Lists ------------------------------------------------------------------------------------------------------------


async def test_pages_of_items_are_the_whole_list(gateway: Running) -> None:
    """Pages of any size hold each item once, oldest first, also while others are created and resolved."""
    for number in range(7):
        await code_of(gateway, "lucky" if number % 2 else "kyren", result(f"r{number}"))
    whole = [f"r{number}" for number in range(7)]
    for size in (1, 3, 4, 7, 100):
        listed: list[str] = []
        token = ""
        while True:
            answer = await gateway.reconciliation.ListItems(pb.ListItemsRequest(page_size=size, page_token=token))
            assert 0 < len(answer.items) <= size
            listed += [item.reference for item in answer.items]
            token = answer.next_page_token
            if not token:
                break
            await resolve(gateway, answer.items[0].id)
            await code_of(gateway, "lucky", result(f"late{size}"))
        assert [reference for reference in listed if reference in whole] == whole
        whole = [item.reference for item in await items(gateway)]


async def test_pages_of_callbacks_are_the_whole_list(gateway: Running) -> None:
    """Pages of any size hold each refused callback once, newest first, also while others arrive."""
    for number in range(7):
        await code_of(gateway, "lucky", result(f"r{number}"))
    whole = [f'"r{number}"' for number in reversed(range(7))]
    for size in (1, 3, 7, 50):
        listed: list[str] = []
        token = ""
        while True:
            request = pb.ListRefusedCallbacksRequest(page_size=size, page_token=token)
            answer = await gateway.reconciliation.ListRefusedCallbacks(request)
            assert 0 < len(answer.callbacks) <= size
            listed += [callback.body for callback in answer.callbacks if "late" not in callback.body]
            token = answer.next_page_token
            if not token:
                break
            await code_of(gateway, "lucky", result(f"late{size}"))
        assert [reference in body for reference, body in zip(whole, listed, strict=True)] == [True] * 7


async def test_lists_can_be_filtered(gateway: Running) -> None:
    """Items are filtered by provider and player, callbacks by provider; an unknown name gives an empty list."""
    await code_of(gateway, "lucky", result("a", "ann"))
    await code_of(gateway, "kyren", result("b", "ann"))
    await code_of(gateway, "kyren", result("c", "bob"))
    assert [item.reference for item in await items(gateway, provider="kyren")] == ["b", "c"]
    assert [item.reference for item in await items(gateway, user_id="ann")] == ["a", "b"]
    assert [item.reference for item in await items(gateway, user_id="ann", provider="kyren")] == ["b"]
    assert await items(gateway, provider="nobody") == []
    assert [callback.provider for callback in await callbacks(gateway, provider="kyren")] == ["kyren", "kyren"]
    assert await callbacks(gateway, provider="nobody") == []


async def test_a_page_of_the_largest_bodies_can_be_received(gateway: Running) -> None:
    """A full page of callbacks with the largest stored bodies fits into a client's default message limit."""
    body = result(roundDetails="x" * 65_000)
    for number in range(51):
        await code_of(gateway, "lucky", body.replace(b'"r"', b'"r%d"' % number))
    assert len(await callbacks(gateway)) == 20
    listed = await callbacks(gateway, page_size=1000)
    assert len(listed) == 50
    assert all(len(callback.body) > 65_000 for callback in listed)


async def test_no_response_holds_a_secret(gateway: Running) -> None:
    """Secrets in a provider's callback are masked in bodies and answers."""
    secret = {"secureLogin": "wrong", "token": "players-token", "gameName": callback_key("lucky")}
    await code_of(gateway, "lucky", result(**secret))
    (callback,) = await callbacks(gateway)
    assert callback.verdict == "CREDENTIALS_WRONG"
    assert "***" in callback.body
    answer = await redeliver(gateway, callback.exchange_id)
    for shown in (*(await callbacks(gateway)), answer):
        assert "players-token" not in str(shown)
        assert callback_key("lucky") not in str(shown)


# --- Requests that are refused ----------------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("ListItems", pb.ListItemsRequest(page_size=-1), "page_size"),
        ("ListItems", pb.ListItemsRequest(page_token="none"), "page_token"),
        ("ListItems", pb.ListItemsRequest(provider="p\n"), "provider"),
        ("ListItems", pb.ListItemsRequest(user_id="u" * 256), "user_id"),
        ("GetItem", pb.GetItemRequest(), "item_id"),
        ("ResolveItem", pb.ResolveItemRequest(actor="b", reason="r"), "item_id"),
        ("ResolveItem", pb.ResolveItemRequest(item_id="i", reason="r"), "on_behalf_of"),
        ("ResolveItem", pb.ResolveItemRequest(item_id="i", on_behalf_of=" ", reason="r"), "on_behalf_of"),
        ("ResolveItem", pb.ResolveItemRequest(item_id="i", on_behalf_of="b" * 256, reason="r"), "on_behalf_of"),
        ("ResolveItem", pb.ResolveItemRequest(item_id="i", actor=" ", reason="r"), "actor"),
        ("ResolveItem", pb.ResolveItemRequest(item_id="i", actor="b" * 256, reason="r"), "actor"),
        ("ResolveItem", pb.ResolveItemRequest(item_id="i", actor="b"), "reason"),
        ("ResolveItem", pb.ResolveItemRequest(item_id="i", actor="b", reason="r" * 1001), "reason"),
        ("ResolveItem", pb.ResolveItemRequest(item_id="i", actor="b", reason="r\x1b[2J."), "reason"),
        ("ListRefusedCallbacks", pb.ListRefusedCallbacksRequest(page_size=-1), "page_size"),
        ("ListRefusedCallbacks", pb.ListRefusedCallbacksRequest(page_token="none"), "page_token"),
        ("ListRefusedCallbacks", pb.ListRefusedCallbacksRequest(provider="p\x7f"), "provider"),
        ("RedeliverCallback", pb.RedeliverCallbackRequest(actor="b", reason="r"), "exchange_id"),
        ("RedeliverCallback", pb.RedeliverCallbackRequest(exchange_id="e", reason="r"), "on_behalf_of"),
        ("RedeliverCallback", pb.RedeliverCallbackRequest(exchange_id="e", actor="b"), "reason"),
        (
            "RedeliverCallback",
            pb.RedeliverCallbackRequest(exchange_id="e", actor="b", reason="r" * 1001),
            "reason",
        ),
    ],
)
async def test_an_invalid_field_is_named(gateway: Running, method: str, request_: Any, field: str) -> None:
    """A missing or too long field is INVALID_ARGUMENT with its name."""
    failure = await refused(getattr(gateway.reconciliation, method)(request_))
    assert (failure.code, failure.reason, failure.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
        (field,),
    )


@on_sqlite
async def test_a_store_that_is_down_is_unavailable(gateway: Running) -> None:
    """While the store is down every call fails with STORE_UNAVAILABLE and a RetryInfo."""
    await gateway.store.close()
    stub = gateway.reconciliation
    for call in (
        stub.ListItems(pb.ListItemsRequest()),
        stub.GetItem(pb.GetItemRequest(item_id="i")),
        resolve(gateway, "i"),
        stub.ListRefusedCallbacks(pb.ListRefusedCallbacksRequest()),
        redeliver(gateway, "e"),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason, failure.retry) == (
            grpc.StatusCode.UNAVAILABLE,
            "STORE_UNAVAILABLE",
            True,
        )


async def test_a_page_token_is_valid_for_its_query_only(gateway: Running) -> None:
    """A page token of another list or of other filters, which would skip entries, is refused."""
    for provider in ("lucky", "kyren"):
        for number in range(3):
            await code_of(gateway, provider, result(f"r{number}"))
    token = (await gateway.reconciliation.ListItems(pb.ListItemsRequest(page_size=1))).next_page_token
    assert len(await items(gateway, page_token=token)) == 5
    of_provider = pb.ListRefusedCallbacksRequest(page_size=1, provider="lucky")
    other = (await gateway.reconciliation.ListRefusedCallbacks(of_provider)).next_page_token
    assert len(await callbacks(gateway, page_token=other, provider="lucky")) == 2
    for call in (
        gateway.reconciliation.ListItems(pb.ListItemsRequest(page_token=token, provider="lucky")),
        gateway.reconciliation.ListItems(pb.ListItemsRequest(page_token=token, resolved=True)),
        gateway.reconciliation.ListItems(pb.ListItemsRequest(page_token=other)),
        gateway.reconciliation.ListRefusedCallbacks(pb.ListRefusedCallbacksRequest(page_token=token)),
        gateway.reconciliation.ListRefusedCallbacks(pb.ListRefusedCallbacksRequest(page_token=other, provider="kyren")),
        gateway.transactions.ListTransactions(transactions.ListTransactionsRequest(user_id="u", page_token=token)),
    ):
        failure = await refused(call)
        assert (failure.reason, failure.fields) == ("FIELD_INVALID", ("page_token",))
