"""WalletService over the built-in ledger."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import grpc
import pytest

from gateway.v1 import wallet_service_pb2 as pb
from tests.support.gateway import RpcFailure, Running, failure_of, locked, running_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path) as gateway:
        yield gateway


def result(**fields: str) -> pb.ApplyResultRequest:
    whole = {"provider": "p", "reference": "r", "user_id": "u", "currency": "EUR", "amount": "10.50", "round_id": "1"}
    return pb.ApplyResultRequest(**{**whole, **fields})


async def opened(gateway: Running, opening_balance: str = "100") -> None:
    await gateway.wallet.OpenAccount(
        pb.OpenAccountRequest(user_id="u", currency="EUR", opening_balance=opening_balance)
    )


async def balance(gateway: Running) -> Decimal:
    answer = await gateway.wallet.GetBalance(pb.GetBalanceRequest(user_id="u", currency="EUR"))
    return Decimal(answer.cash)


async def refused(gateway: Running, request: pb.ApplyResultRequest) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.wallet.ApplyResult(request)
    return failure_of(raised.value)


async def test_a_result_is_credited_once(gateway: Running) -> None:
    """A repeated Result returns the first transaction and the present balance, and credits nothing."""
    await opened(gateway)
    first = await gateway.wallet.ApplyResult(result())
    again = await gateway.wallet.ApplyResult(result(amount="10.5"))
    assert (Decimal(first.cash), first.currency, first.replayed) == (Decimal("110.5"), "EUR", False)
    assert (again.transaction_id, Decimal(again.cash), again.replayed) == (
        first.transaction_id,
        Decimal("110.5"),
        True,
    )
    assert await balance(gateway) == Decimal("110.5")


async def test_opening_an_account_is_idempotent(gateway: Running) -> None:
    """A repeated OpenAccount with the same balance by value returns the first response, also after credits."""
    request = pb.OpenAccountRequest(user_id="u", currency="EUR", opening_balance="100")
    first = await gateway.wallet.OpenAccount(request)
    await gateway.wallet.ApplyResult(result())
    request.opening_balance = "100.0"
    assert await gateway.wallet.OpenAccount(request) == first
    request.opening_balance = "101"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.wallet.OpenAccount(request)
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert failure_of(raised.value).fields == ("opening_balance",)
    assert await balance(gateway) == Decimal("110.5")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount": "10.51"}, "amount"),
        ({"user_id": "v"}, "user_id"),
        ({"currency": "USD"}, "currency"),
        ({"round_id": "2"}, "round_id"),
        ({"game_id": "g"}, "game_id"),
        ({"promo_amount": "1", "promo_reference": "pr"}, "promo_amount"),
    ],
)
async def test_a_reused_reference_names_the_field(gateway: Running, changed: dict[str, str], field: str) -> None:
    """The same reference with other content is refused with the field's name, and changes nothing."""
    await opened(gateway)
    await gateway.wallet.ApplyResult(result())
    failure = await refused(gateway, result(**changed))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REFERENCE_REUSED")
    assert failure.metadata["field"] == field
    assert await balance(gateway) == Decimal("110.5")


async def test_a_player_without_an_account_is_not_found(gateway: Running) -> None:
    """An unknown player is NOT_FOUND; once the account is open the same Result is credited."""
    failure = await refused(gateway, result())
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_UNKNOWN")
    await opened(gateway)
    assert not (await gateway.wallet.ApplyResult(result())).replayed


async def test_another_currency_is_a_mismatch(gateway: Running) -> None:
    """A player with accounts, but none in this currency, is CURRENCY_MISMATCH."""
    await opened(gateway)
    failure = await refused(gateway, result(currency="USD"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CURRENCY_MISMATCH")


async def test_a_promotional_prize_is_credited_with_the_win(gateway: Running) -> None:
    """A prize is added to cash together with the win, once."""
    await opened(gateway)
    request = result(promo_amount="5", promo_reference="pr")
    for _ in range(2):
        assert Decimal((await gateway.wallet.ApplyResult(request)).cash) == Decimal("115.5")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"amount": ""}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "1e2"}, "amount"),
        ({"amount": "01"}, "amount"),
        ({"amount": "1."}, "amount"),
        ({"amount": "1" * 33}, "amount"),
        ({"amount": "0." + "1" * 19}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "\u0661"}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"currency": ""}, "currency"),
        ({"reference": ""}, "reference"),
        ({"reference": " ref"}, "reference"),
        ({"reference": "re\u200bf"}, "reference"),
        ({"reference": "ref\u202e"}, "reference"),
        ({"promo_amount": "1", "promo_reference": "pr\u2060"}, "promo_reference"),
        ({"provider": ""}, "provider"),
        ({"user_id": ""}, "user_id"),
        ({"round_id": "\x00"}, "round_id"),
        ({"promo_amount": "1"}, "promo_reference"),
        ({"promo_reference": "r"}, "promo_amount"),
    ],
)
async def test_an_invalid_field_is_named(gateway: Running, fields: dict[str, str], named: str) -> None:
    """Invalid input is INVALID_ARGUMENT with its field's name, and changes nothing."""
    await opened(gateway)
    failure = await refused(gateway, result(**fields))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert failure.fields == (named,)
    assert await balance(gateway) == 100


@pytest.mark.usefixtures("wide_margins")
async def test_a_blocked_ledger_is_unavailable_before_the_deadline(gateway: Running) -> None:
    """While the store is locked a call fails within its deadline, with details and without a path."""
    await opened(gateway)
    with locked(gateway.database):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.wallet.ApplyResult(result(), timeout=2)
        failure = failure_of(raised.value)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert (failure.certainty, failure.retry) == ("UNKNOWN", True)
        assert str(gateway.database) not in failure.message
        failure = await refused(gateway, result())
        assert (failure.reason, failure.certainty) == ("STORE_UNAVAILABLE", "NOT_SENT")
    assert (await gateway.wallet.ApplyResult(result())).cash == "110.5"
    assert await balance(gateway) == Decimal("110.5")


async def test_an_unconfigured_providers_name_does_not_prevent_the_next_start(tmp_path: Path) -> None:
    """A provider's name that only occurred in ApplyResult need not be configured at the next start."""
    async with running_gateway(tmp_path) as gateway:
        await opened(gateway)
        await gateway.wallet.ApplyResult(result(provider="Another Gateway's"))
    async with running_gateway(tmp_path) as gateway:
        assert (await gateway.wallet.ApplyResult(result(provider="Another Gateway's"))).replayed


async def test_money_is_exact_to_the_last_digit(gateway: Running) -> None:
    """18 decimals and 32 digits survive, without an exponent and without rounding."""
    await opened(gateway, "12345678901234.000000000000000001")
    answer = await gateway.wallet.ApplyResult(result(amount="0.000000000000000001"))
    assert answer.cash == "12345678901234.000000000000000002"
