"""TransactionService on each engine."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import grpc
import pytest

from gateway.v1 import transaction_service_pb2 as pb
from gateway.v1 import wallet_service_pb2 as wallet
from tests.support.gateway import RpcFailure, Running, failure_of, running_gateway


@pytest.fixture
async def gateway(tmp_path: Path, store_url: str) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path, store=store_url) as gateway:
        await gateway.wallet.OpenAccount(wallet.OpenAccountRequest(user_id="u", currency="EUR"))
        yield gateway


async def credited(gateway: Running, reference: str, **more: str) -> wallet.ApplyResultResponse:
    fields = {"provider": "p", "user_id": "u", "currency": "EUR", "amount": "1.5", "reference": reference, **more}
    return await gateway.wallet.ApplyResult(wallet.ApplyResultRequest(**fields))


async def page(gateway: Running, size: int, token: str = "") -> pb.ListTransactionsResponse:
    return await gateway.transactions.ListTransactions(
        pb.ListTransactionsRequest(user_id="u", page_size=size, page_token=token)
    )


async def found(gateway: Running, provider: str, reference: str) -> pb.Transaction:
    request = pb.GetTransactionRequest(provider=provider, reference=reference)
    return (await gateway.transactions.GetTransaction(request)).transaction


async def refused(gateway: Running, request: pb.GetTransactionRequest | pb.ListTransactionsRequest) -> RpcFailure:
    stub = gateway.transactions
    call = (
        stub.GetTransaction(request)
        if isinstance(request, pb.GetTransactionRequest)
        else stub.ListTransactions(request)
    )
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return failure_of(raised.value)


async def test_a_transaction_is_found_with_all_its_content(gateway: Running) -> None:
    """GetTransaction returns the credit of a reference, and a promotional prize by its own reference."""
    answer = await credited(
        gateway,
        "r",
        round_id="round",
        game_id="game",
        session_id="session",
        promo_amount="0.000000000000000001",
        promo_reference="prize",
    )
    result = await found(gateway, "p", "r")
    assert result.create_time.seconds > 0
    result.ClearField("create_time")
    whole = pb.Transaction(
        provider="p",
        reference="r",
        kind=pb.TRANSACTION_KIND_RESULT,
        transaction_id=answer.transaction_id,
        user_id="u",
        currency="EUR",
        amount="1.5",
        round_id="round",
        game_id="game",
        session_id="session",
        promo_amount="0.000000000000000001",
        promo_reference="prize",
    )
    assert result == whole
    prize = await found(gateway, "p", "prize")
    prize.ClearField("create_time")
    whole.reference, whole.kind, whole.amount = "prize", pb.TRANSACTION_KIND_PROMO, "0.000000000000000001"
    whole.promo_amount, whole.promo_reference, whole.transaction_id = "", "", prize.transaction_id
    assert prize == whole
    assert prize.transaction_id not in {"", answer.transaction_id}


async def test_what_was_not_credited_is_unknown(gateway: Running) -> None:
    """Another provider's reference, another reference, and a refused one are NOT_FOUND TRANSACTION_UNKNOWN."""
    await credited(gateway, "r")
    with pytest.raises(grpc.aio.AioRpcError):
        await credited(gateway, "refused", currency="USD")
    for provider, reference in (("q", "r"), ("p", "s"), ("p", "refused")):
        failure = await refused(gateway, pb.GetTransactionRequest(provider=provider, reference=reference))
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "TRANSACTION_UNKNOWN")
        assert reference in failure.message
        assert not failure.certainty


async def test_pages_are_the_whole_list(gateway: Running) -> None:
    """Pages of any size hold each of the player's transactions once, newest first."""
    await gateway.wallet.OpenAccount(wallet.OpenAccountRequest(user_id="other", currency="EUR"))
    for number in range(7):
        await credited(gateway, f"r{number}", provider=f"p{number % 2}")
        await credited(gateway, f"o{number}", user_id="other")
    for size in (1, 3, 4, 7, 8, 100):
        answer = await page(gateway, size)
        listed = list(answer.transactions)
        while answer.next_page_token:
            answer = await page(gateway, size, answer.next_page_token)
            assert 0 < len(answer.transactions) <= size
            listed += answer.transactions
        assert [transaction.reference for transaction in listed] == [f"r{number}" for number in reversed(range(7))]


