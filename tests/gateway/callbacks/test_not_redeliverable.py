"""Callbacks that cannot be redelivered, each with its reason."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from adapters.contract import Account, CallbackFault, CallbackRefused, HttpRequest, Result, Secret, SessionExpired
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.sessions.errors import GatewayError, Reason
from gateway.store.models import Direction, Exchange, Message
from tests.gateway.callbacks.harness import (
    EXPIRED,
    KYREN_EU,
    MONACO,
    OUR_TOKEN,
    TOKEN,
    CallbackHarness,
    HarnessOptions,
    altered,
    clock,
    open_harness,
)
from tests.support.actors import ADA
from tests.support.results import RESULT


@pytest.mark.parametrize("token", [TOKEN, "wrong", None, 7])
@pytest.mark.parametrize("account_token", [OUR_TOKEN, None])
async def test_a_masked_credential_that_is_compared_is_an_obstacle(
    tmp_path: Path, token: object, account_token: Secret | None
) -> None:
    """With verify_token a callback depends on its masked token, whose value is not known."""
    body = {**EXPIRED, "secureLogin": "partner-1", "token": token}
    misspelt = HarnessOptions(secure_login="misspelt", verify_token=True, token=account_token)
    async with open_harness(tmp_path, misspelt) as harness:
        await harness.deliver(MONACO.path("SessionExpired"), body)
        original = await harness.only_line("CREDENTIALS_WRONG")
        # Not the token decides here: the answer is the same for any token.
        assert (await harness.redeliver(original)).verdict == "CREDENTIALS_WRONG"
    async with open_harness(tmp_path, replace(misspelt, secure_login="partner-1")) as harness:
        assert "masked" in await harness.obstacle(original)
        assert not await harness.events()


async def test_a_masked_credential_that_is_required_is_an_obstacle(tmp_path: Path) -> None:
    """If the dialect requires the token, only our own in place of the mask would be accepted."""

    def demanding(account: Account[Any], request: HttpRequest) -> SessionExpired:
        if json.loads(request.body)["token"] != TOKEN or account.settings.secure_login != "partner-1":
            raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "the token is wrong", field="token")
        return SessionExpired("p", "s", "u")

    adapter = altered(LUCKYMONACO, decode=demanding)
    async with open_harness(tmp_path, HarnessOptions(adapter=adapter, secure_login="misspelt")) as harness:
        await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)
        original = await harness.only_line("CREDENTIALS_WRONG")
    async with open_harness(tmp_path, HarnessOptions(adapter=adapter)) as harness:
        assert "masked" in await harness.obstacle(original)


async def test_a_masked_part_of_a_value_is_an_obstacle(tmp_path: Path) -> None:
    """A mask inside a decoded value hides an unknown text, also if the account has no token."""
    async with open_harness(tmp_path, HarnessOptions(token=None)) as harness:
        await harness.deliver(MONACO.path("Result"), {**RESULT, "reference": f"r-{TOKEN}"})
        original = await harness.only_line("ACCOUNT_UNKNOWN")
        assert b'"r-***"' in original.request.body
        await harness.open_account()
        assert "masked" in await harness.obstacle(original)


@pytest.mark.parametrize("name", ["reference", "userId", "roundid", "gameId"])
async def test_a_masked_value_of_a_result_is_an_obstacle(harness: CallbackHarness, name: str) -> None:
    """A Result that holds a secret is stored with a mask, and would be another Result if it were credited so."""
    await harness.deliver(MONACO.path("Result"), {**RESULT, name: TOKEN})
    (original,) = await harness.journal()
    await harness.open_account()
    await harness.open_account(user_id="***")
    assert "masked" in await harness.obstacle(original)
    assert await harness.cash(user_id="***") == 100


async def test_a_signature_over_masked_values_is_an_obstacle(tmp_path: Path) -> None:
    """A signature over masked values cannot be verified without them."""

    def signed(account: Account[Any], request: HttpRequest) -> None:
        if b"***" in request.body or account.settings.secure_login != "partner-1":
            raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "the signature is wrong")

    body = {**EXPIRED, "secureLogin": "partner-1"}
    adapter = altered(LUCKYMONACO, verify=signed)
    async with open_harness(tmp_path, HarnessOptions(adapter=adapter, secure_login="misspelt")) as harness:
        await harness.deliver(MONACO.path("SessionExpired"), body)
        original = await harness.only_line("CREDENTIALS_WRONG")
    async with open_harness(tmp_path, HarnessOptions(adapter=adapter)) as harness:
        assert "masked" in await harness.obstacle(original)


# --- What cannot be redelivered ---------------------------------------------------------------------------------------


async def test_an_unknown_id_is_callback_unknown(harness: CallbackHarness) -> None:
    """An id that no line of the journal has is CALLBACK_UNKNOWN."""
    with pytest.raises(GatewayError) as raised:
        await harness.redeliveries.redeliver("nothing", ADA, "fixed")
    assert raised.value.reason is Reason.CALLBACK_UNKNOWN


async def test_a_success_is_not_redelivered(harness: CallbackHarness) -> None:
    """A callback that was accepted or credited cannot be redelivered."""
    await harness.open_account()
    await harness.deliver(MONACO.path("Result"), RESULT)
    await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)
    credited, accepted = await harness.journal()
    assert "CREDITED" in await harness.obstacle(credited)
    assert "ACCEPTED" in await harness.obstacle(accepted)


async def test_an_outbound_call_is_not_redelivered(harness: CallbackHarness) -> None:
    """A call to the provider is no callback, though its line has a body."""
    moment = clock()
    line = Exchange(
        id="outbound",
        direction=Direction.OUTBOUND,
        provider=MONACO.provider,
        operation="V4/Result",
        method="POST",
        path="/V4/Result",
        request=Message("", json.dumps(RESULT).encode()),
        started_at=moment,
        ended_at=moment,
        verdict="PROVIDER_FAILED",
    )
    await harness.store.record_exchange(line)
    await harness.open_account()
    assert "request_id" in await harness.obstacle(line)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xfe", "not text"),
        (b"\x00", "not text"),
        (b"", "without a body"),
        (b" " * 200_000, "too large"),
        (json.dumps(RESULT).encode().replace(b'"spin"', b'"%s"' % (b"x" * 70_000)), "too long"),
    ],
    ids=["no UTF-8", "NUL", "empty", "too large", "cut"],
)
async def test_an_incomplete_body_is_not_redelivered(tmp_path: Path, body: bytes, reason: str) -> None:
    """If the body is not stored whole, the reason says why, and to have the provider send it again."""
    async with open_harness(tmp_path, HarnessOptions(body_limit=100_000)) as harness:
        await harness.deliver(MONACO.path("Result"), body)
        (line,) = await harness.journal()
        await harness.open_account()
        reply = await harness.obstacle(line)
    assert reason in reply
    assert "have the provider send it again" in reply


async def test_a_deleted_body_is_not_redelivered(harness: CallbackHarness) -> None:
    """A body that was deleted by age cannot be redelivered, and the reason says so."""
    await harness.deliver(MONACO.path("Result"), b"{")
    assert await harness.store.trim_bodies(clock() + timedelta(seconds=1), 10) == 1
    (line,) = await harness.journal()
    assert "by age" in await harness.obstacle(line)


async def test_without_its_provider_a_callback_is_not_redelivered(tmp_path: Path) -> None:
    """A provider that is no longer configured, or a dialect without that callback, is named in the reason."""
    async with open_harness(tmp_path) as harness:
        await harness.deliver(KYREN_EU.path("Result"), RESULT)
        of_kyren = await harness.only_line("ACCOUNT_UNKNOWN")
        await harness.deliver(MONACO.path("Result"), RESULT)
        _, of_monaco = await harness.journal()
    expiries = {"V4/SessionExpired": LUCKYMONACO.callbacks["V4/SessionExpired"]}
    silent = replace(LUCKYMONACO, callbacks=MappingProxyType(expiries))
    async with open_harness(tmp_path, HarnessOptions(kyren=False, adapter=silent)) as harness:
        await harness.open_account()
        assert "'kyren-eu' has no callbacks" in await harness.obstacle(of_kyren)
        assert "does not serve POST V4/Result" in await harness.obstacle(of_monaco)
    with_put = altered(LUCKYMONACO, method="PUT")
    async with open_harness(tmp_path, HarnessOptions(adapter=with_put)) as harness:
        assert "does not serve POST V4/Result" in await harness.obstacle(of_monaco)
        assert await harness.cash() == Decimal(100)


async def test_an_adapter_s_bug_is_no_obstacle(tmp_path: Path) -> None:
    """A decoder that fails is reported by the redelivery itself: TRY_AGAIN with an error id."""

    def broken(_: object, __: object) -> Result:
        raise RuntimeError("bug")

    body = {**EXPIRED, "secureLogin": "partner-1"}
    async with open_harness(tmp_path, HarnessOptions(secure_login="misspelt")) as harness:
        await harness.deliver(MONACO.path("SessionExpired"), body)
        original = await harness.only_line("CREDENTIALS_WRONG")
    async with open_harness(
        tmp_path, HarnessOptions(adapter=altered(LUCKYMONACO, decode=broken, verify=broken))
    ) as harness:
        line = await harness.redeliver(original)
        assert line.verdict == "TRY_AGAIN"
        assert "error id" in line.detail
