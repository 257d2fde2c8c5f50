"""A Result that comes by callback cannot be credited over gRPC, on each engine."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from adapters.contract import Result
from gateway.config import load
from gateway.server.providers import bind_providers, receives_results
from gateway.server.wallet_server import WalletServer
from gateway.v1 import wallet_service_pb2 as pb
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.support.actors import called_by
from tests.support.gateway import (
    RpcFailure,
    Running,
    configuration,
    failure_of,
    family_table,
    provider_table,
    running_gateway,
)
from tests.support.results import result_body

NOBODY = "http://127.0.0.1:1"

LUCKY = family_table("lucky", "luckymonaco", NOBODY)
WITHOUT_KEYS = family_table("lucky", "luckymonaco", NOBODY, callback_keys="[]")
ELIAB = provider_table("eliab", "eliab", NOBODY)
"""Its dialect has no Results."""


@pytest.fixture
async def gateway(tmp_path: Path, store_url: str) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path, LUCKY, ELIAB, store=store_url) as gateway:
        await gateway.wallet.OpenAccount(pb.OpenAccountRequest(user_id="421", currency="USD", opening_balance="1"))
        yield gateway


def credit(provider: str = "lucky", amount: str = "0") -> pb.ApplyResultRequest:
    return pb.ApplyResultRequest(provider=provider, reference="next-ref", user_id="421", currency="USD", amount=amount)


async def refused(gateway: Running, request: pb.ApplyResultRequest) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.wallet.ApplyResult(request)
    return failure_of(raised.value)


async def cash(gateway: Running) -> str:
    return (await gateway.wallet.GetBalance(pb.GetBalanceRequest(user_id="421", currency="USD"))).cash


async def test_nobody_takes_a_reference_away_from_a_win(gateway: Running) -> None:
    """A caller that credits the next reference with 0 is refused, nothing is stored, and the win is paid."""
    lines = await gateway.store.exchanges()
    with called_by("squatter"):
        failure = await refused(gateway, credit())
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESULTS_COME_BY_CALLBACK")
    assert (failure.metadata["provider"], failure.certainty) == ("lucky", "NOT_SENT")
    assert "RedeliverCallback" in failure.message
    assert await gateway.store.credit("lucky", "next-ref") is None
    assert await gateway.store.exchanges() == lines
    status, answer = await gateway.callback("lucky", "V4/Result", result_body("next-ref"))
    assert (status, b'"error":0' in answer) == (200, True)
    assert await cash(gateway) == "11"
    assert (await refused(gateway, credit(amount="10"))).reason == "RESULTS_COME_BY_CALLBACK"


async def test_a_prize_reference_is_not_taken_away_either(gateway: Running) -> None:
    """A promotional prize is refused with its Result."""
    request = credit()
    request.promo_amount, request.promo_reference = "0", "other-ref"
    assert (await refused(gateway, request)).reason == "RESULTS_COME_BY_CALLBACK"


@pytest.mark.parametrize("provider", ["eliab", "another-gateways"])
async def test_other_names_are_credited(gateway: Running, provider: str) -> None:
    """A provider without Results by callback, and a name that is not configured."""
    assert not (await gateway.wallet.ApplyResult(credit(provider, "2"))).replayed
    assert await cash(gateway) == "3"


def test_callback_keys_alone_bring_no_results(tmp_path: Path) -> None:
    """A dialect whose callbacks are other notifications has keys too, and its name may be credited."""
    binding = bind_providers(load(configuration(tmp_path, LUCKY), {}))["lucky"]
    assert receives_results(binding)
    others = {path: each for path, each in binding.adapter.callbacks.items() if each.notification is not Result}
    assert others
    assert not receives_results(replace(binding, adapter=replace(binding.adapter, callbacks=others)))


async def test_an_invalid_field_is_reported_first(gateway: Running) -> None:
    """A request that is not well-formed is FIELD_INVALID, for every provider."""
    assert (await refused(gateway, credit(amount="-1"))).reason == "FIELD_INVALID"


async def test_a_reload_decides(gateway: Running, tmp_path: Path, store_url: str) -> None:
    """Without callback keys a provider cannot deliver Results; with them, from the reload on, it can again."""

    async def reload(lucky: str) -> None:
        await gateway.gateway.reload(load(configuration(tmp_path, lucky, ELIAB, store=store_url), {}))

    await reload(WITHOUT_KEYS)
    assert not (await gateway.wallet.ApplyResult(credit())).replayed
    await reload(LUCKY)
    assert (await refused(gateway, credit())).reason == "RESULTS_COME_BY_CALLBACK"


async def test_the_separate_wallet_credits_the_results_of_all_providers(tmp_path: Path, store_url: str) -> None:
    """`session-gateway wallet` receives no callbacks: gateways send it the Results of theirs, also of a name in its own
    configuration.
    """
    server = WalletServer(load(configuration(tmp_path, LUCKY, store=store_url), {}))
    try:
        listening = await server.start()
        async with grpc.aio.insecure_channel(listening.grpc) as channel:
            stub = WalletServiceStub(channel)
            await stub.OpenAccount(pb.OpenAccountRequest(user_id="421", currency="USD"))
            assert (await stub.ApplyResult(credit(amount="10"))).cash == "10"
    finally:
        await server.stop()