async def test_pages_are_stable_while_others_are_written(gateway: Running) -> None:
    """Credits that are written while a list is read neither move nor repeat its remaining entries."""
    for number in range(6):
        await credited(gateway, f"r{number}")
    listed: list[str] = []
    token = ""
    for late in range(6):
        answer = await page(gateway, 1, token)
        listed += [transaction.reference for transaction in answer.transactions]
        await credited(gateway, f"late{late}")
        token = answer.next_page_token
    assert listed == [f"r{number}" for number in reversed(range(6))]
    assert not token


async def test_pages_have_a_default_and_a_maximum_size(gateway: Running) -> None:
    """A page has 100 entries by default, and at most 1000."""
    for numbers in (range(500), range(500, 1001)):  # fewer at once than [grpc] max_calls
        await asyncio.gather(*(credited(gateway, f"r{number}") for number in numbers))
    assert len((await page(gateway, 0)).transactions) == 100
    assert len((await page(gateway, 1001)).transactions) == 1000
    assert len((await page(gateway, 2**31 - 1)).transactions) == 1000


async def test_a_player_without_any_has_an_empty_list(gateway: Running) -> None:
    """An unknown player has no transactions and no next page."""
    assert await page(gateway, 10) == pb.ListTransactionsResponse()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GetTransactionRequest(reference="r"), "provider"),
        (pb.GetTransactionRequest(provider="p"), "reference"),
        (pb.GetTransactionRequest(provider="p", reference="r" * 256), "reference"),
        (pb.ListTransactionsRequest(), "user_id"),
        (pb.ListTransactionsRequest(user_id="u\n"), "user_id"),
        (pb.ListTransactionsRequest(user_id="u", page_size=-1), "page_size"),
    ],
)
async def test_an_invalid_field_is_named(
    gateway: Running, request_: pb.GetTransactionRequest | pb.ListTransactionsRequest, field: str
) -> None:
    """Invalid input is INVALID_ARGUMENT with its field's name."""
    failure = await refused(gateway, request_)
    assert (failure.code, failure.reason, failure.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
        (field,),
    )


async def test_a_foreign_page_token_is_refused(gateway: Running) -> None:
    """A malformed token, an altered one, and one of another list are INVALID_ARGUMENT with page_token."""
    for number in range(3):
        await credited(gateway, f"r{number}")
    token = (await page(gateway, 1)).next_page_token
    assert (await page(gateway, 1, token)).transactions
    for number, another in enumerate((token[:-1], token + "A", token.swapcase(), "none", "\0", "ä", "t" * 60_000)):
        failure = await refused(gateway, pb.ListTransactionsRequest(user_id="u", page_token=another))
        assert (number, failure.code, failure.fields) == (number, grpc.StatusCode.INVALID_ARGUMENT, ("page_token",))


async def test_a_store_that_is_down_is_unavailable(tmp_path: Path) -> None:
    """While the store is down a call fails with STORE_UNAVAILABLE and a RetryInfo, and shows no path."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.store.close()
        for request in (
            pb.GetTransactionRequest(provider="p", reference="r"),
            pb.ListTransactionsRequest(user_id="u"),
        ):
            failure = await refused(gateway, request)
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert failure.retry
            assert str(tmp_path) not in failure.message


async def test_money_is_returned_as_it_was_credited(gateway: Running) -> None:
    """Amounts are returned by value, without an exponent."""
    await credited(gateway, "r", amount="10.50")
    assert Decimal((await found(gateway, "p", "r")).amount) == Decimal("10.5")
    await credited(gateway, "loss", amount="0")
    assert (await found(gateway, "p", "loss")).amount == "0"
